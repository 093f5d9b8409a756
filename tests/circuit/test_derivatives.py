"""Derivatives put together from matrix products, against automatic differentiation and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape.circuit import ansatz, derivatives, simulator
from patchscape.config import ModelConfig


def _case(q, depth, classes, count):
    cfg = ModelConfig(n_patches=1, n_classes=classes, n_qubits=q, image_side=q, depth=depth, shared_bias=False)
    rng = np.random.default_rng(q + depth)
    phi, patches = rng.uniform(0, 2 * np.pi, cfg.n_params_per_qnn), rng.uniform(0, np.pi, (count, q * q))
    return cfg, phi, patches, rng.standard_normal((count, classes))


@pytest.mark.parametrize(("q", "depth", "classes", "count"), [(2, 1, 2, 3), (2, 3, 4, 5), (4, 2, 4, 7), (4, 1, 8, 60)])
def test_all_derivatives_are_those_of_automatic_differentiation(q, depth, classes, count, x64):
    cfg, phi, patches, weights = _case(q, depth, classes, count)

    def outputs(w):
        return simulator.expectations(cfg, simulator.prepare(cfg, w[: len(phi)]), patches + w[len(phi) :])

    at = jnp.concatenate([jnp.asarray(phi), jnp.zeros(q * q)])
    jacobian, hessian = derivatives.circuit_derivatives(cfg, phi, patches, weights)
    np.testing.assert_allclose(jacobian, jax.jit(jax.jacfwd(outputs))(at), atol=1e-12)
    np.testing.assert_allclose(derivatives.circuit_jacobian(cfg, phi)(patches), jacobian, atol=1e-12)
    again = jax.jit(jax.jacfwd(jax.grad(lambda w: jnp.sum(weights * outputs(w)))))(at)
    np.testing.assert_allclose(hessian, again, atol=1e-11)


def test_the_jacobian_is_that_of_the_pennylane_circuit():
    cfg, phi, patches, weights = _case(2, 1, 4, 1)
    node = ansatz.qnode(cfg)
    jacobian, _ = derivatives.circuit_derivatives(cfg, phi, patches, weights)
    for a in range(len(phi)):  # two-term parameter-shift rule: exact for rotations
        step = np.eye(len(phi))[a] * np.pi / 2
        shift = (np.array(node(phi + step, patches[0])) - np.array(node(phi - step, patches[0]))) / 2
        np.testing.assert_allclose(jacobian[0, :, a], shift, atol=1e-12)


def test_the_precision_is_that_of_the_angles():
    cfg, phi, patches, weights = _case(4, 2, 4, 7)
    jacobian, hessian = derivatives.circuit_derivatives(cfg, phi, patches, weights)
    single, single_hessian = derivatives.circuit_derivatives(
        cfg, *(a.astype(np.float32) for a in (phi, patches, weights))
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, jacobian, atol=1e-5)
    alone = derivatives.circuit_jacobian(cfg, phi.astype(np.float32))(patches.astype(np.float32))
    assert alone.dtype == np.float32
    np.testing.assert_allclose(alone, jacobian, atol=1e-5)
    np.testing.assert_allclose(single_hessian, hessian, atol=1e-5 * np.abs(hessian).max())


@pytest.mark.parametrize(("q", "depth", "most"), [(2, 3, 4), (4, 2, 28), (6, 3, 124)])
def test_the_state_moves_in_no_more_directions_than_its_symmetry_leaves(q, depth, most):
    cfg, phi, patches, _ = _case(q, depth, 2, 1)
    found = derivatives.state_directions(cfg, phi, patches[0])
    assert len(phi) > most
    assert np.sum(found > 1e-9) == most


@pytest.mark.parametrize(("q", "depth"), [(6, 1), (6, 2), (8, 2)])
def test_below_that_every_row_of_rotations_adds_two_directions_a_wire(q, depth):
    """Rotations about Z commute with the ring and merge: an encoding, too, counts as two on every wire."""
    cfg, phi, patches, _ = _case(q, depth, 2, 1)
    found = derivatives.state_directions(cfg, phi, patches[0])
    assert np.sum(found > 1e-9) == 2 * q * (3 * depth + 2) < 2 ** (q + 1) - 4
