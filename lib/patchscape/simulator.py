"""The patch circuit as block unitaries: exact expectation values for many images at once.

Only two thin layers of the circuit see the image. Everything else is the same for all images, so it is built once
per parameter set (`prepare`):

1. block 1 acts on |0...0>: one state vector;
2. blocks 2 and 3 are 2^q x 2^q unitaries (`patchscape.blocks`);
3. an image then costs two layers of single-qubit rotations and two matrix products, whatever the depth
   (`expectations`).

A layer of rotations has its own derivative rule, ds = V ds_in - i (sum_w omega_w . sigma_w) s, which is linear in
the tangent: reverse mode is its transpose, and derivatives of every order follow from it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.blocks import (
    Array,
    apply_layers,
    basis_bits,
    block_unitary,
    einsum,
    multiply,
    product,
    ring_signs,
)
from patchscape.circuit import ENCODING_AXES, split_angles
from patchscape.config import ModelConfig

__all__ = ["Prepared", "block_unitary", "expectations", "prepare", "rotate"]


class Prepared(NamedTuple):
    """What does not depend on the image, for one circuit.

    Attributes:
        start: (2, 2^q), the state after block 1.
        middle: (2, 2^q, 2^q), CZ ring of encoding 1, then block 2.
        last: (2, 2^q, 2^q), CZ ring of encoding 2, then block 3.
        encodings: (2, q, q/2, 2), angles around every pixel: (half, wire, pixel j, before/after).
    """

    start: Array
    middle: Array
    last: Array
    encodings: Array


def _first_wire(s: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Splits states (2, 2^q, N) by the bit of the first wire: (re 0, re 1), (im 0, im 1)."""
    (r0, r1), (i0, i1) = s.reshape(2, 2, -1, s.shape[-1])
    return (r0, r1), (i0, i1)


def _to_last_wire(zero: tuple[Array, Array], one: tuple[Array, Array]) -> Array:
    """Joins the (re, im) of both bit values, the bit moved to the last wire: after q wires the order is restored."""
    return jnp.stack([jnp.stack([a, b], 1) for a, b in zip(zero, one, strict=True)]).reshape(2, -1, zero[0].shape[-1])


@jax.custom_jvp
def rotate(rotations: Array, states: Array) -> Array:
    """Rotates every wire of every state by its own unit quaternion.

    Args:
        rotations: (4, q, N), components (w, x, y, z) of w - i (x X + y Y + z Z).
        states: (2, 2^q, N).

    Returns:
        (2, 2^q, N).
    """

    def wire(s, quaternion):
        w, x, y, z = quaternion
        (r0, r1), (i0, i1) = _first_wire(s)
        zero = (w * r0 + z * i0 + x * i1 - y * r1, w * i0 - z * r0 - x * r1 - y * i1)
        one = (w * r1 - z * i1 + x * i0 + y * r0, w * i1 + z * r1 - x * r0 + y * i0)
        return _to_last_wire(zero, one), None

    return lax.scan(wire, states, rotations.swapaxes(0, 1))[0]


def _turn(omega: Array, states: Array) -> Array:
    """Applies -i sum_w omega_w . sigma_w, with omega (3, q, N), to states (2, 2^q, N); linear in omega."""

    def wire(carry, omega):
        s, total = carry
        x, y, z = omega
        (r0, r1), (i0, i1) = _first_wire(s)
        (tr0, tr1), (ti0, ti1) = _first_wire(total)
        zero = (tr0 + z * i0 + x * i1 - y * r1, ti0 - z * r0 - x * r1 - y * i1)
        one = (tr1 - z * i1 + x * i0 + y * r0, ti1 + z * r1 - x * r0 + y * i0)
        return (_to_last_wire((r0, i0), (r1, i1)), _to_last_wire(zero, one)), None

    return lax.scan(wire, (states, jnp.zeros_like(states)), omega.swapaxes(0, 1))[0][1]


@rotate.defjvp
def _rotate_jvp(primals, tangents):
    (rotations, states), (d_rotations, d_states) = primals, tangents
    w, x, y, z = rotations
    omega = jnp.stack(multiply(tuple(d_rotations), (w, -x, -y, -z))[1:])  # dV V^dagger
    out = rotate(rotations, states)
    return out, rotate(rotations, d_states) + _turn(omega, out)


def _encoding_rotations(encoding: Array, pixels: Array) -> Array:
    """The rotation (4, q, N) of each wire: the author's sequence around its q/2 pixels.

    Args:
        encoding: (q, q/2, 2).
        pixels: (q, q/2, N), angles in rad.

    Returns:
        (4, q, N).
    """
    n_pixels, n = pixels.shape[1:]
    is_x = np.array([[axis == "X" for axis in ENCODING_AXES[j % 2]] for j in range(n_pixels)], pixels.dtype)

    def turn(flag, angle):  # RX where the flag is 1, RY where it is 0
        s = jnp.sin(angle / 2)
        return jnp.cos(angle / 2), flag * s, (1 - flag) * s, jnp.zeros_like(s)

    def pixel(total, step):  # a scan, because a chain of products compiles slowly in higher derivatives
        flag, around, x = step
        factor = multiply(turn(flag[1], x), turn(flag[0], around[:, :1]))
        factor = multiply(turn(flag[2], around[:, 1:]), factor)
        return jnp.stack(multiply(factor, tuple(total))), None

    one = jnp.zeros((4, pixels.shape[0], n), pixels.dtype).at[0].set(1)
    return lax.scan(pixel, one, (is_x, encoding.swapaxes(0, 1), pixels.swapaxes(0, 1)))[0]


def prepare(cfg: ModelConfig, phi: Array) -> Prepared:
    """Builds everything that does not depend on the image, for one circuit.

    Args:
        cfg: the model.
        phi: (n_params_per_qnn,) in rad.

    Returns:
        The start state, the two unitaries and the encoding angles.
    """
    q = cfg.n_qubits
    (first, second, third), encodings = split_angles(cfg, phi)
    zero_state = jnp.zeros((2, 2**q, 1), phi.dtype).at[0, 0].set(1)
    signs = jnp.asarray(ring_signs(q), phi.dtype)
    last = signs[:, None] * block_unitary(third)  # undoes the ring after the last layer, which the ansatz leaves out
    return Prepared(
        apply_layers(first, zero_state)[..., 0],
        block_unitary(second) * signs,
        last * signs,
        jnp.stack(encodings),
    )


def expectations(cfg: ModelConfig, prepared: Prepared, patches: Array) -> Array:
    """Expectation values of one circuit for many patches.

    Args:
        cfg: the model.
        prepared: from `prepare`.
        patches: (N, q*q) angles in rad.

    Returns:
        (N, K) expectation values in [-1, 1]: the X's, then the Z's (`circuit.observables`).
    """
    q, n = cfg.n_qubits, patches.shape[0]
    pixels = patches.T.reshape(2, q, q // 2, n)
    start = jnp.broadcast_to(prepared.start[..., None], (*prepared.start.shape, n))
    s = rotate(_encoding_rotations(prepared.encodings[0], pixels[0]), start)
    s = product(prepared.middle, s)
    s = rotate(_encoding_rotations(prepared.encodings[1], pixels[1]), s)
    s = product(prepared.last, s)
    return _measure(cfg, s).T


def _measure(cfg: ModelConfig, s: Array) -> Array:
    """Expectation values (K, N) of the observables in states (2, 2^q, N)."""
    half = cfg.n_classes // 2
    z = einsum("sk,sn->kn", jnp.asarray(1 - 2 * basis_bits(cfg.n_qubits)[:, :half], s.dtype), jnp.sum(s * s, axis=0))
    views = [s.reshape(2, 2**wire, 2, -1, s.shape[-1]) for wire in range(half)]
    x = [2 * jnp.sum(v[:, :, 0] * v[:, :, 1], axis=(0, 1, 2)) for v in views]
    return jnp.concatenate([jnp.stack(x), z])
