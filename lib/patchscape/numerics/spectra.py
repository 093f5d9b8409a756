"""Spectra of symmetric matrices known by their products: both ends, a quadrature of the density, outliers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Krylov(NamedTuple):
    """What Lanczos' method knows of a block-diagonal matrix of B blocks after k steps; all blocks take part at once.

    Attributes:
        values: (B, k) Ritz values in decreasing order; both ends of the spectrum converge first.
        residuals: (B, k) norms ||H v - lambda v|| of the Ritz pairs, in the unit of the values, as the recurrence gives
            them: without the rounding of the products, which a residual as small as that does not show.
        weights: (B, k) squared overlap of each Ritz vector with the random start: with the values, a quadrature rule
            of the spectral density seen from it.
        vectors: (B, k, size) unit Ritz vectors.
        n_matvecs: number of products.
    """

    values: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray
    vectors: np.ndarray
    n_matvecs: int


def finite(matvec: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a product stop any iteration, with a sentence, when it is not finite, not real, or of another shape.

    Args:
        matvec: (size,) -> (size,).

    Returns:
        The same, in float64. It raises a ValueError for NaN and infinity, complex numbers, and another shape.
    """

    def product(v: np.ndarray) -> np.ndarray:
        image = np.asarray(matvec(v))
        if image.shape != v.shape or np.iscomplexobj(image):
            raise ValueError(
                f"a product with the matrix has shape {image.shape} and type {image.dtype}: "
                f"return real numbers of shape {v.shape}."
            )
        image = image.astype(np.float64)
        if not np.all(np.isfinite(image)):
            raise ValueError(
                "a product with the matrix is not finite (NaN or infinity), so it has no eigenvalues: look for "
                "parameters, images or a loss that are not finite, or too large for single precision."
            )
        return image

    return product


def lanczos(
    matvec: Callable[[np.ndarray], np.ndarray],
    size: int,
    *,
    seed: int,
    max_steps: int,
    n_blocks: int = 1,
    top: int = 1,
    bottom: int = 0,
    tol: float = 1e-3,
) -> Krylov:
    """Runs Lanczos' method with full reorthogonalisation until the wanted ends of the spectrum have converged.

    One Krylov space serves both ends and the spectral density, which ARPACK's restarts do not. When the space is
    exhausted (invariant subspace), a new random direction continues it.

    Args:
        matvec: (n_blocks size,) -> (n_blocks size,), float64 in and out, block diagonal in n_blocks blocks.
        size: rows of one block.
        seed: of the random start vectors.
        max_steps: most products.
        n_blocks: number of diagonal blocks, each with a Krylov space of its own.
        top: stop when so many largest values have converged in every block ...
        bottom: ... and so many smallest ones,
        tol: to residuals below tol * max |value| of their block.

    Returns:
        Ritz values and vectors; values that have not converged say so by their residuals.

    Raises:
        ValueError: if a number is not allowed, or a product is not finite.
    """
    if min(size, max_steps, n_blocks) < 1 or min(top, bottom) < 0 or not 0 < tol < 1 or top + bottom > size:
        raise ValueError(
            f"size={size}, max_steps={max_steps}, n_blocks={n_blocks}, top={top}, bottom={bottom}, tol={tol}: choose "
            f"size, max_steps and n_blocks from 1, top and bottom from 0 and together at most size, 0 < tol < 1."
        )
    rng, matvec = np.random.default_rng(seed), finite(matvec)
    start = rng.standard_normal((n_blocks, size))
    basis = [start / np.linalg.norm(start, axis=1, keepdims=True)]
    diagonal, beside = [], []

    def orthogonal(w: np.ndarray) -> np.ndarray:
        q = np.stack(basis, 1)
        for _ in range(2):  # twice is enough
            w = w - np.einsum("bk,bks->bs", np.einsum("bks,bs->bk", q, w), q)
        return w

    for step in range(1, min(max_steps, size) + 1):
        w = matvec(basis[-1].ravel()).reshape(n_blocks, size)
        diagonal.append(np.sum(basis[-1] * w, 1))
        w = orthogonal(w)
        length = np.linalg.norm(w, axis=1)
        values, inner = _tridiagonal(diagonal, beside)
        scale = np.abs(values).max(1)
        exhausted = length <= 1e-10 * np.maximum(scale, np.finfo(np.float64).tiny)
        length = np.where(exhausted, 0, length)
        residuals = length[:, None] * np.abs(inner[:, -1])
        wanted = residuals[:, np.r_[:top, max(step - bottom, 0) : step]] if step >= top + bottom else np.inf
        if step == size or np.all(wanted <= tol * scale[:, None]):
            break
        if np.any(exhausted):
            fresh = orthogonal(rng.standard_normal((n_blocks, size)))
            w = np.where(exhausted[:, None], fresh, w)
        beside.append(length)
        basis.append(w / np.linalg.norm(w, axis=1, keepdims=True))
    vectors = np.einsum("bki,bks->bis", inner, np.stack(basis[:step], 1))
    return Krylov(values, residuals, inner[:, 0] ** 2, vectors, step)


def quadrature(
    matvec: Callable[[np.ndarray], np.ndarray], size: int, *, steps: int, starts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature rules for the spectral density, one from each of several random starts.

    The mean over starts estimates the mean over eigenvalues: of a function f, as the sum of weights * f(nodes).

    Args:
        matvec: (size,) -> (size,), float64 in and out, symmetric.
        size: of the matrix.
        steps: products for each start, none left out; at most size.
        starts: number of starts, with seeds from 0.

    Returns:
        Nodes (starts, steps) in decreasing order, and weights (starts, steps) that sum to 1 for each start.

    Raises:
        ValueError: if steps is not from 1 to size, or there is no start.
    """
    if not 1 <= steps <= size:
        raise ValueError(f"steps={steps}: choose from 1 to the size of the matrix, {size}.")
    if starts < 1:
        raise ValueError(f"starts={starts}: choose at least 1.")
    # that so many values are wanted keeps the iteration from ending early
    found = [lanczos(matvec, size, seed=seed, max_steps=steps, top=steps) for seed in range(starts)]
    return np.stack([k.values[0] for k in found]), np.stack([k.weights[0] for k in found])


def _tridiagonal(diagonal: list[np.ndarray], beside: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (B, k) in decreasing order, and eigenvectors (B, k, k) as columns, of tridiagonal matrices."""
    a = np.stack(diagonal, 1)
    t = np.einsum("bi,ij->bij", a, np.eye(a.shape[1]))
    if beside:
        i = np.arange(a.shape[1] - 1)
        t[:, i, i + 1] = t[:, i + 1, i] = np.stack(beside, 1)
    values, vectors = np.linalg.eigh(t)
    return values[:, ::-1], vectors[:, :, ::-1]


def count_outliers(values: np.ndarray, *, candidates: int) -> int:
    """Counts the eigenvalues above the widest gap, on a logarithmic scale, among the largest ones.

    The rule has no threshold: the count is the rank r in 1 to `candidates` with the largest ratio
    values[r - 1] / values[r]. It always names a gap; `gap_ratio` says how wide it is.

    Args:
        values: eigenvalues in decreasing order.
        candidates: largest count considered.

    Returns:
        The count, 0 if no eigenvalue is positive.

    >>> count_outliers(np.array([9.0, 8.0, 1.0, 0.9, 0.8]), candidates=4)
    2
    """
    positive = values[values > 0][: candidates + 1]
    if len(positive) < 2:
        return len(positive)
    return int(np.argmax(positive[:-1] / positive[1:])) + 1


def gap_ratio(values: np.ndarray, rank: int) -> float:
    """Ratio of the eigenvalue of a rank (from 1) to the next one, infinite if that is not positive."""
    return float(values[rank - 1] / values[rank]) if values[rank] > 0 else float("inf")
