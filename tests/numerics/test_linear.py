"""Linear maps with a transpose of their own: derivatives, batching, and that the transpose given is the one used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape.numerics.linear import linear_map

A = np.random.default_rng(0).normal(size=(3, 4))  # double precision where a test asks for it
X = np.random.default_rng(1).normal(size=4)


def times(a, x):
    return jnp.sin(a) @ x


def back(a, cotangent):
    return (jnp.sin(a).T @ cotangent,)


def wrong(a, cotangent):
    return (3 * jnp.sin(a).T @ cotangent,)


def custom(a, x):
    return linear_map(times, back, (a,), (x,))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("transform", ["value", "gradient", "jvp", "hessian", "jit"])
def test_it_equals_the_plain_map_under_every_transformation(transform):
    def result(f):
        energy = lambda a, x: jnp.sum(jnp.cos(f(a, x)))  # noqa: E731
        tangents = (jnp.cos(A), jnp.exp(X))
        return {
            "value": lambda: f(A, X),
            "gradient": lambda: jax.grad(energy, 1)(A, X),
            "jvp": lambda: jax.jvp(f, (A, X), tangents)[1],
            "hessian": lambda: jax.jvp(lambda a, x: jax.grad(energy, 1)(a, x), (A, X), tangents)[1],
            "jit": lambda: jax.jit(f)(A, X),
        }[transform]()

    np.testing.assert_allclose(result(custom), result(times), atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
def test_batches_any_axis_and_keeps_its_transpose(axes):
    a = jnp.stack([A, 2 * A], axes[0]) if axes[0] is not None else A
    x = jnp.stack([X, -X], axes[1]) if axes[1] is not None else X
    for f in (lambda f: f, lambda f: jax.grad(lambda a, x: jnp.sum(f(a, x) ** 2), 1)):
        np.testing.assert_allclose(jax.vmap(f(custom), axes)(a, x), jax.vmap(f(times), axes)(a, x), atol=1e-12)
    nested = lambda f: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(jnp.stack([A, 2 * A]), jnp.stack([X, -X]))  # noqa: E731
    np.testing.assert_allclose(nested(custom), nested(times), atol=1e-12)


def test_reverse_mode_uses_the_transpose_that_was_given():
    lying = lambda x: jnp.sum(linear_map(times, wrong, (A,), (x,)))  # noqa: E731
    honest = lambda x: jnp.sum(times(A, x))  # noqa: E731
    np.testing.assert_allclose(jax.grad(lying)(X), 3 * jax.grad(honest)(X), rtol=1e-5)
