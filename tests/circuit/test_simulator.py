"""The fast path against a plain simulation gate by gate: values and derivatives of every order that is used."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchscape.circuit import simulator
from patchscape.config import ModelConfig


def size(q, depth, n_classes):
    return ModelConfig(n_patches=1, depth=depth, n_qubits=q, image_side=q, n_classes=n_classes)


SIZES = [size(2, 2, 4), size(4, 2, 8)]
each_size = pytest.mark.parametrize("cfg", SIZES, ids=lambda c: f"q{c.n_qubits}d{c.depth}c{c.n_classes}")


def draw(cfg, n=3, seed=0):
    """Angles phi and patches, and a direction for each."""
    random = np.random.default_rng(seed)
    shapes = (cfg.n_params_per_qnn,), (n, cfg.n_qubits**2)
    values = tuple(jnp.asarray(random.uniform(-np.pi, np.pi, shape)) for shape in shapes)
    return values, tuple(jnp.asarray(random.normal(size=shape)) for shape in shapes)


def fast(cfg):
    return lambda phi, patches: simulator.expectations(cfg, simulator.prepare(cfg, phi), patches)


def plain(cfg):
    return lambda phi, patches: oracle.expectations(cfg, phi, patches)


def scalar(expectations):
    """A nonlinear function of all expectation values, so that no derivative of it vanishes."""

    def f(x):
        values = expectations(*x)
        weight = jnp.cos(jnp.arange(values.size, dtype=values.dtype)).reshape(values.shape)
        return jnp.sum(weight * jnp.exp(values))

    return f


@pytest.fixture(scope="module")
def derivatives():
    """Value, gradient, directional derivative and Hessian-vector product by both ways, each compiled once per size."""

    @cache
    def compiled(way, cfg):
        f = scalar(way(cfg))

        def all_orders(x, v):
            (value, gradient), (slope, product) = jax.jvp(jax.value_and_grad(f), (x,), (v,))
            return {"value": value, "slope": slope, "gradient": gradient, "product": product}

        return jax.jit(all_orders)

    return lambda cfg, x, v: (compiled(fast, cfg)(x, v), compiled(plain, cfg)(x, v))


def agree(ours, expected, atol):
    """Compares two trees; what is expected must be finite."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.usefixtures("x64")
@settings(max_examples=5)
@given(
    st.sampled_from([(2, 2), (2, 4), (4, 2), (4, 8), (6, 4), (6, 12)]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_expectation_values_equal_those_of_the_gates(q_and_classes, depth, n, seed):
    cfg = size(q_and_classes[0], depth, q_and_classes[1])
    (phi, patches), _ = draw(cfg, n, seed)
    values = jax.jit(fast(cfg))(phi, patches)
    assert values.shape == (n, cfg.n_classes)
    assert values.dtype == jnp.float64
    np.testing.assert_allclose(values, jax.jit(plain(cfg))(phi, patches), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
@each_size
def test_first_and_second_derivatives_equal_those_of_the_gates(derivatives, cfg):
    ours, expected = derivatives(cfg, *draw(cfg))
    assert all(np.abs(leaf).max() > 0.05 for leaf in jax.tree.leaves(expected))  # nothing vanishes by accident
    agree(ours, expected, atol=1e-10)


@pytest.mark.usefixtures("x64")
@each_size
def test_nothing_is_lost_where_all_angles_are_exactly_zero(derivatives, cfg):
    x, v = draw(cfg)
    zero = jax.tree.map(jnp.zeros_like, x)
    ours, expected = derivatives(cfg, zero, v)
    assert all(np.abs(leaf).max() > 0.05 for leaf in jax.tree.leaves(expected["product"]))
    agree(ours, expected, atol=1e-11)


@pytest.mark.usefixtures("x64")
def test_a_circuit_of_zero_angles_leaves_the_zero_state():
    cfg = size(4, 2, 8)
    values = jax.jit(fast(cfg))(jnp.zeros(cfg.n_params_per_qnn), jnp.zeros((3, 16)))
    np.testing.assert_allclose(values, np.repeat([[0.0] * 4 + [1.0] * 4], 3, 0), rtol=0, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_the_dense_hessian_equals_that_of_the_gates_and_is_symmetric():
    cfg = size(2, 2, 4)
    (phi, patches), _ = draw(cfg, 2)
    ours, expected = (
        jax.jit(jax.hessian(lambda phi, way=way: scalar(way(cfg))((phi, patches))))(phi) for way in (fast, plain)
    )
    assert np.linalg.norm(expected) > 1
    agree(ours, expected, atol=1e-10)
    np.testing.assert_allclose(ours, ours.T, rtol=0, atol=1e-11)


def test_single_precision_differs_from_double_by_rounding_only():
    cfg = size(4, 20, 8)
    with jax.enable_x64(True):
        (phi, patches), _ = draw(cfg, 8)
        gradient = lambda way: jax.jit(jax.value_and_grad(lambda p, x: scalar(way(cfg))((p, x))))  # noqa: E731
        double = gradient(plain)(phi, patches)
        single = gradient(fast)(jnp.float32(phi), jnp.float32(patches))
    for a, b in zip(map(np.asarray, single), map(np.asarray, double), strict=True):
        assert (a.dtype, b.dtype) == (np.float32, np.float64)
        assert 0 < np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


@pytest.mark.usefixtures("x64")
def test_rotating_keeps_lengths_and_acts_on_every_wire_by_itself():
    q, n = 3, 4
    random = np.random.default_rng(0)
    rotations = random.normal(size=(4, q, n))
    rotations /= np.linalg.norm(rotations, axis=0)
    states = random.normal(size=(2, 2**q, n))
    out = np.asarray(jax.jit(simulator.rotate)(jnp.asarray(rotations), jnp.asarray(states)))
    np.testing.assert_allclose((out**2).sum((0, 1)), (states**2).sum((0, 1)), rtol=1e-12)
    for i in range(n):
        single = {
            wire: r[0] * np.eye(2) - 1j * sum(c * oracle.PAULI[axis] for c, axis in zip(r[1:], "XYZ", strict=True))
            for wire, r in enumerate(rotations[:, :, i].T)
        }
        expected = oracle.on_wires(q, single) @ (states[0, :, i] + 1j * states[1, :, i])
        np.testing.assert_allclose(out[0, :, i] + 1j * out[1, :, i], expected, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_what_is_prepared_is_orthogonal_and_holds_for_any_image():
    cfg = size(4, 2, 4)
    (phi, patches), _ = draw(cfg, 6)
    prepared = jax.jit(lambda phi: simulator.prepare(cfg, phi))(phi)
    assert prepared.start.shape == (2, 16)
    assert prepared.encodings.shape == (2, 2, 2, 4, 4, 4)
    np.testing.assert_allclose((prepared.start**2).sum(), 1, rtol=1e-13)
    for matrix in prepared.blocks:
        assert matrix.shape == (16, 16)
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(16), rtol=0, atol=1e-13)
    together = jax.jit(lambda p, x: simulator.expectations(cfg, p, x))(prepared, patches)
    alone = [jax.jit(lambda p, x: simulator.expectations(cfg, p, x))(prepared, patches[i : i + 1])[0] for i in (0, 5)]
    np.testing.assert_allclose(together[jnp.array([0, 5])], alone, rtol=0, atol=1e-14)
    assert np.abs(together).max() <= 1 + 1e-12
