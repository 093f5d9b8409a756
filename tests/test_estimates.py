"""Estimates T4 and T5 against random matrices, random circuits and dense matrices."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from patchscape import bounds, estimates, exact, model
from patchscape.config import ModelConfig


def test_the_typical_square_is_that_of_random_unitaries():
    rng, q = np.random.default_rng(0), 2
    generator, observable = np.kron([[0, 1], [1, 0]], np.eye(2)), np.kron(np.eye(2), np.diag([1, -1]))
    before, after = (stats.unitary_group.rvs(2**q, size=20_000, random_state=rng) for _ in range(2))
    psi = before[:, :, 0]
    carried = after.conj().swapaxes(1, 2) @ observable @ after
    # d/dt <exp(i t P / 2) O exp(-i t P / 2)> = Im <psi| O P |psi>
    slopes = np.einsum("si,sij,sj->s", psi.conj(), carried, psi @ generator.T).imag
    squares = np.square(slopes)
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - estimates.typical_square(q)) < 4 * error
    assert abs(squares.mean() - 1 / 2 ** (q + 1)) > 4 * error  # the check can tell it from its limit for many qubits


def test_the_gauss_newton_trace_of_deep_untrained_circuits_is_about_as_large_as_expected():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(0, 3, (20, 8, 8)), jnp.float32), jnp.asarray(rng.integers(0, 8, 20))
    ratios = []
    for seed in range(4):
        cfg = ModelConfig(n_patches=1, depth=6, n_qubits=4, image_side=8, n_classes=8, scale=10.0)
        t = bounds.evaluate(cfg, model.init(cfg, seed), *images)
        ratios.append(t.gauss_newton_trace / t.typical_trace)
    assert 0.8 < np.mean(ratios) < 1.1


def _rotation(pauli: np.ndarray, angle: float) -> np.ndarray:
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * pauli


def test_similarity_is_the_correlation_behind_an_encoding_between_random_gates():
    # one encoding of two wires, one pixel on each, and a second encoding of pixels that agree
    rng, q, draws = np.random.default_rng(0), 2, 100_000
    x, y, z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])
    images = np.array([[0.3, 1.1, 0.7, 0.7], [1.4, 0.2, 0.7, 0.7]])
    operator = np.kron(x, y) + 0.5 * np.kron(z, np.eye(2))  # any traceless one
    before, after = (stats.unitary_group.rvs(2**q, size=draws, random_state=rng) for _ in range(2))
    slopes = []
    for image in images:
        gates = after @ np.kron(_rotation(x, image[0]), _rotation(x, image[1])) @ before
        slopes.append(np.einsum("ab,sbc,cd,sad->s", np.kron(z, np.eye(2)), gates, operator, gates.conj()).real)
    scale = np.sqrt(np.mean(np.square(slopes[0])) * np.mean(np.square(slopes[1])))
    products = slopes[0] * slopes[1] / scale
    error = products.std() / np.sqrt(draws)
    expected = estimates.similarity(images, q)[0, 1]
    assert abs(products.mean() - expected) < 4 * error
    fidelity = np.prod(np.cos((images[0] - images[1]) / 2) ** 2)
    assert abs(products.mean() - fidelity) > 4 * error  # the check can tell it from the overlap of the states


def test_pixels_of_one_wire_are_separated_by_random_rotations():
    rng, draws = np.random.default_rng(1), 20_000
    x, differences = np.array([[0, 1], [1, 0]]), (0.9, 0.6)
    between, first, last = (stats.unitary_group.rvs(2, size=draws, random_state=rng) for _ in range(3))
    slopes = []
    for angles in ((0.0, 0.0), differences):
        gates = last @ _rotation(x, angles[1]) @ between @ _rotation(x, angles[0]) @ first
        slopes.append(np.einsum("ab,sbc,cd,sad->s", x, gates, x, gates.conj()).real)
    products = slopes[0] * slopes[1] / np.mean(np.square(slopes[0]))
    images = np.zeros((2, 16))  # four wires, two pixels each and half
    images[1, :2] = differences
    # with the other wires left alone, a random string is the identity on this one in 63 of 255 cases
    expected = (255 * estimates.similarity(images, 4)[0, 1] - 63) / 192
    assert abs(products.mean() - expected) < 4 * products.std() / np.sqrt(draws)


def _problem(n_patches: int, depth: int = 6, count: int = 12):
    cfg = ModelConfig(
        n_patches=n_patches, depth=depth, n_qubits=4, image_side=8, n_classes=8, scale=10.0, shared_bias=False
    )
    smooth = np.random.default_rng(3).uniform(0, np.pi / 2, (count, 2, 2)).repeat(4, 1).repeat(4, 2)
    return cfg, smooth, np.arange(count) % 8


def test_the_kernel_of_deep_random_circuits_is_the_expected_one():
    cfg, images, labels = _problem(1)
    patch = np.asarray(model.cut_patches(cfg, images))[0]
    kernel, seeds = np.zeros((len(images), len(images))), range(24)
    for seed in seeds:
        jacobian = exact.decompose(cfg, model.init(cfg, seed), images, labels, norms=False).logit_gradients
        kernel += np.einsum("ikm,jkm->ij", jacobian, jacobian)
    scale = len(seeds) * cfg.n_classes * cfg.n_params_per_qnn * cfg.factor**2 * estimates.typical_square(4)
    expected = estimates.similarity(patch, 4)
    assert expected.min() < 0.5  # the images differ enough to ask
    apart = kernel / scale - expected
    assert np.abs(apart).mean() < 0.1
    assert np.abs(apart - 1 + expected).mean() > 0.2  # what "all images alike" would be


def test_the_spectrum_is_that_of_the_dense_matrix_and_adds_up_to_the_trace():
    cfg, images, _ = _problem(4, count=7)
    pi = softmax(np.random.default_rng(0).normal(0, 2, (7, 8)), axis=1)
    kernel = sum(estimates.similarity(patch, 4) for patch in np.asarray(model.cut_patches(cfg, images)))
    root = [np.diag(np.sqrt(p)) - np.outer(np.sqrt(p), p) for p in pi]
    dense = np.block([[kernel[i, j] * root[i] @ root[j].T for j in range(7)] for i in range(7)])
    dense *= cfg.factor**2 * cfg.n_params_per_qnn * estimates.typical_square(4) / 7
    found = estimates.spectrum(cfg, images, pi, top=55)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(dense)[:0:-1], rtol=1e-9, atol=1e-12)
    typical = cfg.n_patches * cfg.n_params_per_qnn * cfg.factor**2 * estimates.typical_square(4)
    assert found.eigenvalues.sum() == pytest.approx(typical * estimates.impurity(pi).mean())
    assert found.kept == 1
    few = estimates.spectrum(cfg, images, pi, top=10, images=4)
    assert 4 / 7 < few.kept < 1
    assert np.all(few.eigenvalues <= found.eigenvalues[:10])


def test_similarity_is_a_kernel():
    images = np.random.default_rng(0).uniform(0, np.pi, (30, 16))
    found = estimates.similarity(images, 4)
    np.testing.assert_allclose(np.diag(found), 1)
    assert np.linalg.eigvalsh(found)[0] > -1e-12
    assert np.all(np.abs(found) <= 1 + 1e-12)
    np.testing.assert_allclose(estimates.similarity(images + 0.4, 4), found)  # a shared bias


def test_the_largest_eigenvalue_of_deep_random_circuits_is_about_the_expected_one():
    cfg, images, labels = _problem(4)
    terms = [bounds.evaluate(cfg, model.init(cfg, seed), images, labels) for seed in range(4)]
    assert 0.8 < np.mean([t.gauss_newton / t.expected for t in terms]) < 1.25


def test_impurity_keeps_its_digits_where_the_model_is_sure():
    pi = np.array([[1e-12, 1 - 1e-12], [0.5, 0.5]])
    np.testing.assert_allclose(estimates.impurity(pi), [2e-12, 0.5], rtol=1e-9)


def test_a_wrong_number_is_named():
    cfg, images, _ = _problem(4)
    with pytest.raises(ValueError, match="12 images, but probabilities for 3"):
        estimates.spectrum(cfg, images, np.full((3, 8), 1 / 8))
    with pytest.raises(ValueError, match="choose 1 to 95"):
        estimates.spectrum(cfg, images, np.full((12, 8), 1 / 8), top=96)
