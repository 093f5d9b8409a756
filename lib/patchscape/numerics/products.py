"""Curvature of a loss: products with its Hessian and Gauss-Newton matrix, and these matrices, dense.

Nothing here knows the model: functions take a loss (parameters -> scalar) or a product with a matrix. Parameters are
any pytree of arrays; eigenvalues are in nats per rad^2 when the loss is in nats and the parameters are angles.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

Tree = Any
LossFn = Callable[[Tree], jax.Array]
Product = Callable[[Tree, Tree], Tree]


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
        Three functions, all of which may be compiled with `jax.jit`: at, (parameters, chunks) -> a point, a pytree for
        the other two, with chunks a pytree of arrays with a leading axis of chunks; product, (point, v, chunks) -> H v,
        with v and the result like the parameters; gradient, point -> gradient of the loss, like the parameters.
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


def flat_matvec(product: Product, params: Tree) -> tuple[Callable[[np.ndarray], np.ndarray], int, Callable]:
    """Turns a product with pytrees into one with flat float64 vectors.

    Args:
        product: (params, v) -> H v.
        params: where the matrix is taken.

    Returns:
        The compiled product (size,) -> (size,), the size, and the function from a flat vector to a pytree.

    Raises:
        ValueError: if the parameters are not all real floating-point numbers.
    """
    check_real(params)
    flat, unravel = ravel_pytree(params)
    compiled = jax.jit(lambda p, v: ravel_pytree(product(p, unravel(v)))[0])
    return lambda v: np.asarray(compiled(params, jnp.asarray(v, flat.dtype)), np.float64), flat.size, unravel


def check_real(params: Tree) -> None:
    """Refuses parameters without a second derivative, and complex ones, which have twice as many as it seems.

    Args:
        params: any pytree of arrays.

    Raises:
        ValueError: if one of them is not real, or no floating-point number.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", np.result_type(type(leaf)))
        if not jnp.issubdtype(dtype, jnp.floating):
            where = f"parameters{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} are of type {dtype}: give floating-point numbers, as `jnp.asarray(x, float)`.")


def check_loss(loss_fn: LossFn, params: Tree) -> None:
    """Refuses a loss that is not one real number at these parameters, and parameters as `check_real` does.

    Args:
        loss_fn: parameters -> scalar.
        params: any pytree of arrays.

    Raises:
        ValueError: if the loss is another thing than one real number.
    """
    check_real(params)
    loss = jax.eval_shape(loss_fn, params)
    if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"the loss returns {loss}: return one real floating-point number, such as its mean.")


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

    Raises:
        ValueError: if the parameters are not all real floating-point numbers, or the loss is not one real number.

    >>> dense_hessian(lambda p: p["a"] ** 2 + p["a"] * p["b"], {"a": jnp.float32(1), "b": jnp.float32(2)})
    array([[2., 1.],
           [1., 0.]])
    """
    check_loss(loss_fn, params)
    return dense(hvp(loss_fn), params, columns_at_once=columns_at_once)
