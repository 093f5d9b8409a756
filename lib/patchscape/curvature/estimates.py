"""The Gauss-Newton matrix if blocks were random: the estimates T4 (trace) and T5 (spectrum), ours, not the paper's.

The eigenvalues of G = X^T X that are not zero are those of X X^T, a matrix with one row for every image and class. Its
entries are sums of products of derivatives over all angles: the tangent kernel. For random blocks the mean of such a
product is known. It depends on how alike the encodings of two images are, patch by patch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from patchscape import law
from patchscape.circuit import simulator
from patchscape.config import ModelConfig
from patchscape.learning import model

IMAGES = 4000  # ours: most images for which the kernel is built


class Expected(NamedTuple):
    """What T5 expects.

    Attributes:
        eigenvalues: (top,) largest eigenvalues of G on phi, in decreasing order, nats per rad^2.
        kept: share of the trace that belongs to the images used, in [0, 1].
    """

    eigenvalues: np.ndarray
    kept: float


def similarities(cfg: ModelConfig, params: model.Params, angles: np.ndarray) -> Iterator[np.ndarray]:
    """Yields `similarity` (N, N) of images (N, side, side), bias added, for one circuit after the other."""
    shifted = angles + params["bias"] if cfg.shared_bias else angles
    patches = np.asarray(model.cut_patches(cfg, np.asarray(shifted)))
    return (similarity(cfg, phi, patch) for phi, patch in zip(params["phi"], patches, strict=True))


def similarity(cfg: ModelConfig, phi: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Correlation between the derivatives for two images along any angle of a circuit with random blocks.

    Each of the two encodings multiplies the correlation by a mean over the Pauli strings of odd weight, the generators
    of what the ansatz can reach: a string keeps the product, over the wires where it is not the identity, of the mean
    of 1 + 2 cos over three, with the angle of the rotation that leads from one image's encoding to the other's.

    Args:
        cfg: the model.
        phi: (m,) angles of one circuit in rad; those of its encodings are used.
        patches: (N, q*q) pixels of its patch in rad, with the bias, in row-major order.

    Returns:
        (N, N), positive semidefinite, one on the diagonal.
    """
    found = np.asarray(simulator.encodings(cfg, jnp.asarray(phi), jnp.asarray(patches)), np.float64)
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    strings = 4.0**cfg.n_qubits - 2.0**cfg.n_qubits  # twice their number
    correlation = np.ones((len(patches), len(patches)))
    for encoding in found:
        every = np.ones_like(correlation)  # sum over all strings, wire by wire, and with signs by weight
        signed = np.ones_like(correlation)
        for wire in encoding.transpose(1, 0, 2):
            thrice = 4 * np.square(wire.T @ wire) - 1  # 1 + 2 cos: a trace of 3 x 3 rotations, from quaternions
            every *= 1 + thrice
            signed *= 1 - thrice
        correlation *= (every - signed) / strings
    return correlation


def spectrum(
    cfg: ModelConfig,
    params: model.Params,
    angles: np.ndarray,
    probabilities: np.ndarray,
    *,
    top: int = 20,
    images: int = IMAGES,
) -> Expected:
    """Largest eigenvalues of the Gauss-Newton matrix on phi that the estimate T5 expects.

    Args:
        cfg: the model; its circuits count as independent.
        params: as from `model.init`; only the angles of the encodings and the bias are used.
        angles: (N, side, side) in rad.
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
    unsure = law.impurity(probabilities)
    used = np.sort(np.argsort(unsure)[::-1][:images])
    size = len(used) * classes
    if not 0 < top < size:
        raise ValueError(f"top={top}: choose 1 to {size - 1}, less than images times classes.")
    kernel = sum(similarities(cfg, params, angles[used])) / cfg.n_patches
    pi, root = probabilities[used], np.sqrt(probabilities[used])

    def product(v: np.ndarray) -> np.ndarray:
        v = v.reshape(-1, classes)
        v = kernel @ (root * v - pi * np.sum(root * v, 1, keepdims=True))
        return (root * v - root * np.sum(pi * v, 1, keepdims=True)).ravel()

    if not unsure.any():  # sure of every image: G is zero, and no start for an iteration
        return Expected(np.zeros(top), 1.0)
    matrix = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    values = eigsh(matrix, top, v0=start, return_eigenvectors=False)
    kept = unsure[used].sum() / unsure.sum()
    scale = law.trace(1 / count, cfg.n_patches, cfg.factor, cfg.n_params_per_qnn, cfg.n_qubits)
    return Expected(scale * np.sort(values)[::-1], float(kept))
