"""Curvature against dense algebra, finite differences and spectra known in advance."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from patchscape.config import ModelConfig
from patchscape.curvature import full_data
from patchscape.learning import model
from patchscape.numerics import products, spectra

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4, scale=3.0)


@pytest.fixture(scope="module")
def problem():
    """A small model in float64: (params, angles, labels, loss)."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), model.init(CFG, 3))
        params["bias"] = jnp.asarray(rng.normal(0, 0.1, (4, 4)))
        angles = jnp.asarray(rng.uniform(0, np.pi, (7, 4, 4)))
        labels = jnp.asarray(rng.integers(0, 4, 7))
        yield params, angles, labels, jax.jit(lambda p: model.loss(CFG, p, angles, labels))


@pytest.fixture(scope="module")
def hessian(problem):
    params, _, _, loss = problem
    return products.dense_hessian(loss, params)


def test_dense_hessian_equals_finite_differences_of_the_gradient(problem, hessian):
    params, _, _, loss = problem
    flat, unravel = ravel_pytree(params)
    gradient = jax.jit(lambda x: ravel_pytree(jax.grad(loss)(unravel(x)))[0])
    step = 1e-5
    for i in (0, 11, 40, flat.size - 1):
        e = jnp.zeros_like(flat).at[i].set(step)
        difference = (gradient(flat + e) - gradient(flat - e)) / (2 * step)
        np.testing.assert_allclose(hessian[i], difference, atol=1e-8)


def test_product_with_a_vector_equals_the_dense_hessian_times_it(problem, hessian):
    params, _, _, loss = problem
    flat, unravel = ravel_pytree(params)
    v = np.random.default_rng(0).normal(size=flat.size)
    product = ravel_pytree(jax.jit(products.hvp(loss))(params, unravel(jnp.asarray(v))))[0]
    np.testing.assert_allclose(product, hessian @ v, atol=1e-11)


@pytest.mark.parametrize("chunk", [2, 3, 7])
def test_product_over_chunks_does_not_depend_on_their_size(problem, hessian, chunk):
    params, angles, labels, _ = problem
    flat, unravel = ravel_pytree(params)
    loss = full_data.FullDataLoss(CFG, np.asarray(angles), np.asarray(labels), chunk)
    at = loss.at(flat)
    product, gradient = at.hessian, at.gradient
    v = np.random.default_rng(1).normal(size=flat.size)
    np.testing.assert_allclose(product(v), hessian @ v, atol=1e-11)
    expected = jax.jit(jax.grad(lambda x: model.loss(CFG, unravel(x), angles, labels)))(flat)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_gauss_newton_product_equals_jacobian_algebra(problem):
    params, angles, labels, _ = problem
    flat, unravel = ravel_pytree(params)
    logits = lambda p: model.logits(CFG, p, angles)  # noqa: E731
    product = products.gauss_newton_vp(logits, lambda z: model.cross_entropy(z, labels))
    found = products.dense(product, params)
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda x: logits(unravel(x))))(flat))
    probability = np.asarray(jax.nn.softmax(jax.jit(logits)(params)))
    expected = np.zeros_like(found)
    for j, pi in zip(jacobian, probability, strict=True):
        expected += j.T @ (np.diag(pi) - np.outer(pi, pi)) @ j / len(labels)
    np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_extreme_eigenvalues_equal_those_of_the_dense_matrix(problem, hessian, which):
    params, _, _, loss = problem
    found = spectra.top_eigenvalues(loss, params, k=3, tol=1e-8, which=which)
    exact = np.linalg.eigvalsh(hessian)
    expected = exact[-3:][::-1] if which == "LA" else exact[:3][::-1]
    np.testing.assert_allclose(found.values, expected, rtol=1e-7)
    assert found.converged
    assert np.all(found.residuals < 1e-7)
    assert found.vectors["phi"].shape == (3, *params["phi"].shape)
    assert found.n_matvecs > 3


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(40), [1, 1]),
        (np.zeros((40, 40)), [0, 0]),
        (np.outer(np.arange(40.0), np.arange(40.0)), [20540, 0]),
        (np.diag(np.r_[np.zeros(39), -1.0]), [0, 0]),
        (np.diag(np.repeat([2.0, 1.0], 20)), [2, 2]),
        (np.diag([3.0, 2.0, 1.0]), [3, 2]),
        (np.array([[5.0, 0], [0, -7]]), [5, -7]),
    ],
    ids=["identity", "zero", "rank one", "negative rank one", "two eigenspaces", "tiny", "as many as rows"],
)
def test_degenerate_matrices_are_handled(matrix, expected):
    found = spectra.eigenpairs(lambda v: matrix @ v, len(matrix), 2, seed=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-8)
    assert found.converged


@pytest.mark.parametrize("size", [4, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_product_that_is_not_finite_is_called_by_its_name(size, bad):
    def product(v):
        return np.where(np.arange(size) == 1, bad, v)

    for solve in (
        lambda: spectra.eigenpairs(product, size, 1, seed=0),
        lambda: spectra.lanczos(product, size, seed=0, max_steps=3),
    ):
        with pytest.raises(ValueError, match=r"a product with the matrix is not finite \(NaN or infinity\)"):
            solve()


def test_a_residual_is_the_norm_of_what_is_left():
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(60, 60))
    matrix += matrix.T
    found = spectra.eigenpairs(lambda v: matrix @ v, 60, 2, seed=0, tol=0.3)
    expected = [np.linalg.norm(matrix @ v - x * v) for x, v in zip(found.values, found.vectors, strict=True)]
    np.testing.assert_allclose(found.residuals, expected)


def test_impossible_requests_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"k=9, which='LA', tol=0.001: choose k from 1 to 4"):
        spectra.eigenpairs(lambda v: v, 4, 9, seed=0)


SHARDED = """
import jax, numpy as np
from patchscape.curvature import full_data
from patchscape.learning import model
from patchscape.config import ModelConfig
from jax.flatten_util import ravel_pytree
jax.config.update("jax_enable_x64", True)
cfg = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4)
rng = np.random.default_rng(0)
angles, labels = rng.uniform(0, np.pi, (22, 4, 4)), rng.integers(0, 4, 22)
point, _ = ravel_pytree(model.init(cfg, 0))
v = rng.normal(size=point.size)
devices = jax.devices()
assert len(devices) == 4
results = []
for where in (None, devices, devices[:2]):
    loss = full_data.FullDataLoss(cfg, angles, labels, chunk=8, devices=where)
    at = loss.at(point)
    product, gradient = at.hessian, at.gradient
    results.append((product(v), gradient))
used = {shard.device for shard in loss._chunks[0].addressable_shards}
assert used == set(devices[:2]), used
for other in results[1:]:
    np.testing.assert_allclose(other[0], results[0][0], atol=1e-12)
    np.testing.assert_allclose(other[1], results[0][1], atol=1e-12)
try:
    full_data.FullDataLoss(cfg, angles, labels, chunk=7, devices=devices)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_images_may_be_shared_by_several_devices():
    flags = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    flags["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-c", SHARDED]
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "chunk=7 images cannot be shared by 4 devices: choose a multiple."
