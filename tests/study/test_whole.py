"""Matrices added up from a few images at a time, against those of all images at once."""

import threading

import numpy as np
import pytest
from cases import JOB

from patchscape.config import ModelConfig
from patchscape.curvature import exact
from patchscape.learning import data, model
from patchscape.store import files, records
from patchscape.study import jobs, whole

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


def test_two_calls_for_one_spectrum_take_turns_and_the_second_finds_it_made(tmp_path, monkeypatch):
    cfg, count = JOB.run.model, 20
    minimum = {f"minimum/{name}": np.asarray(value)[None] for name, value in model.init(cfg, 0).items()}
    run_file = files.paths(JOB, tmp_path)[0]
    records.write(run_file, minimum, {"run": JOB.run.model_dump(mode="json"), "seeds": [0]})
    side = cfg.image_side
    images = data.ImageData(*(np.zeros((count, side, side), np.float32), np.zeros(count, np.int32)) * 2)
    probabilities = np.full((count, cfg.n_classes), 1 / cfg.n_classes)
    begun, both = [], threading.Barrier(2)

    class Loss:
        def __init__(self, *_):
            begun.append(threading.get_ident())

        def probabilities(self, _):
            try:
                both.wait(timeout=1)  # reached by both only if neither waits for the other
            except threading.BrokenBarrierError:
                return probabilities
            raise AssertionError("two calls at once")

    matrix = np.diag(np.arange(1.0, cfg.n_params + 1))
    monkeypatch.setattr(jobs, "images_of", lambda record: images)
    monkeypatch.setattr(whole.full_data, "FullDataLoss", Loss)
    monkeypatch.setattr(whole, "gauss_newton", lambda *_, **__: matrix)
    monkeypatch.setattr(whole, "residual", lambda *_, **__: -matrix / 2)
    calls = [
        threading.Thread(target=whole.make, args=(run_file, tmp_path / "out"), kwargs={"wrong": count})
        for _ in range(2)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert len(begun) == 1
    found = records.read(tmp_path / "out" / run_file.name).arrays
    np.testing.assert_allclose(found["all_hessian"][0], np.diag(matrix)[::-1] / 2)
    assert found["all_gauss_newton_phi"].shape == (1, cfg.n_params - side**2)
    assert found["all_gauss_newton_phi"][0, -1] == side**2 + 1  # the bias comes first
