"""Every first and second derivative of one circuit, exactly, from a few large matrix products.

The angles of a circuit fall into five segments in time: block 1, encoding 1, block 2, encoding 2, block 3. Along an
angle a, the derivative of a segment's unitary U is U Omega_a (or Gamma_a U, for an encoding) with an anti-Hermitian
matrix; for b later than a in one segment the second derivative is U Omega_b Omega_a. Let psi be the final state, O an
observable and beta what O psi becomes when it is carried back through all later segments. Then

    d_a <O>     = 2 Re <O psi | d_a psi>,
    d_a d_b <O> = 2 Re <d_a psi | O | d_b psi> - 2 Re <Omega_b beta | K_a>,

with K_a the derivative of the state at the segment of b along any angle a before b. Nothing is differentiated
automatically, which makes this an oracle for `patchscape.simulator` too. One pass of automatic differentiation per
angle needs several times the operations, and smaller products.

Arithmetic is that of NumPy, in the precision of the angles.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from patchscape.blocks import basis_bits, ring_signs
from patchscape.circuit import ENCODING_AXES, LAYER_AXES, observables, split_angles
from patchscape.config import ModelConfig

_IMAGES = 50  # ours: images at once; sets the memory
_ROWS = 128  # ours: rows of a triangular product computed together
_AXES = "XYZ"


def circuit_derivatives(
    cfg: ModelConfig, phi: np.ndarray, patches: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the Jacobian of one circuit's expectation values and the Hessian of a weighted sum of them.

    Args:
        cfg: the model.
        phi: (m,) angles in rad.
        patches: (N, q*q) in rad.
        weights: (N, K), of each expectation value in the sum.

    Returns:
        The Jacobian (N, K, m + q*q), and the Hessian (m + q*q, m + q*q) of the sum over images and outputs, with
        respect to the m angles and then to a shift of each of the q*q inputs, the same for all images.
    """
    phi = np.asarray(phi)
    blocks, encodings = _prepare(cfg, phi)
    place = _in_time(cfg)
    size = len(place)
    jacobian = np.empty((len(patches), cfg.n_classes, size), phi.dtype)
    second = np.zeros((size, size))
    for start in range(0, len(patches), _IMAGES):
        part = slice(start, start + _IMAGES)
        jacobian[part], of_part = _few_images(cfg, blocks, encodings, patches[part], weights[part])
        second += of_part
    back = np.argsort(place)
    return jacobian[..., back], second[np.ix_(back, back)]


def state_directions(cfg: ModelConfig, phi: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """How fast the final state of one image moves along all angles: singular values of its derivative.

    Changes of the state's length and global phase, which no measurement sees, are projected out. The squares are the
    eigenvalues of a quarter of the quantum Fisher information matrix.

    Args:
        cfg: the model.
        phi: (m,) in rad, double precision to tell a rank.
        patch: (q*q,) in rad.

    Returns:
        (m,) in decreasing order; at most 2^(q+1) - 4 of them are not zero, whatever m (4 for q = 2): see the chapter on
        the spectrum.
    """
    phi = np.asarray(phi)
    blocks, encodings = _prepare(cfg, phi)
    psi, kets = _states(blocks, _encodings(cfg, encodings, np.asarray(patch)[None]))[-1]
    kets = kets[0] - np.outer(kets[0] @ psi[0].conj(), psi[0])
    of_phi = np.argsort(_in_time(cfg))[: len(phi)]
    moved = np.zeros(len(phi))
    found = np.linalg.svd(kets[of_phi].view(phi.dtype), compute_uv=False)
    moved[: len(found)] = found
    return moved


def _in_time(cfg: ModelConfig) -> np.ndarray:
    """Which angle (of phi, then of the inputs) comes first, second, ... in time; gates on other wires commute."""
    q, m = cfg.n_qubits, cfg.n_params_per_qnn
    blocks, encodings = split_angles(cfg, np.arange(m))
    pixels = m + np.arange(q * q).reshape(2, q, q // 2, 1)
    around = [np.concatenate([e[..., :1], x, e[..., 1:]], -1) for e, x in zip(encodings, pixels, strict=True)]
    return np.concatenate([part.ravel() for part in (blocks[0], around[0], blocks[1], around[1], blocks[2])])


class _Block(NamedTuple):
    """A block's unitary (D, D), and its part up to each layer of rotations (d, 2, D, D).

    Omega of the angle on wire w of a layer is U^H (-i/2 P_w) U, with U the part up to that layer.
    """

    unitary: np.ndarray
    stages: np.ndarray


class _Encoding(NamedTuple):
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
def _pauli(q: int, axis: str) -> tuple[np.ndarray, np.ndarray]:
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
    k = _AXES.index(axis)
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


def _block(angles: np.ndarray, before: np.ndarray, after: np.ndarray) -> _Block:
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
    return _Block(after[:, None].astype(angles.dtype) * u, stages)


def _encoding(angles: np.ndarray, pixels: np.ndarray) -> _Encoding:
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
        axes.append(np.broadcast_to(turn[..., _AXES.index(axis)], (count, q, 3)))
        turn = turn @ _turn(axis, angle)
    matrix = matrix.astype(np.result_type(pixels, np.complex64))
    return _Encoding(_kron(matrix[:, : q // 2]), _kron(matrix[:, q // 2 :]), np.stack(axes[::-1], 2))


def _encode(encoding: _Encoding, states: np.ndarray) -> np.ndarray:
    """Applies an encoding to states (N or 1, a, D)."""
    m, count = encoding.first.shape[1], len(encoding.first)
    s = np.broadcast_to(states, (count, *states.shape[1:])).reshape(count, -1, m)
    s = np.matmul(s, encoding.last.swapaxes(1, 2)).reshape(count, -1, m, m)
    return np.matmul(encoding.first[:, None], s).reshape(count, -1, m * m)


def _undo(encoding: _Encoding, states: np.ndarray) -> np.ndarray:
    first, last = (half.conj().swapaxes(1, 2) for half in (encoding.first, encoding.last))
    return _encode(encoding._replace(first=first, last=last), states)


def _omega(block: _Block, x: np.ndarray) -> np.ndarray:
    """Omega of all angles of the block, in time order, times x (N, D): (N, a, D)."""
    depth, sides, size, _ = block.stages.shape
    q = size.bit_length() - 1
    out = np.empty((depth * sides, len(x), q, size), x.dtype)
    for i, axis in enumerate(LAYER_AXES):
        source, factor = _pauli(q, axis)
        for layer in range(depth):
            u = block.stages[layer, i]
            turned = x.dtype.type(-0.5j) * factor.astype(x.dtype) * (x @ u.T).take(source, 1)
            np.matmul(turned.reshape(-1, size), u.conj(), out=out[sides * layer + i].reshape(-1, size))
    return out.swapaxes(0, 1).reshape(len(x), -1, size)


def _generate(encoding: _Encoding, block: _Block, x: np.ndarray) -> np.ndarray:
    """Gamma of all angles of the encoding, then Omega of all angles of the block after it, times x (N, D)."""
    count, q = encoding.axes.shape[:2]
    paulis = [_pauli(q, axis) for axis in _AXES]
    turned = np.stack([factor.astype(x.dtype) * x.take(source, 1) for source, factor in paulis], 2)  # (N, q, 3, D)
    by_gamma = np.matmul(x.dtype.type(-0.5j) * encoding.axes, turned).reshape(count, -1, x.shape[1])
    return np.concatenate([by_gamma, _omega(block, x)], 1)


def _overlap(bras: np.ndarray, kets: np.ndarray) -> np.ndarray:
    """Sum over images of Re <bra_b | ket_a>, from (N, b, D) and (N, a, D), for kets that do not come after the bra.

    The bras stand for the last of the kets' angles. The lower triangle is whole; of what is above it, only some.

    Returns:
        (b, a).
    """
    real = bras.real.dtype
    total = np.zeros((bras.shape[1], kets.shape[1]))
    before = kets.shape[1] - bras.shape[1]
    for bra, ket in zip(bras.view(real), kets.view(real), strict=True):
        for start in range(0, len(bra), _ROWS):
            stop = min(start + _ROWS, len(bra))
            total[start:stop, : before + stop] += bra[start:stop] @ ket[: before + stop].T
    return total


def _prepare(cfg: ModelConfig, phi: np.ndarray) -> tuple[list[_Block], list[np.ndarray]]:
    """The three blocks, and the angles of both encodings."""
    angles, encodings = split_angles(cfg, phi)
    no_ring, ring = np.ones(2**cfg.n_qubits), ring_signs(cfg.n_qubits)
    # The ring after an encoding is the first thing in the next block; the last ring is left out of the ansatz.
    ends = (no_ring, no_ring), (ring, no_ring), (ring, ring)
    return [_block(a, *signs) for a, signs in zip(angles, ends, strict=True)], encodings


def _encodings(cfg: ModelConfig, angles: list[np.ndarray], patches: np.ndarray) -> list[_Encoding]:
    q = cfg.n_qubits
    pixels = patches.reshape(len(patches), 2, q, q // 2)
    return [_encoding(a, pixels[:, stage]) for stage, a in enumerate(angles)]


def _states(blocks: list[_Block], encodings: list[_Encoding]) -> list[tuple[np.ndarray, np.ndarray]]:
    """States and their derivatives along all angles so far, at the four places where they are needed.

    Returns:
        States (N, D) and derivatives (N, a, D) before block 1 (one state for all images), after each encoding, and at
        the end. The derivatives before a block include those along the block's own angles.
    """
    b1, b2, b3 = blocks
    e1, e2 = encodings
    size = len(b1.unitary)
    zero = np.eye(1, size, dtype=b1.unitary.dtype)
    places = [(zero, _omega(b1, zero))]
    for encoding, before, after in ((e1, b1, b2), (e2, b2, b3)):
        state, kets = places[-1]
        state = _encode(encoding, (state @ before.unitary.T)[:, None])[:, 0]
        kets = _encode(encoding, kets @ before.unitary.T)
        places.append((state, np.concatenate([kets, _generate(encoding, after, state)], 1)))
    return [*places, tuple(x @ b3.unitary.T for x in places[-1])]


def _few_images(
    cfg: ModelConfig, blocks: list[_Block], angles: list[np.ndarray], patches: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian (N, K, size) and Hessian (size, size) of a few images, angles in time order."""
    b1, b2, b3 = blocks
    e1, e2 = encodings = _encodings(cfg, angles, patches)
    *places, (psi, kets) = _states(blocks, encodings)
    real = psi.real.dtype
    observed = _observe(cfg, psi)  # (N, K, D)

    # the bra carried back: to after encoding 2, to after encoding 1, to the start, where all images meet in one state
    beta_two = np.einsum("nk,nkd->nd", weights.astype(real), observed) @ b3.unitary.conj()
    beta_one = _undo(e2, beta_two[:, None])[:, 0] @ b2.unitary.conj()
    beta_zero = (_undo(e1, beta_one[:, None])[:, 0] @ b1.unitary.conj()).sum(0, keepdims=True)
    bras = [
        _omega(b1, beta_zero),
        _generate(e1, b2, beta_one),
        _generate(e2, b3, beta_two),
    ]
    rows = [_overlap(bra, place[1]) for bra, place in zip(bras, places, strict=True)]
    later = np.concatenate([np.pad(row, ((0, 0), (0, kets.shape[1] - row.shape[1]))) for row in rows])
    half = np.tril(_overlap(_weighted(cfg, weights.astype(real), kets), kets) - later)
    jacobian = 2 * np.matmul(observed.view(real), kets.view(real).swapaxes(1, 2))
    return jacobian, 2 * (half + np.tril(half, -1).T)


def _observe(cfg: ModelConfig, psi: np.ndarray) -> np.ndarray:
    """The observables times states: (N, K, D) from (N, D)."""
    tables = [(axis, *_pauli(cfg.n_qubits, axis), wire) for axis, wire in observables(cfg)]
    return np.stack(
        [factor[wire].astype(psi.dtype) * psi.take(source[wire], 1) for _, source, factor, wire in tables], 1
    )


def _weighted(cfg: ModelConfig, weights: np.ndarray, kets: np.ndarray) -> np.ndarray:
    """sum_k weights[n, k] O_k times kets (N, a, D): a small matrix on the measured wires, different for each image."""
    wires = cfg.n_classes // 2
    tables = [(*_pauli(wires, axis), wire) for axis, wire in observables(cfg)]
    matrices = np.stack(
        [factor[wire].real[:, None] * np.eye(2**wires)[source[wire]] for source, factor, wire in tables]
    )
    small = np.einsum("nk,kab->nab", weights, matrices.astype(weights.dtype))
    parts = kets.view(weights.dtype).reshape(*kets.shape[:2], 2**wires, -1)
    return np.matmul(small[:, None], parts).reshape(*kets.shape[:2], -1).view(kets.dtype)
