"""Blocks drawn anew at a minimum, against dense matrices of the same parameters."""

import numpy as np
import pytest

from patchscape import tables
from patchscape.circuit import ansatz
from patchscape.config import ModelConfig
from patchscape.curvature import estimates, exact
from patchscape.learning import model
from patchscape.store import files, grids, records
from patchscape.store.columns import TOP
from patchscape.study import jobs, redrawn

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=4)


@pytest.fixture(scope="module", params=[True, False], ids=["bias", "no bias"])
def case(request):
    cfg = CFG.model_copy(update={"shared_bias": request.param})
    rng = np.random.default_rng(0)
    angles, labels = rng.uniform(0, 0.8, (40, 8, 8)).astype(np.float32), rng.integers(0, 4, 40)
    params = {name: np.asarray(value) for name, value in model.init(cfg, 3).items()}
    if request.param:
        params["bias"] = rng.normal(0, 0.1, (8, 8)).astype(np.float32)
    return cfg, params, angles, labels, exact.decompose(cfg, params, angles, labels)


def test_at_the_trained_blocks_every_column_is_that_of_the_dense_matrix(case):
    cfg, params, angles, _, parts = case
    found = redrawn.at(cfg, params, 3, angles, parts.probabilities, draws=1)
    bias, phi, circuits = cfg.layout
    g = parts.root.T @ parts.root
    values = lambda matrix: np.linalg.eigvalsh(matrix)[::-1]  # noqa: E731
    close = {"rtol": 1e-4, "atol": 1e-4 * values(g)[0]}  # as exact as `redrawn` asks Lanczos to be
    np.testing.assert_allclose(found["eigenvalues"][0, :12], values(g)[:12], **close)
    np.testing.assert_allclose(found["eigenvalues_phi"][0, :12], values(g[phi, phi])[:12], **close)
    blocks = [values(g[own, own])[0] for own in circuits]
    np.testing.assert_allclose(found["gauss_newton_blocks"][0], blocks, **close)
    assert found["trace_phi"][0] == pytest.approx(np.trace(g[phi, phi]), rel=1e-4)
    if cfg.shared_bias:
        assert found["gauss_newton_bias"][0] == pytest.approx(values(g[bias, bias])[0], rel=1e-4)
        assert found["trace_bias"][0] == pytest.approx(np.trace(g[bias, bias]), rel=1e-4)
    else:
        assert np.isnan(found["gauss_newton_bias"]).all()
    assert found["eigenvalues"].shape == (3, TOP)
    assert (found["distance"][0], found["jacobian_cosine"][0]) == (0, pytest.approx(1))
    assert found["kernel_alignment"][0] == pytest.approx(1)


def test_over_some_of_the_images_g_is_their_part_of_the_mean_over_all(case):
    cfg, params, angles, _, parts = case
    used, kept = estimates.least_certain(parts.probabilities, 15)
    found = redrawn.at(cfg, params, 3, angles[used], parts.probabilities[used], draws=1, of=len(angles))
    rows = parts.root.reshape(len(angles), -1, parts.root.shape[-1])[used]
    phi = rows.reshape(-1, rows.shape[-1])[:, cfg.layout[1]]
    assert found["trace_phi"][0] == pytest.approx(np.sum(phi**2), rel=1e-4)
    assert found["eigenvalues_phi"][0, 0] == pytest.approx(np.linalg.norm(phi, 2) ** 2, rel=1e-4)
    assert 15 / 40 < kept < 1


def test_redrawn_blocks_keep_encodings_bias_and_predictions(case):
    cfg, params, angles, labels, parts = case
    phi = redrawn.with_new_blocks(cfg, params["phi"], np.random.default_rng(3))
    (old, old_encodings), (new, new_encodings) = (ansatz.split_angles(cfg, part) for part in (params["phi"], phi))
    for before, after in zip(old, new, strict=True):
        assert not np.any(before == after)
        assert np.all((after >= 0) & (after < np.pi))
    for before, after in zip(old_encodings, new_encodings, strict=True):
        np.testing.assert_array_equal(before, after)
    found = redrawn.at(cfg, params, 3, angles, parts.probabilities, draws=1)
    other = exact.decompose(cfg, params | {"phi": phi}, angles, labels)
    rows = np.matmul(exact.root(parts.probabilities), other.logit_gradients) / np.sqrt(len(angles))
    top = np.linalg.norm(rows.reshape(-1, rows.shape[-1]), 2) ** 2
    assert found["eigenvalues"][2, 0] == pytest.approx(top, rel=1e-4)


@pytest.mark.slow
def test_a_file_has_the_seeds_that_were_asked_for_and_no_other_numbers(tmp_path):
    job = next(job for job in grids.jobs("smoke").values() if job.run.model.n_patches == 4)
    with pytest.raises(ValueError, match="train the job first"):
        redrawn.make(job, tmp_path, tmp_path / "out")
    jobs.train(job, tmp_path)
    first = redrawn.make(job, tmp_path, tmp_path / "out", [1], draws=1, images=20)
    both = redrawn.make(job, tmp_path, tmp_path / "out", draws=1, images=20)
    found = records.read(both)
    assert 20 / job.run.n_train < found.arrays["impurity_kept"].min() < 1
    assert first == both == tmp_path / "out" / files.paths(job, tmp_path)[0].name
    assert found.meta["seeds"] == [1, 0]
    assert found.arrays["eigenvalues"].shape == (2, 3, TOP)
    for arguments, sentence in (
        ({"seeds": [7]}, "seeds"),
        ({"draws": 2, "images": 20}, "delete it"),
        ({"out": tmp_path}, "choose another"),
    ):
        with pytest.raises(ValueError, match=sentence):
            redrawn.make(job, tmp_path, **{"out": tmp_path / "out", "draws": 1, "images": 20} | arguments)


def test_the_table_sets_trained_blocks_over_the_mean_of_redrawn_ones(tmp_path):
    job = next(job for job in grids.jobs("smoke").values() if job.run.model.n_patches == 4)
    jobs.train(job, tmp_path)
    redrawn.make(job, tmp_path, tmp_path / "out", [0], draws=2, images=20)
    table = tables.spectra.redrawn(tmp_path / "out")
    assert list(table.blocks) == ["trained", "start", "redrawn", "redrawn"]
    kept = records.read(next((tmp_path / "out").glob("*.safetensors"))).arrays["impurity_kept"]
    assert (table.kept == kept[0]).all()
    assert (tables.spectra.redrawn().query("depth <= 18").kept == 1).all()
    row = tables.spectra.against_redrawn(table, ["trace_phi"]).iloc[0]
    one, _, *others = table.trace_phi
    mean = np.sqrt(others[0] * others[1])
    assert (row.ratio, row.low, row.high) == pytest.approx((one / mean, min(others) / mean, max(others) / mean))
    assert tables.spectra.redrawn(tmp_path / "nothing").empty
