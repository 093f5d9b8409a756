"""The formulas of the theory, against sums and matrices written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
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


def test_the_loss_factor_is_one_minus_the_likelihood_and_keeps_its_digits():
    assert law.loss_factor(0.5) == pytest.approx(1 - np.exp(-0.5))
    assert law.loss_factor(1e-12) == pytest.approx(1e-12, rel=1e-9)
    np.testing.assert_allclose(law.softmax_factor(np.array([0.1, 5.0])), [2 * (1 - np.exp(-0.1)), 0.5])


def test_the_bounds_are_the_sums_that_the_theorems_write():
    g, r = np.array([[3.0, 1, 2], [1, 1, 1]]), np.array([[0.1, 0.5, 0.2], [0.3, 0.2, 0.1]])
    np.testing.assert_allclose(law.t1(g, r), [6.5, 3.3])
    np.testing.assert_allclose(law.t1_uniform(g, r), [9.5, 3.3])
    np.testing.assert_allclose(law.coherence(np.array([3.0, 1.5]), g), [0.5, 0.5])
    assert np.isnan(law.coherence(0.0, np.zeros(3)))
    likely, n, factor = 1 - np.exp(-0.1), 4, 25.0
    t2 = law.t2(0.1, n, factor, 7.0, 3.0)
    assert t2 == pytest.approx(2 * likely * n * factor**2 * 7 + 2 * likely * factor * 3)
    assert law.t2_a_priori(0.1, n, factor, 5, 10) == pytest.approx(law.t2(0.1, n, factor, 50, 5))
    assert law.t3(0.1, n, factor, 9, 7.0) == pytest.approx(2 * likely * n * factor**2 * 9 * 7)
    assert law.t3(9.0, n, factor, 9, 7.0) == pytest.approx(0.5 * n * factor**2 * 9 * 7)


def test_the_scaling_law_is_the_bound_without_its_constant():
    mean = law.scaling(0.1, 4, 100 / 4, 800)  # c = 100, over patches
    assert mean == pytest.approx(100**2 * 800 / 4 * (1 - np.exp(-0.1)))
    assert law.scaled(5.0, 4, 0.1) == pytest.approx(5 * 4 / (1 - np.exp(-0.1)))


def test_the_expected_trace_is_that_of_every_angle_and_image():
    square = (2**4 - 2) / (2 * (2**4 - 1) ** 2)
    assert law.typical_square(4) == pytest.approx(square)
    assert law.typical_square(12) == pytest.approx(2**-13, rel=1e-3)
    assert law.trace(0.3, 4, 25.0, 80, 4) == pytest.approx(4 * 80 * 25**2 * square * 0.3)
    assert law.with_pixels(4, 80, True) == pytest.approx(1 + 16 / 80)
    assert law.with_pixels(4, 80, False) == 1
    assert law.impurity(np.array([[1 - 1e-9, 1e-9]]))[0] == pytest.approx(2e-9, rel=1e-6)


def test_matrix_chernoff_holds_for_sums_of_random_matrices_and_is_the_least_over_its_parameter():
    vectors = RNG.standard_normal((400, 30, 6))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    sums = np.einsum("ski,skj->sij", vectors, vectors)  # thirty matrices of norm one, with mean 1 / 6
    found = np.linalg.eigvalsh(sums)[:, -1].mean()
    bound = law.chernoff(5.0, 1.0, 6.0)
    assert 5 < found < bound < 3 * found
    t = np.linspace(0.02, 9, 4000)
    assert bound == pytest.approx((np.expm1(t) * 5 / t + np.log(6.0) / t).min(), rel=1e-3)
    np.testing.assert_allclose(law.chernoff(np.array([5.0, 10]), np.array([1.0, 2]), 6.0), [bound, 2 * bound])


def test_numbers_and_columns_give_the_same():
    """Chapters hand over columns of a table, `bounds` the numbers of one point."""
    table = pd.DataFrame({"loss": [0.1, 2.0], "n": [4, 9], "factor": [25.0, 100 / 9], "m": [80, 90], "top": [3.0, 4.0]})
    for name, arguments in {
        "loss_factor": ["loss"], "softmax_factor": ["loss"], "t2": ["loss", "n", "factor", "m", "top"],
        "t2_a_priori": ["loss", "n", "factor", "m", "top"], "t3": ["loss", "n", "factor", "m", "top"],
        "scaling": ["loss", "n", "factor", "m"], "scaled": ["top", "n", "loss"],
        "trace": ["loss", "n", "factor", "m", "n"],
    }.items():  # fmt: skip
        formula = getattr(law, name)
        alone = [formula(*row) for row in table[arguments].itertuples(index=False)]
        np.testing.assert_allclose(formula(*(table[column] for column in arguments)), alone, err_msg=name)
