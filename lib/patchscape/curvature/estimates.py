"""The Gauss-Newton matrix if blocks were random: the estimates E1 (trace) and E2 (spectrum), ours, not the paper's.

The eigenvalues of G = X^T X that are not zero are those of X X^T, a matrix with one row for every image and class. Its
entries are sums of products of derivatives over all angles: the tangent kernel. For random blocks the mean of such a
product is known. It depends on how alike the encodings of two images are, patch by patch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from patchscape import law
from patchscape.circuit.ansatz import ENCODING_AXES, split_angles
from patchscape.config import ModelConfig
from patchscape.learning import model
from patchscape.numerics import spectra

IMAGES = 4000  # ours: most images for which the kernel is built
TOLERANCE = 1e-9  # ours: residual of an eigenvalue, relative to the largest
ROWS = 200  # ours: rows of a kernel at once; sets the memory, not the result


class Expected(NamedTuple):
    """What E2 expects: largest eigenvalues of the mean of X X^T, nats per rad^2, in decreasing order.

    Attributes:
        phi: (top,), of G on phi.
        every: (top,), of G on all parameters; the same if there is no shared bias.
        kept: share of the trace that belongs to the images used, in [0, 1].
    """

    phi: np.ndarray
    every: np.ndarray
    kept: float


class Similarity(NamedTuple):
    """How alike the derivatives of one circuit with random blocks are for two images; one for an image and itself.

    Attributes:
        blocks: (N, N) correlation of the derivatives along any angle of a block.
        angles: (N, N) mean of the correlation over all m angles, those of the encodings included.
        pixels: (N, N) mean over the q^2 pixels.
    """

    blocks: np.ndarray
    angles: np.ndarray
    pixels: np.ndarray


def similarities(cfg: ModelConfig, params: model.Params, angles: model.Array) -> Iterator[Similarity]:
    """Yields `similarity` of images (N, side, side), bias added, for one circuit after the other."""
    patches = np.asarray(model.shifted_patches(cfg, params, angles))
    return (similarity(cfg, phi, patch) for phi, patch in zip(params["phi"], patches, strict=True))


def similarity(cfg: ModelConfig, phi: np.ndarray, patches: np.ndarray) -> Similarity:
    """Correlations between the derivatives for two images in a circuit with random blocks.

    An encoding between two random blocks multiplies the correlation by a mean over the Pauli strings of odd weight,
    the generators of what the ansatz can reach: a string keeps the product of tr(R_i^T R_j) / 3 over the wires where
    it is not the identity, with R_i the rotation (3, 3) that the encoding of image i is for a wire's Pauli matrices.
    If the angle lies inside the encoding, on a wire w, its generator depends on the image, too. Carried to the end of
    the encoding it is n_i . sigma, and the commutator with it leaves of wire w the factor
    [tr(R_i^T R_j) n_i . n_j - n_i^T R_j R_i^T n_j] / 2, and of the other wires the mean over strings of even weight.

    Args:
        cfg: the model.
        phi: (m,) angles of one circuit in rad; those of its encodings are used.
        patches: (N, q*q) pixels of its patch in rad, with the bias, in row-major order.

    Returns:
        The correlations, each positive semidefinite.
    """
    q, count = cfg.n_qubits, len(patches)
    halves = np.asarray(patches, np.float64).reshape(count, 2, q, q // 2).transpose(1, 2, 0, 3)
    own = split_angles(cfg, np.asarray(phi, np.float64))[1]
    turns = [_turns(*pair) for pair in zip(own, halves, strict=True)]
    found = Similarity(*np.empty((3, count, count)))
    inside, m = 2 * q * q, cfg.n_params_per_qnn
    for start in range(0, count, ROWS):  # the matrices are symmetric: from the diagonal on
        of_first, of_second = (_factors(*(part[:, start:] for part in turn)) for turn in turns)
        blocks = of_first[0] * of_second[0]
        angles, pixels = (a * of_second[0] + of_first[0] * b for a, b in zip(of_first[1:], of_second[1:], strict=True))
        rows = slice(start, start + ROWS)
        parts = blocks, ((m - inside) * blocks + angles) / m, pixels / q**2
        for matrix, part in zip(found, parts, strict=True):
            matrix[rows, start:], matrix[start:, rows] = part, part.T
    return found


def _turns(angles: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations of an encoding, and the generators inside it carried to its end.

    Args:
        angles: (q, q/2, 2) in rad, around every pixel.
        pixels: (q, N, q/2) in rad.

    Returns:
        (q, N, 3, 3), and for angles and pixels (q, N, K, 3) with K of them on a wire.
    """
    turn = np.broadcast_to(np.eye(3), (*pixels.shape[:2], 3, 3))
    of_angles, of_pixels = [], []
    for j in reversed(range(pixels.shape[2])):  # from the last gate to the first
        first, middle, last = ("XYZ".index(axis) for axis in ENCODING_AXES[j % 2])
        of_angles.append(turn[..., last])
        turn = turn @ _rotation(last, angles[:, None, j, 1])
        of_pixels.append(turn[..., middle])
        turn = turn @ _rotation(middle, pixels[..., j])
        of_angles.append(turn[..., first])
        turn = turn @ _rotation(first, angles[:, None, j, 0])
    return turn, np.stack(of_angles, 2), np.stack(of_pixels, 2)


def _rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) by angles (...) in rad about one axis."""
    out = np.zeros((*angle.shape, 3, 3))
    second, third = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1
    out[..., second, second] = out[..., third, third] = np.cos(angle)
    out[..., third, second] = np.sin(angle)
    out[..., second, third] = -out[..., third, second]
    return out


def _factors(turns: np.ndarray, angles: np.ndarray, pixels: np.ndarray) -> list[np.ndarray]:
    """An encoding's factor of the correlation, for the first images, `ROWS` of them, against all.

    Args:
        turns: rotations from `_turns`, and likewise:
        angles: the generators of its angles.
        pixels: those of its pixels.

    Returns:
        (ROWS, N) for angles of the blocks; summed over the encoding's angles; summed over its pixels.
    """
    q, count = turns.shape[:2]
    flat = turns.reshape(q, count, 9)
    thrice = flat[:, :ROWS] @ flat.swapaxes(1, 2)  # tr(R_i^T R_j) = 1 + 2 cos of the angle between them
    without = [_products_of_others(1 + sign * thrice) for sign in (1, -1)]  # sums over strings; with signs by weight
    every, signed = ((1 + sign * thrice[0]) * other[0] for sign, other in zip((1, -1), without, strict=True))
    found = [(every - signed) / (4.0**q - 2.0**q)]
    even = (without[0] + without[1]) / (4.0 ** (q - 1) - 2.0 ** (q - 1))
    for generators in (angles, pixels):
        total = np.zeros_like(found[0])
        for turn, n, trace, others in zip(turns, generators, thrice, even, strict=True):
            straight = n.reshape(count, -1)
            of_i = np.einsum("nka,nbc->nkabc", n[:ROWS], turn[:ROWS]).reshape(len(trace), -1)
            of_j = np.einsum("nkb,nac->nkabc", n, turn).reshape(count, -1)
            total += (trace * (straight[:ROWS] @ straight.T) - of_i @ of_j.T) * others / 2
        found.append(total)
    return found


def _products_of_others(values: np.ndarray) -> np.ndarray:
    """For each entry of the first axis the product of all others."""
    out = np.ones_like(values)
    for i in range(1, len(values)):
        out[i] = out[i - 1] * values[i - 1]
    after = np.ones_like(values[0])
    for i in reversed(range(len(values))):
        out[i] *= after
        after = after * values[i]
    return out


def spectrum(
    cfg: ModelConfig,
    params: model.Params,
    angles: model.Array,
    probabilities: np.ndarray,
    *,
    top: int = 20,
    images: int = IMAGES,
) -> Expected:
    """Largest eigenvalues of the Gauss-Newton matrix that the estimate E2 expects, on phi and on all parameters.

    They are eigenvalues of a mean of matrices. The largest one is convex, so that it bounds the mean of the largest
    eigenvalues from below.

    Args:
        cfg: the model; its circuits count as independent where they share pixels, so that products of derivatives of
            different circuits have mean zero. On phi nothing is assumed: no such product occurs there.
        params: as from `model.init`; only the angles of the encodings and the bias are used.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's, for these images.
        top: number of eigenvalues, less than N C.
        images: use at most so many images, those with the largest impurity. Eigenvalues are then at most those for
            all images, as they belong to a part of the same positive semidefinite matrix.

    Returns:
        The eigenvalues; all N C of them on phi add up to the trace that E1 expects.

    Raises:
        ValueError: if shapes do not fit or too many eigenvalues are asked for.
    """
    probabilities = np.asarray(probabilities, np.float64)
    count, classes = probabilities.shape
    if len(angles) != count:
        raise ValueError(f"{len(angles)} images, but probabilities for {count}: give one row for each image.")
    used, kept = least_certain(probabilities, images)
    size = len(used) * classes
    if not 0 < top < size:
        raise ValueError(f"top={top}: choose 1 to {size - 1}, less than images times classes.")
    if not law.impurity(probabilities).any():  # sure of every image: G is zero, and no start for an iteration
        return Expected(np.zeros(top), np.zeros(top), 1.0)
    kernel, of_pixels = np.zeros((2, len(used), len(used)))
    for alike in similarities(cfg, params, angles[used]):
        kernel += alike.angles / cfg.n_patches
        of_pixels += alike.pixels / cfg.n_patches
    scale = law.trace(1 / count, cfg.n_patches, cfg.factor, cfg.n_params_per_qnn, cfg.n_qubits)
    phi = every = scale * _largest(kernel, probabilities[used], top)
    if cfg.shared_bias:
        kernel += of_pixels * cfg.n_qubits**2 / cfg.n_params_per_qnn
        every = scale * _largest(kernel, probabilities[used], top)
    return Expected(phi, every, kept)


def least_certain(probabilities: np.ndarray, images: int) -> tuple[np.ndarray, float]:
    """The images that make most of the trace of the Gauss-Newton matrix: those with the largest impurity.

    Args:
        probabilities: (N, C), the model's.
        images: at most so many.

    Returns:
        Their positions in increasing order, and their share of the impurity of all N.
    """
    unsure = law.impurity(np.asarray(probabilities, np.float64))
    used = np.sort(np.argsort(unsure)[::-1][:images])
    return used, float(unsure[used].sum() / unsure.sum()) if unsure.any() else 1.0


def coherence(cfg: ModelConfig, params: model.Params, angles: model.Array, probabilities: np.ndarray) -> float:
    """Coherence of the circuits on phi that E2 expects, with mean matrices in the place of those at one point.

    Args:
        cfg: the model.
        params: as from `model.init`; only the angles of the encodings and the bias are used.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's, for these images; not all of them certain.

    Returns:
        The largest eigenvalue of the sum over circuits of the means of X_p X_p^T, over the sum of theirs.
    """
    probabilities = np.asarray(probabilities, np.float64)
    kernels = [alike.angles for alike in similarities(cfg, params, angles)]
    blocks = np.array([_largest(kernel, probabilities, 1)[0] for kernel in kernels])
    return float(law.coherence(_largest(np.sum(kernels, 0), probabilities, 1)[0], blocks))


def _largest(kernel: np.ndarray, pi: np.ndarray, top: int) -> np.ndarray:
    """Largest eigenvalues (top,) of the matrix with blocks kernel_ij S_i S_j^T, S^T S = A, from pi (N, C)."""

    def product(v: np.ndarray) -> np.ndarray:
        return law.softmax_root(pi, kernel @ law.softmax_root_transpose(pi, v.reshape(pi.shape))).ravel()

    return spectra.lanczos(product, pi.size, seed=0, max_steps=pi.size, top=top, tol=TOLERANCE).values[0, :top]
