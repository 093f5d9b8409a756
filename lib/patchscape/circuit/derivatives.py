"""Every first and second derivative of one circuit, exactly, from a few large matrix products.

The angles of a circuit fall into five segments in time: block 1, encoding 1, block 2, encoding 2, block 3. Along an
angle a, the derivative of a segment's unitary U is U Omega_a (or Gamma_a U, for an encoding) with an anti-Hermitian
matrix; for b later than a in one segment the second derivative is U Omega_b Omega_a. Let psi be the final state, O an
observable and beta what O psi becomes when it is carried back through all later segments. Then

    d_a <O>     = 2 Re <O psi | d_a psi>,
    d_a d_b <O> = 2 Re <d_a psi | O | d_b psi> - 2 Re <Omega_b beta | K_a>,

with K_a the derivative of the state at the segment of b along any angle a before b. Nothing is differentiated
automatically, which makes this an oracle for `patchscape.circuit.simulator` too. One pass of automatic
differentiation per angle needs several times the operations, and smaller products.
"""

from collections.abc import Callable

import numpy as np

from patchscape.circuit import segments
from patchscape.circuit.ansatz import LAYER_AXES, observables
from patchscape.circuit.blocks import from_real
from patchscape.circuit.segments import Block, Encoding
from patchscape.config import ModelConfig

_IMAGES = 50  # ours: images at once; sets the memory
_ROWS = 128  # ours: rows of a triangular product computed together


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
    blocks, encodings = segments.prepare(cfg, phi)
    place = segments.in_time(cfg)
    size = len(place)
    jacobian = np.empty((len(patches), cfg.n_classes, size), phi.dtype)
    second = np.zeros((size, size))
    for start in range(0, len(patches), _IMAGES):
        part = slice(start, start + _IMAGES)
        jacobian[part], of_part = _few_images(cfg, blocks, encodings, patches[part], weights[part])
        second += of_part
    back = np.argsort(place)
    return jacobian[..., back], second[np.ix_(back, back)]


def circuit_jacobian(cfg: ModelConfig, phi: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Prepares the Jacobian of one circuit's expectation values for many images.

    Every observable is carried back through the circuit, and paired with the state along the generator of each angle:
    few states to carry in place of one for every angle. The generators are kept as real matrices (`blocks`), 4^q
    numbers for each angle of blocks 2 and 3: 0.4 GB for 8 qubits and 50 layers in single precision.

    Args:
        cfg: the model.
        phi: (m,) angles in rad.

    Returns:
        A function of patches (N, q*q) in rad. It returns (N, K, m + q*q), derivatives with respect to the m angles and
        then to the inputs.
    """
    phi = np.asarray(phi)
    (b1, b2, b3), encodings = segments.prepare(cfg, phi)
    size = len(b1.unitary)
    zero = np.eye(1, size, dtype=b1.unitary.dtype)
    along_one, start = segments.omega(b1, zero)[0], zero @ b1.unitary.T
    basis = _real_basis(cfg.n_qubits).astype(b1.unitary.dtype)
    along_two, along_three = (_real_generators(block, basis) for block in (b2, b3))
    back = np.argsort(segments.in_time(cfg))

    def few(patches: np.ndarray) -> np.ndarray:
        e1, e2 = segments.encodings(cfg, encodings, patches)
        one = segments.encode(e1, start[:, None])[:, 0]
        two = segments.encode(e2, (one @ b2.unitary.T)[:, None])[:, 0]
        bra_two = segments.observe(cfg, two @ b3.unitary.T) @ b3.unitary.conj()
        bra_one = segments.undo(e2, bra_two) @ b2.unitary.conj()
        bra_zero = segments.undo(e1, bra_one) @ b1.unitary.conj()
        parts = [
            (bra_zero.conj() @ along_one.T).real,
            _by_encoding(e1, bra_one, one),
            _by_block(along_two, bra_one @ basis.conj(), one @ basis.conj()),
            _by_encoding(e2, bra_two, two),
            _by_block(along_three, bra_two @ basis.conj(), two @ basis.conj()),
        ]
        return 2 * np.concatenate(parts, -1)[..., back]

    return lambda patches: np.concatenate([few(patches[i : i + _IMAGES]) for i in range(0, len(patches), _IMAGES)])


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
    blocks, encodings = segments.prepare(cfg, phi)
    psi, kets = _states(blocks, segments.encodings(cfg, encodings, np.asarray(patch)[None]))[-1]
    kets = kets[0] - np.outer(kets[0] @ psi[0].conj(), psi[0])
    of_phi = np.argsort(segments.in_time(cfg))[: len(phi)]
    moved = np.zeros(len(phi))
    found = np.linalg.svd(kets[of_phi].view(phi.dtype), compute_uv=False)
    moved[: len(found)] = found
    return moved


def _states(blocks: list[Block], encodings: list[Encoding]) -> list[tuple[np.ndarray, np.ndarray]]:
    """States and their derivatives along all angles so far, at the four places where they are needed.

    Returns:
        States (N, D) and derivatives (N, a, D) before block 1 (one state for all images), after each encoding, and at
        the end. The derivatives before a block include those along the block's own angles.
    """
    b1, b2, b3 = blocks
    e1, e2 = encodings
    size = len(b1.unitary)
    zero = np.eye(1, size, dtype=b1.unitary.dtype)
    places = [(zero, segments.omega(b1, zero))]
    for encoding, before, after in ((e1, b1, b2), (e2, b2, b3)):
        state, kets = places[-1]
        state = segments.encode(encoding, (state @ before.unitary.T)[:, None])[:, 0]
        kets = segments.encode(encoding, kets @ before.unitary.T)
        places.append((state, np.concatenate([kets, segments.generate(encoding, after, state)], 1)))
    return [*places, tuple(x @ b3.unitary.T for x in places[-1])]


def _few_images(
    cfg: ModelConfig, blocks: list[Block], angles: list[np.ndarray], patches: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian (N, K, size) and Hessian (size, size) of a few images, angles in time order."""
    b1, b2, b3 = blocks
    e1, e2 = encodings = segments.encodings(cfg, angles, patches)
    *places, (psi, kets) = _states(blocks, encodings)
    real = psi.real.dtype
    observed = segments.observe(cfg, psi)  # (N, K, D)

    # the bra carried back: to after encoding 2, to after encoding 1, to the start, where all images meet in one state
    beta_two = np.einsum("nk,nkd->nd", weights.astype(real), observed) @ b3.unitary.conj()
    beta_one = segments.undo(e2, beta_two[:, None])[:, 0] @ b2.unitary.conj()
    beta_zero = (segments.undo(e1, beta_one[:, None])[:, 0] @ b1.unitary.conj()).sum(0, keepdims=True)
    bras = [
        segments.omega(b1, beta_zero),
        segments.generate(e1, b2, beta_one),
        segments.generate(e2, b3, beta_two),
    ]
    rows = [_overlap(bra, place[1]) for bra, place in zip(bras, places, strict=True)]
    later = np.concatenate([np.pad(row, ((0, 0), (0, kets.shape[1] - row.shape[1]))) for row in rows])
    half = np.tril(_overlap(_weighted(cfg, weights.astype(real), kets), kets) - later)
    jacobian = 2 * np.matmul(observed.view(real), kets.view(real).swapaxes(1, 2))
    return jacobian, 2 * (half + np.tril(half, -1).T)


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


def _weighted(cfg: ModelConfig, weights: np.ndarray, kets: np.ndarray) -> np.ndarray:
    """sum_k weights[n, k] O_k times kets (N, a, D): a small matrix on the measured wires, different for each image."""
    wires = cfg.n_classes // 2
    tables = [(*segments.pauli(wires, axis), wire) for axis, wire in observables(cfg)]
    matrices = np.stack(
        [factor[wire].real[:, None] * np.eye(2**wires)[source[wire]] for source, factor, wire in tables]
    )
    small = np.einsum("nk,kab->nab", weights, matrices.astype(weights.dtype))
    parts = kets.view(weights.dtype).reshape(*kets.shape[:2], 2**wires, -1)
    return np.matmul(small[:, None], parts).reshape(*kets.shape[:2], -1).view(kets.dtype)


def _real_basis(q: int) -> np.ndarray:
    """States that the time reversal of `blocks` leaves alone, as columns (2^q, 2^q)."""
    one = np.eye(2**q, dtype=np.float32)
    re, im = np.asarray(from_real(np.stack([one, np.zeros_like(one)], 1)), np.float64)
    # the entries are 0 and +-1 over the root of 2, here in double precision
    return np.round(np.sqrt(2) * (re + 1j * im)) / np.sqrt(2)


def _real_generators(block: Block, basis: np.ndarray) -> np.ndarray:
    """Omega of all angles of a block, in time order, as real matrices (a, D, D) in the basis."""
    depth, sides, size, _ = block.stages.shape
    q = size.bit_length() - 1
    out = np.empty((depth, sides, q, size, size), basis.real.dtype)
    for i, axis in enumerate(LAYER_AXES):
        source, factor = segments.pauli(q, axis)
        for layer in range(depth):
            u = block.stages[layer, i] @ basis
            turned = basis.dtype.type(-0.5j) * factor[..., None].astype(basis.dtype) * u[source]
            bra, ket = (np.concatenate([x.real, x.imag], -2) for x in (u, turned))
            np.matmul(bra.T, ket, out=out[layer, i])  # Re (bra^H ket): the imaginary part is zero
    return out.reshape(-1, size, size)


def _by_block(generators: np.ndarray, bras: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Re <bra | Omega_a state> (N, K, a) from bras (N, K, D) and states (N, D) in the real basis."""
    size = states.shape[1]
    moved = np.concatenate([states.real, states.imag]) @ generators.reshape(-1, size).T
    re, im = moved.reshape(2, len(states), -1, size).swapaxes(-1, -2)
    return bras.real @ re + bras.imag @ im


def _by_encoding(encoding: Encoding, bras: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Re <bra | Gamma_a state> (N, K, a) from bras (N, K, D) and states (N, D) after the encoding."""
    count, q = encoding.axes.shape[:2]
    half = states.dtype.type(-0.5j)
    along = [
        half * factor.astype(states.dtype) * states.take(source, 1)
        for source, factor in (segments.pauli(q, a) for a in segments.AXES)
    ]
    found = (bras.conj() @ np.concatenate(along, 1).swapaxes(1, 2)).real.reshape(count, -1, 3, q)
    return np.einsum("nkpw,nwgp->nkwg", found, encoding.axes, optimize=True).reshape(count, bras.shape[1], -1)
