"""JAX, gate by gate: what a plain program costs, without the idea."""

import jax
import jax.numpy as jnp
import numpy as np

from contestants import Contestant, jax_common
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, observables, split_angles
from patchscape.circuit.blocks import ring_signs
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """All images at once, complex64; a scan over layers keeps the compile time small."""
    q = cfg.n_qubits
    generator = {"X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]])}
    ring = ring_signs(q).reshape((2,) * q)

    def turn(state, axis, wire, angle):  # state (N, 2, ..., 2); angle () or (N,)
        angle = jnp.reshape(angle, (-1, 1, 1)) / 2
        gate = jnp.cos(angle) * np.eye(2) - 1j * jnp.sin(angle) * generator[axis]
        shape = state.shape
        state = state.reshape(shape[0], 2**wire, 2, -1)
        return jnp.einsum("nij,najb->naib", jnp.broadcast_to(gate, (shape[0], 2, 2)), state).reshape(shape)

    def layers(state, angles, last_ring):
        def layer(state, angles):
            for axis, row in zip(LAYER_AXES, angles, strict=True):
                for wire in range(q):
                    state = turn(state, axis, wire, row[wire])
            return state * ring, None

        state = jax.lax.scan(layer, state, angles)[0]
        return state if last_ring else state * ring

    def expectations(phi, patches):
        blocks, encodings = split_angles(cfg, phi)
        pixels = patches.reshape(len(patches), 2, q, q // 2)
        state = jnp.zeros((len(patches), 2**q), jnp.complex64).at[:, 0].set(1).reshape(-1, *(2,) * q)
        for stage, block in enumerate(blocks):
            state = layers(state, block, last_ring=stage < 2)
            if stage == 2:
                break
            for wire in range(q):
                for j in range(q // 2):
                    around, axes = encodings[stage][wire, j], ENCODING_AXES[j % 2]
                    for axis, angle in zip(axes, (around[0], pixels[:, stage, wire, j], around[1]), strict=True):
                        state = turn(state, axis, wire, angle)
            state = state * ring
        found = []
        for axis, wire in observables(cfg):
            zero, one = jnp.moveaxis(state, wire + 1, 0)
            norm = lambda s: jnp.sum(jnp.abs(s.reshape(len(s), -1)) ** 2, 1)  # noqa: E731
            overlap = jnp.sum((zero.conj() * one).reshape(len(patches), -1), 1).real
            found.append(2 * overlap if axis == "X" else norm(zero) - norm(one))
        return jnp.stack(found, 1)

    return jax_common.contestant(expectations)._replace(product=None)
