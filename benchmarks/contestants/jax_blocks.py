"""JAX by somebody who has the idea: blocks as complex unitaries, layers as two small products, plain autodiff."""

from functools import reduce

import jax
import jax.numpy as jnp

from contestants import Contestant, jax_common
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, observables, split_angles
from patchscape.circuit.blocks import ring_signs
from patchscape.config import ModelConfig


def _turn(axis, angle):  # (...,) -> (..., 2, 2)
    c, s = jnp.cos(angle / 2) + 0j, jnp.sin(angle / 2)
    beside = (-1j * s, -1j * s) if axis == "X" else (-s + 0j, s + 0j)
    return jnp.stack([c, beside[0], beside[1], c], -1).reshape(*angle.shape, 2, 2)


def _kron(gates):  # (..., k, 2, 2) -> (..., 2^k, 2^k)
    def pair(a, b):
        side = a.shape[-1] * b.shape[-1]
        return jnp.einsum("...ab,...cd->...acbd", a, b).reshape(*a.shape[:-2], side, side)

    return reduce(pair, jnp.moveaxis(gates, -3, 0))


def build(cfg: ModelConfig) -> Contestant:
    """Everything in complex64, images first."""
    q = cfg.n_qubits
    half = q // 2
    size = 2**half
    ring = ring_signs(q).astype("float32").reshape(size, size)

    def halves(gates):
        return _kron(gates[..., :half, :, :]), _kron(gates[..., half:, :, :])

    def layers(angles, states):  # (d, 2, q), (2^half, 2^half, M)
        def layer(s, pair):
            first, last = pair
            s = (first @ s.reshape(size, -1)).reshape(s.shape)
            return jnp.einsum("cb,abm->acm", last, s) * ring[..., None], None

        gates = _turn(LAYER_AXES[1], angles[:, 1]) @ _turn(LAYER_AXES[0], angles[:, 0])
        return jax.lax.scan(layer, states, halves(gates))[0]

    def encode(states, angles, pixels):  # (N, 2^half, 2^half), (q, q/2, 2), (N, q, q/2)
        steps = []
        for j in range(half):
            before, middle, after = ENCODING_AXES[j % 2]
            steps.append(_turn(after, angles[:, j, 1]) @ _turn(middle, pixels[..., j]) @ _turn(before, angles[:, j, 0]))
        first, last = halves(reduce(lambda total, step: step @ total, steps))
        return first @ states @ last.swapaxes(1, 2) * ring

    def expectations(phi, patches):
        angles, encodings = split_angles(cfg, phi)
        pixels = patches.reshape(len(patches), 2, q, half)
        identity = jnp.eye(2**q, dtype=jnp.complex64).reshape(size, size, -1)
        start = layers(angles[0], identity[..., :1])[..., 0]
        blocks = jax.lax.map(lambda a: layers(a, identity).reshape(2**q, 2**q), jnp.stack(angles[1:]))
        blocks = blocks.at[1].multiply(ring.reshape(-1, 1))  # no ring before the measurement
        states = jnp.broadcast_to(start, (len(patches), size, size))
        for stage in range(2):
            states = encode(states, encodings[stage], pixels[:, stage]).reshape(len(patches), -1)
            states = (states @ blocks[stage].T).reshape(-1, size, size)
        found = []
        for axis, wire in observables(cfg):
            by_bit = states.reshape(len(patches), 2**wire, 2, -1)
            zero, one = (by_bit[:, :, bit].reshape(len(patches), -1) for bit in range(2))
            if axis == "X":
                found.append(2 * jnp.sum((zero.conj() * one).real, 1))
            else:
                found.append(jnp.sum(jnp.abs(zero) ** 2, 1) - jnp.sum(jnp.abs(one) ** 2, 1))
        return jnp.stack(found, 1)

    return jax_common.contestant(expectations)
