"""The circuit as five segments in time: block 1, encoding 1, block 2, encoding 2, block 3, and their generators.

Along an angle a, the derivative of a block's unitary U is U Omega_a, of an encoding's Gamma_a U, with anti-Hermitian
matrices. Arithmetic is that of NumPy, in the precision of the angles; states are complex (N, ..., 2^q).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, observables, split_angles
from patchscape.circuit.blocks import basis_bits, ring_signs
from patchscape.config import ModelConfig

AXES = "XYZ"


def in_time(cfg: ModelConfig) -> np.ndarray:
    """Which angle comes first, second, ... in time: (m + q*q,), numbers in phi (m,) and then in the pixels (q*q,)."""
    q, m = cfg.n_qubits, cfg.n_params_per_qnn
    blocks, encodings = split_angles(cfg, np.arange(m))
    pixels = m + np.arange(q * q).reshape(2, q, q // 2, 1)
    around = [np.concatenate([e[..., :1], x, e[..., 1:]], -1) for e, x in zip(encodings, pixels, strict=True)]
    return np.concatenate([part.ravel() for part in (blocks[0], around[0], blocks[1], around[1], blocks[2])])


class Block(NamedTuple):
    """A block's unitary (D, D), and its part up to each layer of rotations (d, 2, D, D).

    Omega of the angle on wire w of a layer is U^H (-i/2 P_w) U, with U the part up to that layer.
    """

    unitary: np.ndarray
    stages: np.ndarray


class Encoding(NamedTuple):
    """An encoding layer for N images: one factor for each half of the wires, and its generators.

    Attributes:
        first: (N, 2^(q/2), 2^(q/2)).
        last: (N, 2^(q/2), 2^(q/2)).
        axes: (N, q, gates, 3), with Gamma = -i/2 axes . (X, Y, Z) of the wire.
    """

    first: np.ndarray
    last: np.ndarray
    axes: np.ndarray


@lru_cache
def pauli(q: int, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Tables (q, 2^q) of each wire's Pauli matrix: (P psi)[j] = factor[j] psi[source[j]]."""
    bits = basis_bits(q).T
    states = np.arange(2**q)
    source = states ^ (1 << np.arange(q)[::-1, None]) if axis in "XY" else np.tile(states, (q, 1))
    sign = 1 - 2 * bits
    return source, {"X": np.ones_like(sign), "Y": -1j * sign, "Z": sign}[axis].astype(np.complex64)


def _gate(axis: str, angle: np.ndarray) -> np.ndarray:
    """exp(-i angle P / 2), (..., 2, 2)."""
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    x, y = (s, 0 * s) if axis == "X" else (0 * s, s)
    return np.stack([np.stack([c + 0j, -1j * x - y], -1), np.stack([-1j * x + y, c + 0j], -1)], -2)


def _turn(axis: str, angle: np.ndarray) -> np.ndarray:
    """What exp(-i angle P / 2) does to the Bloch vector, (..., 3, 3)."""
    k = AXES.index(axis)
    a, b = (k + 1) % 3, (k + 2) % 3
    turn = np.zeros((*angle.shape, 3, 3), angle.dtype)
    turn[..., k, k] = 1
    turn[..., a, a] = turn[..., b, b] = np.cos(angle)
    turn[..., b, a] = np.sin(angle)
    turn[..., a, b] = -np.sin(angle)
    return turn


def _kron(matrices: np.ndarray) -> np.ndarray:
    """Kronecker product over the second axis of (N, k, 2, 2): (N, 2^k, 2^k)."""
    out = matrices[:, 0]
    for i in range(1, matrices.shape[1]):
        out = np.einsum("nab,ncd->nacbd", out, matrices[:, i]).reshape(len(out), *(2 * s for s in out.shape[1:]))
    return out


def _block(angles: np.ndarray, before: np.ndarray, after: np.ndarray) -> Block:
    """A block with angles (d, 2, q), between two diagonal matrices of signs."""
    d, _, q = angles.shape
    dtype = np.result_type(angles, np.complex64)
    ring = ring_signs(q)
    u = np.diag(before).astype(dtype)
    stages = np.empty((d, 2, len(u), len(u)), dtype)
    for layer in range(d):
        for i, axis in enumerate(LAYER_AXES):
            gates = _gate(axis, angles[layer, i]).astype(dtype)[None]
            half = q // 2
            u = np.einsum("ab,bcj->acj", _kron(gates[:, :half])[0], u.reshape(2**half, -1, len(u)), optimize=True)
            u = np.matmul(_kron(gates[:, half:])[0], u).reshape(2**q, -1)
            stages[layer, i] = u
        u = ring[:, None].astype(angles.dtype) * u
    return Block(after[:, None].astype(angles.dtype) * u, stages)


def _encoding(angles: np.ndarray, pixels: np.ndarray) -> Encoding:
    """An encoding layer with angles (q, q/2, 2) and pixels (N, q, q/2)."""
    count, q, _ = pixels.shape
    steps = []
    for j in range(q // 2):
        around = [np.broadcast_to(angles[:, j, side], (count, q)) for side in range(2)]
        steps += zip(ENCODING_AXES[j % 2], (around[0], pixels[..., j], around[1]), strict=True)
    matrix, turn, axes = np.eye(2), np.eye(3, dtype=pixels.dtype), []
    for axis, angle in steps:
        matrix = _gate(axis, angle) @ matrix
    for axis, angle in reversed(steps):
        axes.append(np.broadcast_to(turn[..., AXES.index(axis)], (count, q, 3)))
        turn = turn @ _turn(axis, angle)
    matrix = matrix.astype(np.result_type(pixels, np.complex64))
    return Encoding(_kron(matrix[:, : q // 2]), _kron(matrix[:, q // 2 :]), np.stack(axes[::-1], 2))


def encode(encoding: Encoding, states: np.ndarray) -> np.ndarray:
    """Applies an encoding to states (N or 1, a, D)."""
    m, count = encoding.first.shape[1], len(encoding.first)
    s = np.broadcast_to(states, (count, *states.shape[1:])).reshape(count, -1, m)
    s = np.matmul(s, encoding.last.swapaxes(1, 2)).reshape(count, -1, m, m)
    return np.matmul(encoding.first[:, None], s).reshape(count, -1, m * m)


def undo(encoding: Encoding, states: np.ndarray) -> np.ndarray:
    """Applies the inverse of an encoding to states (N or 1, a, D)."""
    first, last = (half.conj().swapaxes(1, 2) for half in (encoding.first, encoding.last))
    return encode(encoding._replace(first=first, last=last), states)


def omega(block: Block, x: np.ndarray) -> np.ndarray:
    """Omega of all angles of the block, in time order, times x (N, D): (N, a, D)."""
    depth, sides, size, _ = block.stages.shape
    q = size.bit_length() - 1
    out = np.empty((depth * sides, len(x), q, size), x.dtype)
    for i, axis in enumerate(LAYER_AXES):
        source, factor = pauli(q, axis)
        for layer in range(depth):
            u = block.stages[layer, i]
            turned = x.dtype.type(-0.5j) * factor.astype(x.dtype) * (x @ u.T).take(source, 1)
            np.matmul(turned.reshape(-1, size), u.conj(), out=out[sides * layer + i].reshape(-1, size))
    return out.swapaxes(0, 1).reshape(len(x), -1, size)


def generate(encoding: Encoding, block: Block, x: np.ndarray) -> np.ndarray:
    """Gamma of all angles of the encoding, then Omega of all of the block after it, times x (N, D): (N, a, D)."""
    count, q = encoding.axes.shape[:2]
    paulis = [pauli(q, axis) for axis in AXES]
    turned = np.stack([factor.astype(x.dtype) * x.take(source, 1) for source, factor in paulis], 2)  # (N, q, 3, D)
    by_gamma = np.matmul(x.dtype.type(-0.5j) * encoding.axes, turned).reshape(count, -1, x.shape[1])
    return np.concatenate([by_gamma, omega(block, x)], 1)


def prepare(cfg: ModelConfig, phi: np.ndarray) -> tuple[list[Block], list[np.ndarray]]:
    """The three blocks, and the angles of both encodings (q, q/2, 2), from angles phi (m,) in rad."""
    angles, encodings = split_angles(cfg, phi)
    no_ring, ring = np.ones(2**cfg.n_qubits), ring_signs(cfg.n_qubits)
    # The ring after an encoding is the first thing in the next block; the last ring is left out of the ansatz.
    ends = (no_ring, no_ring), (ring, no_ring), (ring, ring)
    return [_block(a, *signs) for a, signs in zip(angles, ends, strict=True)], encodings


def encodings(cfg: ModelConfig, angles: list[np.ndarray], patches: np.ndarray) -> list[Encoding]:
    """Both encodings of patches (N, q*q) in rad, from `prepare`'s angles (q, q/2, 2)."""
    q = cfg.n_qubits
    pixels = patches.reshape(len(patches), 2, q, q // 2)
    return [_encoding(a, pixels[:, stage]) for stage, a in enumerate(angles)]


def observe(cfg: ModelConfig, psi: np.ndarray) -> np.ndarray:
    """The observables times states: (N, K, D) from (N, D)."""
    tables = [(axis, *pauli(cfg.n_qubits, axis), wire) for axis, wire in observables(cfg)]
    return np.stack(
        [factor[wire].astype(psi.dtype) * psi.take(source[wire], 1) for _, source, factor, wire in tables], 1
    )
