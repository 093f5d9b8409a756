"""Matrices added up from a few images at a time, against those of all images at once."""

import numpy as np
import pytest

from patchscape.config import ModelConfig
from patchscape.curvature import exact
from patchscape.learning import model
from patchscape.study import whole

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=4)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    angles, labels = rng.uniform(0, 0.8, (450, 8, 8)).astype(np.float32), rng.integers(0, 4, 450)
    params = {name: np.asarray(value) for name, value in model.init(CFG, 3).items()}
    params["bias"] = rng.normal(0, 0.1, (8, 8)).astype(np.float32)
    return params, angles, labels, exact.decompose(CFG, params, angles, labels, norms=False)


def test_the_gauss_newton_matrix_is_that_of_all_images_at_once(case):
    params, angles, _, parts = case
    whole_matrix = whole.gauss_newton(CFG, params, angles, parts.probabilities)
    expected = parts.root.T @ parts.root
    np.testing.assert_allclose(whole_matrix, expected, atol=1e-5 * np.abs(expected).max())


def test_the_residual_matrix_is_that_of_all_images_at_once_and_kept_parts_are_not_computed_again(
    case, tmp_path, monkeypatch
):
    params, angles, labels, parts = case
    every = whole.most_wrong(parts.probabilities, labels, len(labels))
    assert every.share == pytest.approx(1)
    monkeypatch.setattr(whole, "SECOND", 200)
    arguments = (CFG, params, angles, labels, parts.probabilities, every.order, whole.kept_in(tmp_path / "R"))
    found = whole.residual(*arguments)
    np.testing.assert_allclose(found, parts.residual, atol=1e-5 * np.abs(parts.residual).max())
    monkeypatch.setattr(whole, "circuit_derivatives", None)
    np.testing.assert_array_equal(whole.residual(*arguments), found)


def test_the_images_of_the_residual_matrix_are_the_most_wrong_ones():
    pi = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    found = whole.most_wrong(pi, np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(found.order, [1, 2])
    assert found.share == pytest.approx((0.8 + 0.5) / (0.1 + 0.8 + 0.5))
