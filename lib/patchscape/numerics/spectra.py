"""Spectra of symmetric matrices known by their products: both ends, with residuals, and a quadrature of the density."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from patchscape.numerics import products

MAX_STEPS = 300  # ours: most products for extreme eigenpairs


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


class Eigenpairs(NamedTuple):
    """Eigenvalues with the evidence for them.

    Attributes:
        values: (k,) in decreasing order.
        vectors: unit vectors, a pytree like the parameters with a leading axis k (or an array (k, size)).
        residuals: (k,) norms ||H v - lambda v||, in the unit of the eigenvalues.
        converged: whether every residual is at most tol * max |lambda|.
        n_matvecs: number of products with the matrix, those for the residuals included.
    """

    values: np.ndarray
    vectors: products.Tree
    residuals: np.ndarray
    converged: bool
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
    exhausted (invariant subspace), a new random direction continues it, as often as eigenvalues are wanted: it may have
    one vector only of an eigenspace.

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
    diagonal: list[np.ndarray] = []
    beside: list[np.ndarray] = []
    ended = np.zeros(n_blocks, int)

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
        # A Krylov space has one vector of each eigenspace, and every fresh direction one more.
        ended += exhausted
        copies_missing = np.any((ended > 0) & (ended < max(top, bottom)))
        if step == size or (np.all(wanted <= tol * scale[:, None]) and not copies_missing):
            break
        if np.any(exhausted):
            fresh = orthogonal(rng.standard_normal((n_blocks, size)))
            w = np.where(exhausted[:, None], fresh, w)
        beside.append(length)
        basis.append(w / np.linalg.norm(w, axis=1, keepdims=True))
    vectors = np.einsum("bki,bks->bis", inner, np.stack(basis[:step], 1))
    return Krylov(values, residuals, inner[:, 0] ** 2, vectors, step)


def eigenpairs(
    matvec: Callable[[np.ndarray], np.ndarray],
    size: int,
    k: int,
    *,
    seed: int,
    tol: float = 1e-3,
    which: str = "LA",
    max_steps: int = MAX_STEPS,
) -> Eigenpairs:
    """Computes extreme eigenpairs of a symmetric matrix from products with it, by Lanczos' method.

    Args:
        matvec: (size,) -> (size,), float64 in and out.
        size: number of rows.
        k: number of eigenpairs, 1 to size.
        seed: of the random start vector.
        tol: allowed residual relative to the largest eigenvalue in size that was met.
        which: "LA" for the largest, "SA" for the smallest.
        max_steps: most products, raised to k if it is less; k more give the residuals.

    Returns:
        Eigenpairs with vectors (k, size).

    Raises:
        ValueError: if k, which or tol is not allowed, or a product is not finite.
    """
    if k not in range(1, size + 1) or which not in ("LA", "SA") or not 0 < tol < 1:
        raise ValueError(f"k={k}, which={which!r}, tol={tol}: choose k from 1 to {size}, 'LA' or 'SA', 0 < tol < 1.")
    ends = {"top": k} if which == "LA" else {"top": 0, "bottom": k}
    found = lanczos(matvec, size, seed=seed, max_steps=max(max_steps, k), tol=tol, **ends)
    part = slice(0, k) if which == "LA" else slice(-k, None)
    values, vectors = found.values[0, part], found.vectors[0, part]
    # from products, not from the recurrence, so that their rounding shows
    residuals = np.array([np.linalg.norm(matvec(v) - x * v) for x, v in zip(values, vectors, strict=True)])
    scale = max(np.abs(found.values).max(), np.finfo(np.float32).tiny)
    return Eigenpairs(values, vectors, residuals, bool(np.all(residuals <= tol * scale)), found.n_matvecs + k)


def top_eigenvalues(
    loss_fn: products.LossFn, params: products.Tree, k: int = 1, *, seed: int = 0, tol: float = 1e-3, which: str = "LA"
) -> Eigenpairs:
    """Computes the largest (or smallest) eigenvalues of the Hessian of a loss.

    Args:
        loss_fn: parameters -> scalar.
        params: where the Hessian is taken.
        k: number of eigenpairs.
        seed: of the random start vector.
        tol: allowed residual relative to the largest eigenvalue in size that was met.
        which: "LA" for the largest, "SA" for the smallest.

    Returns:
        Eigenpairs with vectors as a pytree like params, each leaf with a leading axis k.

    Raises:
        ValueError: if the parameters are not all real floating-point numbers, the loss is not one real number, or as
            for `eigenpairs`.
    """
    products.check_loss(loss_fn, params)
    matvec, size, unravel = products.flat_matvec(products.hvp(loss_fn), params)
    found = eigenpairs(matvec, size, k, seed=seed, tol=tol, which=which)
    dtype = ravel_pytree(params)[0].dtype
    trees = [unravel(jnp.asarray(v, dtype)) for v in found.vectors]
    return found._replace(vectors=jax.tree.map(lambda *leaves: np.stack(leaves), *trees))


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
