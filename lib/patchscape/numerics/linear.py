"""Linear maps that bring their own transpose.

Reverse mode transposes the tangent map of a function operation by operation. Where a better transpose is known,
`linear_map` puts it in. This is what `jax.custom_derivatives.linear_call` does, except that the arguments on which
the map depends may be differentiated too, which Hessian-vector products (forward over reverse) need.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir
from jax.interpreters.batching import primitive_batchers

_linear_map = Primitive("linear_map")


def linear_map(f: Callable, transpose: Callable, fixed: tuple, x: tuple) -> jax.Array:
    """Evaluates a map that is linear in x, and says how it is transposed.

    Args:
        f: (*fixed, *x) -> array, linear in all x together. A function of the module level, not a closure.
        transpose: (*fixed, cotangent) -> tuple of cotangents like x; a function of the module level.
        fixed: arrays on which the map depends in any way.
        x: arrays.

    Returns:
        f(*fixed, *x).
    """
    return _linear_map.bind(*fixed, *x, f=f, transpose=transpose, n_fixed=len(fixed), batch=0)


def _over(f, batch):
    for _ in range(batch):
        f = jax.vmap(f)
    return f


def _evaluate(*operands, f, transpose, n_fixed, batch):
    del transpose, n_fixed
    return _over(f, batch)(*operands)


def _shape(*operands, f, transpose, n_fixed, batch):
    del transpose, n_fixed
    out = jax.eval_shape(_over(f, batch), *operands)
    return jax.core.ShapedArray(out.shape, out.dtype)


def _jvp(primals, tangents, *, f, transpose, n_fixed, batch):
    how = {"f": f, "transpose": transpose, "n_fixed": n_fixed, "batch": batch}
    fixed, x = primals[:n_fixed], primals[n_fixed:]
    out, terms = _linear_map.bind(*primals, **how), []
    if any(type(t) is not ad.Zero for t in tangents[n_fixed:]):  # linear: the map itself, with its transpose
        terms.append(_linear_map.bind(*fixed, *map(ad.instantiate_zeros, tangents[n_fixed:]), **how))
    if any(type(t) is not ad.Zero for t in tangents[:n_fixed]):
        of_fixed = lambda *fixed: _over(f, batch)(*fixed, *x)  # noqa: E731
        terms.append(jax.jvp(of_fixed, fixed, tuple(map(ad.instantiate_zeros, tangents[:n_fixed])))[1])
    return out, sum(terms[1:], terms[0])


def _transpose(cotangent, *operands, f, transpose, n_fixed, batch):
    del f
    if type(cotangent) is ad.Zero:
        return [None] * len(operands)
    return [None] * n_fixed + list(_over(transpose, batch)(*operands[:n_fixed], cotangent))


def _batch(operands, axes, *, batch, **how):
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)

    def to_front(x, axis):
        return jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)

    return _linear_map.bind(*map(to_front, operands, axes), batch=batch + 1, **how), 0


_linear_map.def_impl(_evaluate)
_linear_map.def_abstract_eval(_shape)
mlir.register_lowering(_linear_map, mlir.lower_fun(_evaluate, multiple_results=False))
ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
primitive_batchers[_linear_map] = _batch
