"""The patch circuit as block unitaries: exact expectation values for many images at once.

Only two thin layers of the circuit see the image. Everything else is the same for all images, so it is built once
per parameter set (`prepare`):

1. block 1 acts on |0...0>: one state vector;
2. blocks 2 and 3 are 2^q x 2^q matrices, real in a suitable basis (`patchscape.circuit.blocks`);
3. an image then costs two layers of single-qubit rotations and two matrix products, whatever the depth
   (`expectations`).

Both times the same code runs for either encoding and block, as a loop: that halves what has to be compiled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.circuit.ansatz import ENCODING_AXES, split_angles
from patchscape.circuit.blocks import Array, apply, apply_layers, block_matrix, einsum, ring_signs
from patchscape.circuit.rotations import multiply, rotate
from patchscape.config import ModelConfig

__all__ = ["Prepared", "expectations", "prepare", "rotate"]


class Prepared(NamedTuple):
    """What does not depend on the image, for one circuit.

    Attributes:
        start: (2, 2^q), the state after block 1.
        encodings: (2, q/2, 2, 4, 4, q), tables of both encodings (see `_encoding_tables`).
        blocks: (2, 2^q, 2^q), the CZ ring of each encoding, then block 2 or 3, in the real basis (`blocks.apply`).
    """

    start: Array
    encodings: Array
    blocks: Array


# Multiplication from the left by the rotations by pi about each axis (and by none), as maps of quaternions (4, 4).
_UNITS = {"1": (1, 0, 0, 0), "X": (0, 1, 0, 0), "Y": (0, 0, 1, 0)}
_LEFT = {axis: np.stack(multiply(unit, tuple(np.eye(4)))) for axis, unit in _UNITS.items()}


def _encoding_tables(angles: Array) -> Array:
    """What the angles contribute to an encoding layer.

    The rotations about one pixel x, together, are linear in cos(x/2) and sin(x/2). As maps of the quaternion of
    everything before, they are two matrices.

    Args:
        angles: (q, q/2, 2) in rad, around every pixel: (wire, pixel, before/after).

    Returns:
        (q/2, 2, 4, 4, q): (pixel, cos/sin, to component, from component, wire).
    """
    axes = [ENCODING_AXES[j % 2] for j in range(angles.shape[1])]
    pixel = np.array([[_LEFT["1"], _LEFT[middle]] for _, middle, _ in axes])

    def around(side: int, axes: list[str]) -> Array:
        half = angles[:, :, side].T[..., None, None] / 2
        turns = np.array([_LEFT[axis] for axis in axes], angles.dtype)[:, None]
        return jnp.cos(half) * np.eye(4, dtype=angles.dtype) + jnp.sin(half) * turns

    before, after = around(0, [first for first, _, _ in axes]), around(1, [last for _, _, last in axes])
    return einsum("jwab,jsbc,jwcd->jsadw", after, pixel.astype(angles.dtype), before)


def _encoding_rotations(tables: Array, pixels: Array) -> Array:
    """Rotations (4, q, N) of an encoding layer, from its tables and pixels (q/2, q, N) in rad."""

    def pixel(total, step):
        (by_cos, by_sin), (c, s) = step
        turn = c * by_cos[..., None] + s * by_sin[..., None]  # (4, 4, q, N)
        return sum(turn[:, i] * total[i] for i in range(4)), None

    start = jnp.zeros((4, *pixels.shape[1:]), pixels.dtype).at[0].set(1)
    # As inputs of a scan, cosines and sines are computed once; inside, they would be computed for every use.
    waves = jnp.stack([jnp.cos(pixels / 2), jnp.sin(pixels / 2)], 1)
    return lax.scan(pixel, start, (tables, waves))[0]


def _pixels(cfg: ModelConfig, patches: Array) -> Array:
    """Patches (N, q*q) by encoding, place on the wire and wire: (2, q/2, q, N)."""
    q = cfg.n_qubits
    return patches.T.reshape(2, q, q // 2, -1).swapaxes(1, 2)


def prepare(cfg: ModelConfig, phi: Array) -> Prepared:
    """Builds everything that does not depend on the image, for one circuit.

    Args:
        cfg: the model.
        phi: (n_params_per_qnn,) in rad.

    Returns:
        The start state, the tables of the encodings and the two matrices.
    """
    q = cfg.n_qubits
    (first, *others), encodings = split_angles(cfg, phi)
    zero_state = jnp.zeros((2, 2**q, 1), phi.dtype).at[0, 0].set(1)
    # The ring is diagonal in the real basis too: it does not tell a basis state from its complement.
    signs = jnp.asarray(np.tile(ring_signs(q)[: 2 ** (q - 1)], 2), phi.dtype)
    matrices = lax.map(block_matrix, jnp.stack(others)) * signs
    return Prepared(
        apply_layers(first, zero_state)[..., 0],
        jax.vmap(_encoding_tables)(jnp.stack(encodings)),
        matrices.at[1].multiply(signs[:, None]),  # undoes the ring after the last layer, which the ansatz leaves out
    )


def expectations(cfg: ModelConfig, prepared: Prepared, patches: Array) -> Array:
    """Expectation values of one circuit for many patches.

    Args:
        cfg: the model.
        prepared: from `prepare`.
        patches: (N, q*q) angles in rad.

    Returns:
        (N, K) expectation values in [-1, 1]: the X's, then the Z's (`ansatz.observables`).
    """

    def encode_and_turn(s, stage):
        rotations, block = stage
        return apply(block, rotate(rotations, s)), None

    rotations = jax.vmap(_encoding_rotations)(prepared.encodings, _pixels(cfg, patches))
    start = jnp.broadcast_to(prepared.start[..., None], (*prepared.start.shape, len(patches)))
    return _measure(cfg, lax.scan(encode_and_turn, start, (rotations, prepared.blocks))[0]).T


def _measure(cfg: ModelConfig, s: Array) -> Array:
    """Expectation values (K, N) of the observables in states (2, 2^q, N)."""
    n = s.shape[-1]
    found = []
    for wire in range(cfg.n_classes // 2):
        (r0, r1), (i0, i1) = s.reshape(2, 2**wire, 2, -1, n).swapaxes(1, 2).reshape(2, 2, -1, n)  # by the wire's bit
        x, z = 2 * (r0 * r1 + i0 * i1), r0 * r0 + i0 * i0 - r1 * r1 - i1 * i1
        found.append(jnp.stack([x, z]).sum(1))
    return jnp.stack(found, 1).reshape(-1, n)
