"""The patch circuit as block unitaries: exact expectation values for many images at once.

Only two thin layers of the circuit see the image. Everything else is the same for all images, so it is built once
per parameter set (`prepare`):

1. block 1 acts on |0...0>: one state vector;
2. blocks 2 and 3 are 2^q x 2^q unitaries (`patchscape.blocks`);
3. an image then costs two layers of single-qubit rotations and two matrix products, whatever the depth
   (`expectations`).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.blocks import (
    Array,
    apply_layers,
    basis_bits,
    block_unitary,
    einsum,
    product,
    ring_signs,
)
from patchscape.circuit import ENCODING_AXES, split_angles
from patchscape.config import ModelConfig
from patchscape.rotations import multiply, rotate

__all__ = ["Prepared", "expectations", "prepare", "rotate"]


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
