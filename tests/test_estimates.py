"""Estimates T4 and T5 against random matrices, random circuits and dense matrices."""

from functools import reduce

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from scipy import stats
from scipy.special import softmax

from patchscape import law
from patchscape.circuit.ansatz import gates, split_angles
from patchscape.config import ModelConfig
from patchscape.curvature import bounds, estimates, exact
from patchscape.learning import model

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])


def _reachable(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random matrices (count, 16, 16) that four wires of the ansatz can reach: real where T = Y^4 K is."""
    flip = reduce(np.kron, [Y] * 4).real
    sign, vectors = np.linalg.eigh(flip)
    basis = vectors * np.where(sign > 0, 1, 1j)
    return basis @ stats.ortho_group.rvs(16, size=count, random_state=rng) @ basis.conj().T


def test_the_typical_square_is_that_of_the_matrices_that_the_ansatz_can_reach():
    rng, draws = np.random.default_rng(0), 60_000
    generator, observable = np.kron(X, np.eye(8)), np.kron(np.eye(4), np.kron(Z, np.eye(2)))
    before, after = _reachable(draws, rng), _reachable(draws, rng)
    psi = before[:, :, 0]
    carried = after.conj().swapaxes(1, 2) @ observable @ after
    # d/dt <exp(i t P / 2) O exp(-i t P / 2)> = Im <psi| O P |psi>
    squares = np.square(np.einsum("si,sij,sj->s", psi.conj(), carried, psi @ generator.T).imag)
    error = squares.std() / np.sqrt(draws)
    assert abs(squares.mean() - law.typical_square(4)) < 4 * error
    assert abs(squares.mean() - 16**2 / (2 * 17**2 * 15)) > 4 * error  # the check can tell it from all unitary matrices
    assert law.typical_square(8) == pytest.approx(2**-9, rel=5e-3)


def test_a_block_of_the_ansatz_is_of_that_kind():
    angles = np.random.default_rng(0).uniform(0, np.pi, 3 * 2 * 4)
    cfg = ModelConfig(n_patches=1, depth=3, n_qubits=4, image_side=4, n_classes=2)
    block = oracle.unitary(4, gates(cfg)[: 3 * 4 * 3], angles)
    flip = reduce(np.kron, [Y] * 4).real
    np.testing.assert_allclose(flip @ block.conj() @ flip, block, atol=1e-12)
    assert np.abs(block.imag).max() > 0.1


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


def _encoding(angles: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Matrix (16, 16) of an encoding: (wire, pixel, before/after) angles around (wire, pixel) pixels."""
    wires = []
    for around, own in zip(angles, pixels, strict=True):
        wire = np.eye(2)
        for (before, after), x, (outer, inner) in zip(around, own, ((Y, X), (X, Y)), strict=True):
            wire = _rotation(outer, after) @ _rotation(inner, x) @ _rotation(outer, before) @ wire
        wires.append(wire)
    return reduce(np.kron, wires)


def test_similarity_is_the_correlation_behind_an_encoding_between_random_blocks():
    rng, draws = np.random.default_rng(0), 40_000
    cfg, _, _ = _problem(1)
    phi = model.init(cfg, 1)["phi"][0]
    images = np.full((2, 16), 0.7)
    images[:, :8] = rng.uniform(0, 1.2, (2, 8))  # the second halves agree
    operator = reduce(np.kron, [X, Y, Z, np.eye(2)]) + 0.5 * np.kron(Z, np.eye(8))  # any of odd weight
    observable = np.kron(Z, np.eye(8))
    before, after = _reachable(draws, rng), _reachable(draws, rng)
    slopes = []
    for image in images:
        gates = after @ _encoding(np.asarray(split_angles(cfg, phi)[1][0]), image[:8].reshape(4, 2)) @ before
        inner = gates @ operator @ gates.conj().swapaxes(1, 2)
        slopes.append(np.einsum("ab,sba->s", observable, inner).real)
    products = slopes[0] * slopes[1] / np.sqrt(np.mean(np.square(slopes[0])) * np.mean(np.square(slopes[1])))
    error = products.std() / np.sqrt(draws)
    expected = estimates.similarity(cfg, phi, images)[0, 1]
    assert abs(products.mean() - expected) < 4 * error
    assert min(expected, 1 - expected) > 10 * error  # the check can fail


def _problem(n_patches: int, depth: int = 6, count: int = 12):
    cfg = ModelConfig(
        n_patches=n_patches, depth=depth, n_qubits=4, image_side=8, n_classes=8, scale=10.0, shared_bias=False
    )
    smooth = np.random.default_rng(3).uniform(0, np.pi / 2, (count, 2, 2)).repeat(4, 1).repeat(4, 2)
    return cfg, smooth, np.arange(count) % 8


def test_the_kernel_of_deep_random_circuits_is_the_expected_one():
    cfg, images, labels = _problem(1)
    patch = np.asarray(model.cut_patches(cfg, images))[0]
    kernel, expected, seeds = 0.0, 0.0, range(24)
    for seed in seeds:
        params = model.init(cfg, seed)
        jacobian = exact.decompose(cfg, params, images, labels, norms=False).logit_gradients
        kernel += np.einsum("ikm,jkm->ij", jacobian, jacobian) / len(seeds)
        expected += estimates.similarity(cfg, params["phi"][0], patch) / len(seeds)
    kernel /= cfg.n_classes * cfg.n_params_per_qnn * cfg.factor**2 * law.typical_square(4)
    assert expected.min() < 0.5  # the images differ enough to ask
    assert np.abs(kernel - expected).mean() < 0.05
    assert np.abs(kernel - 1).mean() > 0.3  # what "all images alike" would be


def test_the_spectrum_is_that_of_the_dense_matrix_and_adds_up_to_the_trace():
    cfg, images, _ = _problem(4, count=7)
    params = model.init(cfg, 0)
    pi = softmax(np.random.default_rng(0).normal(0, 2, (7, 8)), axis=1)
    patches = np.asarray(model.cut_patches(cfg, images))
    kernel = sum(estimates.similarity(cfg, *pair) for pair in zip(params["phi"], patches, strict=True))
    root = [np.diag(np.sqrt(p)) - np.outer(np.sqrt(p), p) for p in pi]
    dense = np.block([[kernel[i, j] * root[i] @ root[j].T for j in range(7)] for i in range(7)])
    dense *= cfg.factor**2 * cfg.n_params_per_qnn * law.typical_square(4) / 7
    found = estimates.spectrum(cfg, params, images, pi, top=55)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(dense)[:0:-1], rtol=1e-9, atol=1e-12)
    typical = cfg.n_patches * cfg.n_params_per_qnn * cfg.factor**2 * law.typical_square(4)
    assert found.eigenvalues.sum() == pytest.approx(typical * law.impurity(pi).mean())
    assert found.kept == 1
    few = estimates.spectrum(cfg, params, images, pi, top=10, images=4)
    assert 4 / 7 < few.kept < 1
    assert np.all(few.eigenvalues <= found.eigenvalues[:10])


def test_a_model_that_is_sure_of_every_image_has_no_curvature():
    cfg, images, labels = _problem(4)
    found = estimates.spectrum(cfg, model.init(cfg, 0), images, np.eye(8)[labels], top=3)
    np.testing.assert_array_equal(found.eigenvalues, 0)


def test_similarity_is_a_kernel(x64):
    cfg, _, _ = _problem(1)
    patches = np.random.default_rng(0).uniform(0, np.pi, (30, 16))
    found = estimates.similarity(cfg, model.init(cfg, 0)["phi"][0], patches)
    np.testing.assert_allclose(np.diag(found), 1)
    assert np.linalg.eigvalsh(found)[0] > -1e-12
    assert np.all(np.abs(found) <= 1 + 1e-12)


@pytest.mark.slow
def test_the_largest_eigenvalue_of_deep_random_circuits_is_about_the_expected_one():
    cfg, images, labels = _problem(4)
    terms = [bounds.evaluate(cfg, model.init(cfg, seed), images, labels) for seed in range(4)]
    assert 0.8 < np.mean([t.gauss_newton / t.expected_lambda_max for t in terms]) < 1.25


def test_impurity_keeps_its_digits_where_the_model_is_sure():
    pi = np.array([[1e-12, 1 - 1e-12], [0.5, 0.5]])
    np.testing.assert_allclose(law.impurity(pi), [2e-12, 0.5], rtol=1e-9)


def test_a_wrong_number_is_named():
    cfg, images, _ = _problem(4)
    with pytest.raises(ValueError, match="12 images, but probabilities for 3"):
        estimates.spectrum(cfg, model.init(cfg, 0), images, np.full((3, 8), 1 / 8))
    with pytest.raises(ValueError, match="choose 1 to 95"):
        estimates.spectrum(cfg, model.init(cfg, 0), images, np.full((12, 8), 1 / 8), top=96)
