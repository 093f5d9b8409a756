"""The Gauss-Newton matrix if circuits were random: the estimates T4 (trace) and T5 (spectrum), ours, not the paper's.

The eigenvalues of G = X^T X that are not zero are those of X X^T, a matrix with one row for every image and class. Its
entries are sums of products of derivatives over all angles: the tangent kernel. For random circuits the mean of such
a product is known. It depends on how alike two images are, patch by patch, and on nothing that is trained.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from patchscape import model
from patchscape.config import ModelConfig

IMAGES = 4000  # ours: most images for which the kernel is built


class Expected(NamedTuple):
    """What T5 expects.

    Attributes:
        eigenvalues: (top,) largest eigenvalues of G on phi, in decreasing order, nats per rad^2.
        kept: share of the trace that belongs to the images used, in [0, 1].
    """

    eigenvalues: np.ndarray
    kept: float


def typical_square(n_qubits: int) -> float:
    """Mean square of a derivative of a Pauli observable along an angle, in a random circuit.

    The gates before the angle and those after it are drawn independently from unitary 2-designs. Different observables
    then have uncorrelated derivatives of mean zero {cite}`mcclean2018barren`.

    Args:
        n_qubits: q.

    Returns:
        D^2 / (2 (D + 1)^2 (D - 1)) with D = 2^q, per rad^2; about 2^-(q + 1).
    """
    size = 2**n_qubits
    return size**2 / (2 * (size + 1) ** 2 * (size - 1))


def impurity(probabilities: np.ndarray) -> np.ndarray:
    """Gini impurity 1 - sum_k pi_k^2 = tr A (N,) of probabilities (N, C); exact where the model is sure."""
    others = probabilities @ (1 - np.eye(probabilities.shape[1]))  # 1 - pi would lose digits
    return np.sum(probabilities * others, 1)


def similarity(patches: np.ndarray, n_qubits: int) -> np.ndarray:
    """Correlation between the derivatives for two images along any angle of a random circuit.

    The blocks and the rotations between two pixels of a wire are independent random unitaries (2-designs). Then each
    of the two encodings multiplies the correlation by its mean over all Pauli strings but the identity: a string keeps
    the product, over the wires where it is not the identity and over their pixels, of (1 + 2 cos difference) / 3.

    Args:
        patches: (N, q*q) pixels of one patch as angles in rad, in row-major order.
        n_qubits: q, even.

    Returns:
        (N, N), positive semidefinite, one on the diagonal.
    """
    halves = np.asarray(patches, np.float64).reshape(len(patches), 2, n_qubits, n_qubits // 2)
    strings = 4.0**n_qubits
    correlation = np.ones((len(patches), len(patches)))
    for half in halves.transpose(1, 2, 3, 0):
        product = np.ones_like(correlation)
        for wire in half:
            kept = np.ones_like(correlation)
            for angle in wire:
                kept *= (1 + 2 * (np.outer(np.cos(angle), np.cos(angle)) + np.outer(np.sin(angle), np.sin(angle)))) / 3
            product *= (1 + 3 * kept) / 4
        correlation *= (strings * product - 1) / (strings - 1)
    return correlation


def spectrum(
    cfg: ModelConfig, angles: np.ndarray, probabilities: np.ndarray, *, top: int = 20, images: int = IMAGES
) -> Expected:
    """Largest eigenvalues of the Gauss-Newton matrix on phi that the estimate T5 expects.

    Args:
        cfg: the model; its circuits count as independent.
        angles: (N, side, side) in rad. A shared bias moves all images alike and makes no difference.
        probabilities: (N, C), the model's, for these images.
        top: number of eigenvalues, less than N C.
        images: use at most so many images, those with the largest impurity. Eigenvalues are then at most those for
            all images, as they belong to a part of the same positive semidefinite matrix.

    Returns:
        The eigenvalues; all N C of them add up to the trace that T4 expects.

    Raises:
        ValueError: if shapes do not fit or too many eigenvalues are asked for.
    """
    probabilities = np.asarray(probabilities, np.float64)
    count, classes = probabilities.shape
    if len(angles) != count:
        raise ValueError(f"{len(angles)} images, but probabilities for {count}: give one row for each image.")
    unsure = impurity(probabilities)
    used = np.sort(np.argsort(unsure)[::-1][:images])
    size = len(used) * classes
    if not 0 < top < size:
        raise ValueError(f"top={top}: choose 1 to {size - 1}, less than images times classes.")
    patches = np.asarray(model.cut_patches(cfg, angles[used]))
    kernel = sum(similarity(patch, cfg.n_qubits) for patch in patches)
    pi, root = probabilities[used], np.sqrt(probabilities[used])

    def product(v: np.ndarray) -> np.ndarray:
        v = v.reshape(-1, classes)
        v = kernel @ (root * v - pi * np.sum(root * v, 1, keepdims=True))
        return (root * v - root * np.sum(pi * v, 1, keepdims=True)).ravel()

    matrix = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    values = eigsh(matrix, top, v0=start, return_eigenvectors=False)
    scale = cfg.factor**2 * cfg.n_params_per_qnn * typical_square(cfg.n_qubits) / count
    kept = unsure[used].sum() / unsure.sum() if unsure.any() else 1.0
    return Expected(scale * np.sort(values)[::-1], float(kept))
