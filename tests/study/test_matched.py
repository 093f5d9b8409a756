"""Runs at equal losses, against training by hand and dense matrices."""

import numpy as np
import pytest

from patchscape import config, tables
from patchscape.curvature import exact, full_data
from patchscape.learning import data, training
from patchscape.store import columns, grids, records
from patchscape.study import matched

CFG = config.ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=8)
RUN = config.digits(4, depth=1).model_copy(update={"n_train": 200, "n_test": 50, "seed": 0})
PROTOCOL = {"learning_rate": 0.05, "batch_size": 50, "epochs": 8}
RUN = RUN.model_copy(update={"model": CFG, "train": RUN.train.model_copy(update=PROTOCOL)})
LOSSES = (2.3, 1.7, 1e-9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return matched.make(RUN, tmp_path_factory.mktemp("matched"), seeds=(0, 1), losses=LOSSES)


def test_the_design_crosses_patches_depths_and_rates_and_differs_in_nothing_else():
    runs = list(matched.runs())
    points = {(run.model.n_patches, run.model.depth, run.train.learning_rate) for run in runs}
    assert len(points) == len(runs) == len(grids.PATCHES) * len(grids.DEPTHS) * len(matched.RATES)
    same = {run.model_copy(update={"model": None, "train": None}) for run in runs}
    assert len(same) == 1
    assert list(matched.LOSSES) == sorted(matched.LOSSES, reverse=True)


@pytest.mark.slow
def test_a_run_is_looked_at_where_its_loss_is_nearest_to_the_preset_one(stored):
    arrays, _ = records.read(stored)
    curves = training.train(RUN, data.load_run(RUN), seeds=[0, 1]).train_loss
    for own, epochs, losses in zip(curves, arrays["epoch"], arrays["train_loss"], strict=True):
        for wanted, epoch, loss in zip(LOSSES[:2], epochs.astype(int), losses, strict=False):
            assert loss == pytest.approx(own[epoch], rel=1e-4)
            first = np.flatnonzero(own <= wanted)[0]
            near = [one for one in (first - 1, first) if one >= 0]
            assert epoch == min(near, key=lambda one: abs(np.log(own[one] / wanted)))
    assert (arrays["epoch"][:, 2] == -1).all()
    assert np.isnan(arrays["lambda_max"][:, 2]).all()


@pytest.mark.slow
def test_curvature_there_is_that_of_the_dense_matrices(stored):
    images, cfg = data.load_run(RUN), RUN.model
    (passing, *_), _ = matched.passings(RUN, images, [0, 1], LOSSES[:1])
    loss = full_data.FullDataLoss(cfg, images.train_angles, images.train_labels)
    found = matched.at(loss, images, passing.params)
    parts = exact.decompose(cfg, passing.params, images.train_angles, images.train_labels)
    dense, phi = exact.matrices(parts), cfg.layout.phi
    values = {
        "lambda_max": dense["H"],
        "lambda_max_phi": dense["H"][phi, phi],
    }
    for name, matrix in values.items():
        assert found[name] == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=3e-3)
    assert records.read(stored).arrays["lambda_max"][0, 0] == pytest.approx(found["lambda_max"], rel=1e-2)


def test_training_ends_when_all_losses_are_passed():
    images, epochs = data.load_run(RUN), []

    def look(epoch, params, curves):
        assert params["phi"].shape[0] == len(curves["train_loss"]) == 2
        epochs.append(epoch)
        return epoch == 2

    trained = training.train(RUN, images, seeds=[0, 1], after_epoch=look)
    assert epochs == [0, 1, 2]
    assert trained.train_loss.shape == (2, 3)
    whole = training.train(RUN, images, seeds=[0, 1])
    np.testing.assert_array_equal(trained.train_loss, whole.train_loss[:, :3])


@pytest.mark.slow
def test_a_stored_file_stays_and_other_losses_are_refused(stored):
    before = stored.read_bytes()
    assert matched.make(RUN, stored.parent, seeds=(0, 1), losses=LOSSES) == stored
    assert stored.read_bytes() == before
    with pytest.raises(ValueError, match="delete it and make it anew"):
        matched.make(RUN, stored.parent, seeds=(0, 1), losses=LOSSES[:2])


@pytest.mark.slow
def test_the_table_has_a_row_for_each_run_and_loss(stored):
    table = tables.matched.table(stored.parent)
    assert len(table) == 2 * len(LOSSES)
    assert list(table.preset[:3]) == list(LOSSES)
    np.testing.assert_allclose(table.loss_factor, 1 - np.exp(-table.train_loss))
    assert set(columns.known("matched")) <= set(table.columns)
    assert tables.matched.table(stored.parent / "none").empty
