"""Curvature of a loss: Hessian and Gauss-Newton products, top eigenvalues with residuals, dense matrices.

Nothing here knows the model: functions take a loss (parameters -> scalar) or a product with a matrix. Parameters are
any pytree of arrays; eigenvalues are in nats per rad^2 when the loss is in nats and the parameters are angles.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

Tree = Any
LossFn = Callable[[Tree], jax.Array]
Product = Callable[[Tree, Tree], Tree]


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
    vectors: Tree
    residuals: np.ndarray
    converged: bool
    n_matvecs: int


def hvp(loss_fn: LossFn) -> Product:
    """Returns the Hessian-vector product of a loss, forward over reverse {cite}`pearlmutter1994fast`.

    Args:
        loss_fn: parameters -> scalar.

    Returns:
        A function (params, v) -> H v; v and the result are pytrees like params.
    """
    return lambda params, v: jax.jvp(jax.grad(loss_fn), (params,), (v,))[1]


def gauss_newton_vp(logits_fn: Callable[[Tree], jax.Array], loss_of_logits: LossFn) -> Product:
    """Returns the product with the generalised Gauss-Newton matrix, J^T (Hessian of the loss in logits) J.

    Args:
        logits_fn: parameters -> logits, any shape.
        loss_of_logits: logits -> scalar.

    Returns:
        A function (params, v) -> G v.
    """

    def product(params: Tree, v: Tree) -> Tree:
        z, dz = jax.jvp(logits_fn, (params,), (v,))
        _, transpose = jax.vjp(logits_fn, params)
        return transpose(hvp(loss_of_logits)(z, dz))[0]

    return product


def finite_sum_hessian(
    prepare: Callable[[Tree], Tree], chunk_loss: Callable[[Tree, Tree], jax.Array]
) -> tuple[Callable[[Tree, Tree], Tree], Callable[[Tree, Tree, Tree], Tree], Callable[[Tree], Tree]]:
    """Returns the Hessian and the gradient of a loss summed over chunks of data, in the memory of one chunk.

    The loss is sum_i chunk_loss(prepare(params), chunk_i). What `prepare` computes is the same for all chunks: it is
    differentiated once per product, however many chunks there are. It and the gradient, sums over all chunks that do
    not depend on the vector, are computed once per matrix.

    Args:
        prepare: parameters -> shared, any pytree.
        chunk_loss: (shared, chunk) -> scalar, linear weights included.

    Returns:
        at: (parameters, chunks) -> a point, a pytree for the other two functions; the chunks are a pytree of arrays
            with a leading axis of chunks.
        product: (point, v, chunks) -> H v, with v and the result like the parameters.
        gradient: point -> gradient of the loss, like the parameters. All three may be compiled with `jax.jit`.
    """

    def at(params: Tree, chunks: Tree) -> Tree:
        shared = prepare(params)
        by_shared = _over_chunks(lambda chunk: jax.grad(chunk_loss)(shared, chunk), shared, chunks)
        return params, shared, by_shared, _transposed(prepare, params, by_shared)

    def product(point: Tree, v: Tree, chunks: Tree) -> Tree:
        params, shared, by_shared, _ = point
        # `prepare` is run again, rather than linearised once: its residuals would need memory for every layer.
        d_shared = jax.jvp(prepare, (params,), (v,))[1]

        def d_gradient(chunk: Tree) -> Tree:
            return jax.jvp(lambda s: jax.grad(chunk_loss)(s, chunk), (shared,), (d_shared,))[1]

        d_by_shared = _over_chunks(d_gradient, shared, chunks)
        return jax.jvp(partial(_transposed, prepare), (params, by_shared), (v, d_by_shared))[1]

    return at, product, lambda point: point[-1]


def finite_sum_gauss_newton(
    prepare: Callable[[Tree], Tree],
    outputs: Callable[[Tree, Tree], jax.Array],
    weigh: Callable[[jax.Array, jax.Array, Tree], jax.Array],
) -> Callable[[Tree, Tree, Tree], Tree]:
    """Returns the product with sum_i J_i^T A_i J_i, J_i the Jacobian of outputs(prepare(params), chunk_i).

    Args:
        prepare: parameters -> shared, any pytree.
        outputs: (shared, chunk) -> array of any shape.
        weigh: (outputs, tangent, chunk) -> A_i times the tangent, linear and symmetric in the tangent.

    Returns:
        product: (point, v, chunks) -> product, where `point` is that of `finite_sum_hessian`.
    """

    def product(point: Tree, v: Tree, chunks: Tree) -> Tree:
        params, shared, *_ = point
        d_shared = jax.jvp(prepare, (params,), (v,))[1]

        def by_chunk(chunk: Tree) -> Tree:
            y, transpose = jax.vjp(lambda s: outputs(s, chunk), shared)
            dy = jax.jvp(lambda s: outputs(s, chunk), (shared,), (d_shared,))[1]
            return transpose(weigh(y, dy, chunk))[0]

        return _transposed(prepare, params, _over_chunks(by_chunk, shared, chunks))

    return product


def _over_chunks(f: Callable[[Tree], Tree], like: Tree, chunks: Tree) -> Tree:
    """Sum of f over chunks."""
    add = lambda total, chunk: (jax.tree.map(jnp.add, total, f(chunk)), None)  # noqa: E731
    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, like), chunks)[0]


def _transposed(prepare: Callable[[Tree], Tree], params: Tree, cotangent: Tree) -> Tree:
    return jax.vjp(prepare, params)[1](cotangent)[0]


def eigenpairs(
    matvec: Callable[[np.ndarray], np.ndarray], size: int, k: int, *, seed: int, tol: float = 1e-3, which: str = "LA"
) -> Eigenpairs:
    """Computes extreme eigenpairs of a symmetric matrix from products with it.

    Uses ARPACK's restarted Lanczos method; matrices too small for it are built column by column and solved densely.

    Args:
        matvec: (size,) -> (size,), float64 in and out.
        size: number of rows.
        k: number of eigenpairs, 1 to size.
        seed: of the random start vector.
        tol: allowed residual relative to the largest eigenvalue in size.
        which: "LA" for the largest, "SA" for the smallest.

    Returns:
        Eigenpairs with vectors (k, size).

    Raises:
        ValueError: if k, which or tol is not allowed.
    """
    if not 1 <= k <= size or which not in ("LA", "SA") or not 0 < tol < 1:
        raise ValueError(f"k={k}, which={which!r}, tol={tol}: choose k from 1 to {size}, 'LA' or 'SA', 0 < tol < 1.")
    count = 0

    def counted(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return np.asarray(matvec(v), np.float64)

    start = np.random.default_rng(seed).standard_normal(size)
    image = counted(start)
    if size <= max(3 * k, 20):
        dense = np.stack([counted(row) for row in np.eye(size)], axis=1)
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        order = np.argsort(values)[::-1][:k] if which == "LA" else np.argsort(values)[:k]
        values, vectors = values[order], vectors[:, order]
    elif not np.any(image):  # ARPACK refuses a start vector in the kernel; a random one there means the zero matrix
        values, vectors = np.zeros(k), np.eye(size, k)
    else:
        operator = LinearOperator((size, size), matvec=counted, dtype=np.float64)
        try:
            values, vectors = eigsh(operator, k, which=which, v0=start, tol=tol, ncv=min(size, max(2 * k + 1, 12)))
        except ArpackNoConvergence as error:
            values, vectors = error.eigenvalues, error.eigenvectors
    order = np.argsort(values)[::-1]
    values, vectors = values[order], vectors[:, order].T
    residuals = np.array([np.linalg.norm(counted(v) - x * v) for x, v in zip(values, vectors, strict=True)])
    scale = max(np.abs(values).max(initial=0), np.finfo(np.float32).tiny)
    converged = len(values) == k and bool(np.all(residuals <= tol * scale))
    return Eigenpairs(values, vectors, residuals, converged, count)


class Krylov(NamedTuple):
    """What Lanczos' method knows of a block-diagonal matrix of B blocks after k steps; all blocks take part at once.

    Attributes:
        values: (B, k) Ritz values in decreasing order; both ends of the spectrum converge first.
        residuals: (B, k) norms ||H v - lambda v|| of the Ritz pairs, in the unit of the values.
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
        ValueError: if a number is not allowed.
    """
    if size < 1 or max_steps < 1 or not 0 < tol < 1 or top + bottom > size:
        raise ValueError(
            f"size={size}, max_steps={max_steps}, top={top}, bottom={bottom}, tol={tol}: choose size and max_steps "
            f"from 1, top + bottom at most size, 0 < tol < 1."
        )
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((n_blocks, size))
    basis = [start / np.linalg.norm(start, axis=1, keepdims=True)]
    diagonal, beside = [], []

    def orthogonal(w: np.ndarray) -> np.ndarray:
        q = np.stack(basis, 1)
        for _ in range(2):  # twice is enough
            w = w - np.einsum("bk,bks->bs", np.einsum("bks,bs->bk", q, w), q)
        return w

    for step in range(1, min(max_steps, size) + 1):
        w = np.asarray(matvec(basis[-1].ravel()), np.float64).reshape(n_blocks, size)
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


def _tridiagonal(diagonal: list[np.ndarray], beside: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (B, k) in decreasing order, and eigenvectors (B, k, k) as columns, of tridiagonal matrices."""
    a = np.stack(diagonal, 1)
    t = np.einsum("bi,ij->bij", a, np.eye(a.shape[1]))
    if beside:
        i = np.arange(a.shape[1] - 1)
        t[:, i, i + 1] = t[:, i + 1, i] = np.stack(beside, 1)
    values, vectors = np.linalg.eigh(t)
    return values[:, ::-1], vectors[:, :, ::-1]


def flat_matvec(product: Product, params: Tree) -> tuple[Callable[[np.ndarray], np.ndarray], int, Callable]:
    """Turns a product with pytrees into one with flat float64 vectors.

    Args:
        product: (params, v) -> H v.
        params: where the matrix is taken.

    Returns:
        The compiled product (size,) -> (size,), the size, and the function from a flat vector to a pytree.
    """
    flat, unravel = ravel_pytree(params)
    compiled = jax.jit(lambda p, v: ravel_pytree(product(p, unravel(v)))[0])
    return lambda v: np.asarray(compiled(params, jnp.asarray(v, flat.dtype)), np.float64), flat.size, unravel


def top_eigenvalues(
    loss_fn: LossFn, params: Tree, k: int = 1, *, seed: int = 0, tol: float = 1e-3, which: str = "LA"
) -> Eigenpairs:
    """Computes the largest (or smallest) eigenvalues of the Hessian of a loss.

    Args:
        loss_fn: parameters -> scalar.
        params: where the Hessian is taken.
        k: number of eigenpairs.
        seed: of the random start vector.
        tol: allowed residual relative to the largest eigenvalue in size.
        which: "LA" for the largest, "SA" for the smallest.

    Returns:
        Eigenpairs with vectors as a pytree like params, each leaf with a leading axis k.
    """
    return top_eigenvalues_of(hvp(loss_fn), params, k, seed=seed, tol=tol, which=which)


def top_eigenvalues_of(
    product: Product, params: Tree, k: int = 1, *, seed: int = 0, tol: float = 1e-3, which: str = "LA"
) -> Eigenpairs:
    """Computes the largest (or smallest) eigenvalues of any symmetric product, such as `gauss_newton_vp`.

    Args:
        product: (params, v) -> matrix times v.
        params: where the matrix is taken.
        k: number of eigenpairs.
        seed: of the random start vector.
        tol: allowed residual relative to the largest eigenvalue in size.
        which: "LA" for the largest, "SA" for the smallest.

    Returns:
        Eigenpairs with vectors as a pytree like params, each leaf with a leading axis k.
    """
    matvec, size, unravel = flat_matvec(product, params)
    found = eigenpairs(matvec, size, k, seed=seed, tol=tol, which=which)
    trees = [unravel(jnp.asarray(v, ravel_pytree(params)[0].dtype)) for v in found.vectors]
    return found._replace(vectors=jax.tree.map(lambda *leaves: np.stack(leaves), *trees))


def dense(product: Product, params: Tree, *, columns_at_once: int = 32) -> np.ndarray:
    """Builds the matrix of a product column by column; for small models only.

    Args:
        product: (params, v) -> matrix times v.
        params: where the matrix is taken.
        columns_at_once: columns computed in one batch; sets the memory.

    Returns:
        (size, size), made exactly symmetric, in the order of `jax.flatten_util.ravel_pytree`.
    """
    flat, unravel = ravel_pytree(params)
    column = lambda v: ravel_pytree(product(params, unravel(v)))[0]  # noqa: E731
    build = jax.jit(lambda: jax.lax.map(column, jnp.eye(flat.size, dtype=flat.dtype), batch_size=columns_at_once))
    matrix = np.asarray(build(), np.float64)
    return (matrix + matrix.T) / 2


def dense_hessian(loss_fn: LossFn, params: Tree, *, columns_at_once: int = 32) -> np.ndarray:
    """Builds the exact Hessian of a loss; for small models only.

    Args:
        loss_fn: parameters -> scalar.
        params: where the Hessian is taken.
        columns_at_once: columns computed in one batch; sets the memory.

    Returns:
        (size, size), symmetric, in the order of `jax.flatten_util.ravel_pytree`.

    >>> dense_hessian(lambda p: p["a"] ** 2 + p["a"] * p["b"], {"a": jnp.float32(1), "b": jnp.float32(2)})
    array([[2., 1.],
           [1., 0.]])
    """
    return dense(hvp(loss_fn), params, columns_at_once=columns_at_once)


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
