"""The formulas of the theory, against sums and matrices written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape import law

RNG = np.random.default_rng(0)
PI = RNG.dirichlet(np.ones(5), 7)


def test_the_root_of_the_hessian_of_the_cross_entropy_is_its_root():
    hessian = np.stack([np.diag(pi) - np.outer(pi, pi) for pi in PI])
    v = RNG.standard_normal((7, 5))
    product = np.einsum("nij,nj->ni", hessian, v)
    np.testing.assert_allclose(law.softmax_hessian(PI, v), product, atol=1e-15)
    root = law.softmax_root(PI, v)
    np.testing.assert_allclose(law.softmax_root_transpose(PI, root), product, atol=1e-15)
    np.testing.assert_allclose((root**2).sum(1), (v * product).sum(1), atol=1e-15)
    w = RNG.standard_normal((7, 5))
    np.testing.assert_allclose((w * root).sum(1), (v * law.softmax_root_transpose(PI, w)).sum(1), atol=1e-15)


def test_the_hessian_of_the_cross_entropy_is_that_of_automatic_differentiation():
    with jax.enable_x64(True):
        z, v = jnp.asarray(RNG.standard_normal(5)), RNG.standard_normal(5)
        hessian = jax.hessian(lambda z: -jax.nn.log_softmax(z)[2])(z)
        np.testing.assert_allclose(law.softmax_hessian(jax.nn.softmax(z), v), hessian @ v, atol=1e-14)
        assert law.impurity(jax.nn.softmax(z)[None])[0] == pytest.approx(float(jnp.trace(hessian)))
