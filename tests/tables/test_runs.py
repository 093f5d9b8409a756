"""The table of stored runs: what it adds to the columns that are stored, and what is selected from it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from patchscape import law
from patchscape.store import columns, grids, records
from patchscape.tables import runs

RUN = grids.laptop(4, 6)
SEEDS = [0, 1]
BLOCKS, REST = np.array([[2.0, 1, 1, 1], [3, 1, 1, 1]]), np.array([[0.1, 0.5, 0.2, 0.3], [0.3, 0.2, 0.1, 0.1]])
EIGENVALUES = np.sort(np.random.default_rng(0).uniform(0.1, 9, (2, columns.TOP)))[:, ::-1]
PROVENANCE = {"code": "abc", "device": {"kind": "cpu"}, "created": "2026-01-01T00:00:00Z"}
META = {"run": RUN.model_dump(mode="json"), "seeds": SEEDS, "wall_s": 20.0, "provenance": PROVENANCE}
CURVES = {
    "train_loss": np.array([[2.0, 0.5, 0.7], [2.0, 0.9, np.nan]]),
    "test_loss": np.array([[2.1, 0.6, 0.8], [2.1, 1.0, np.nan]]),
    "train_accuracy": np.full((2, 3), 0.8),
    "test_accuracy": np.full((2, 3), 0.7),
    "minimum_epoch": np.array([1, 1]),
    "pca_ratios": np.tile(np.linspace(0.8, 0.0, 10), (2, 1)),
}
MEASURED = {
    "lambda_max": EIGENVALUES[:, 0],
    "lambda_max_residual": np.array([1e-5, 2e-5]),
    "eigenvalues": EIGENVALUES,
    "eigenvalue_residuals": np.tile([1e-5], (2, columns.TOP)),
    "train_loss": np.array([0.51, 0.91]),
    "gauss_newton": np.array([8.0, 9.0]),
    "gauss_newton_phi": np.array([4.0, 4.5]),
    "gauss_newton_blocks": BLOCKS,
    "residual_blocks": REST,
    "impurity": np.array([0.2, 0.3]),
    "expected_phi": np.tile(np.linspace(3, 1, columns.TOP), (2, 1)),
    "expected_all": np.tile(np.linspace(3.5, 1, columns.TOP), (2, 1)),
    "gauss_newton_trace_phi": np.array([40.0, 50.0]),
    "gauss_newton_trace_bias": np.array([10.0, 5.0]),
}


def stored(run=RUN):
    meta = META | {"run": run.model_dump(mode="json")}
    return runs.Stored(Path("a.safetensors"), run, records.Record(CURVES, meta), records.Record(MEASURED, meta))


@pytest.fixture
def table():
    return runs.with_scaled(runs.rows("laptop", stored()))


def test_the_loss_is_that_of_the_curvature_file_and_the_rest_of_the_minimum_that_of_the_epoch(table):
    assert table.train_loss.tolist() == [0.51, 0.91]
    assert table.test_loss.tolist() == [0.6, 1.0]
    assert table.diverged.tolist() == [False, True]
    assert table.training_s.tolist() == [10, 10]
    assert table.epoch.tolist() == [1, 1]


def test_the_terms_of_the_bounds_are_those_of_the_law(table):
    np.testing.assert_allclose(table.coherence, [4 / 5, 4.5 / 6])
    np.testing.assert_allclose(table.weyl, [4.5, 4.8])
    np.testing.assert_allclose(table.t1, [5.5, 6.3])
    np.testing.assert_allclose(table.t1_uniform, [8.5, 12.3])
    m = RUN.model.n_params_per_qnn
    np.testing.assert_allclose(table.t2_a_priori, law.t2_a_priori(np.array([0.51, 0.91]), 4, 25.0, m, 10))
    np.testing.assert_allclose(table.scaled, table.lambda_max * 4 / (1 - np.exp(-table.train_loss)))


def test_what_e2_expects_is_the_first_of_its_eigenvalues_and_has_an_upper_side(table):
    assert table.expected_phi.tolist() == [3, 3]
    assert table.expected_lambda_max.tolist() == [3.5, 3.5]
    trace = law.trace(MEASURED["impurity"], 4, 25.0, RUN.model.n_params_per_qnn, 8)
    upper = [law.chernoff(3.0, top, dimension) for top, dimension in zip([2.0, 3.0], trace / 3, strict=True)]
    np.testing.assert_allclose(table.expected_upper, upper)


@pytest.mark.parametrize(("classes", "count"), [(None, 9), (4, 3)])
def test_the_outliers_that_are_added_up_are_one_fewer_than_the_classes_of_the_images(classes, count):
    found = runs.rows("controls", stored(RUN.model_copy(update={"data_classes": classes})))
    np.testing.assert_allclose(found.outlier_sum, EIGENVALUES[:, :count].sum(1))


def test_a_residual_that_older_code_took_from_lanczos_is_named_so(table):
    older, newer = table.iloc[0], table.iloc[1]
    assert older.lambda_max_residual_of_lanczos == 1e-5
    assert np.isnan(older.lambda_max_residual)
    assert newer.lambda_max_residual == 2e-5
    assert np.isnan(newer.lambda_max_residual_of_lanczos)


def test_the_factors_multiply_to_the_constant_of_the_scaling_law(table):
    found = runs.with_factors(runs.with_law(table))
    product = found[list(runs.FACTORS)].prod(axis=1)
    np.testing.assert_allclose(product * 2 * law.typical_square(8), found.kappa)
    np.testing.assert_allclose(found.of_residual, table.lambda_max / table.gauss_newton)
    np.testing.assert_allclose(found.of_loss, table.impurity / (2 * law.loss_factor(table.train_loss)))
    np.testing.assert_allclose(found.of_bias, [50 / 40, 55 / 50])


def several(**fields):
    """A run of the baseline for each value of one field, with a loss that differs."""
    (name, values), rows = fields.popitem(), []
    for place, value in enumerate(values):
        change = {name: value} if name in RUN.model_dump() else {}
        run = RUN.model_copy(update=change)
        if name == "learning_rate":
            run = RUN.model_copy(update={"train": RUN.train.model_copy(update={name: value})})
        elif not change:
            run = RUN.model_copy(update={"model": RUN.model.model_copy(update={name: value})})
        rows.append(runs.rows("laptop", stored(run)).assign(train_loss=0.1 * (1 + place)))
    return pd.concat(rows, ignore_index=True)


def test_runs_are_told_apart_by_the_one_field_that_differs_from_the_baseline():
    every = pd.concat([several(n_patches=[1, 4, 9]), several(learning_rate=[0.01, 0.04])], ignore_index=True)
    assert sorted(runs.vary(every, "n_patches").n_patches.unique()) == [1, 4, 9]
    assert sorted(runs.vary(every, "learning_rate").learning_rate.unique()) == [0.01, 0.02, 0.04]
    kinds, fitted = runs.kinds_of_runs(every)
    assert sorted(kinds["grid"].n_patches.unique()) == [4, 9]
    assert sorted(kinds["other learning rates"].learning_rate.unique()) == [0.01, 0.04]
    assert kinds["one circuit"].n_patches.unique() == [1]
    assert len(fitted) == len(kinds["grid"]) + len(kinds["other learning rates"])
