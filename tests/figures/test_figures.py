"""Figures of the stored grid: what is drawn is what is in the table, also while the grid is unfinished."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from patchscape import figures, tables
from patchscape.store import records


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def _runs(sizes):
    rows = [
        {"n_patches": n, "depth": d, "seed": s, "lambda_max": (1 + s) * d / n, "train_loss": 0.1 / n}
        for n, d in sizes
        for s in range(3)
    ]
    table = pd.DataFrame(rows)
    return table.assign(angles=100 * table.depth, factor=100 / table.n_patches)


def test_a_depth_with_too_few_numbers_of_patches_has_no_line_for_one_over_n():
    published = tables.published.eigenvalues()
    left, right = figures.with_published(_runs([(1, 2), (4, 2), (9, 2), (1, 18), (4, 6)]), published).axes
    dotted = [[line for line in ax.lines if line.get_linestyle() == ":"] for ax in (left, right)]
    assert [len(lines) for lines in dotted] == [1, 4]
    n, values = dotted[0][0].get_data()
    np.testing.assert_allclose(values * n, values[0] * n[0])


def test_the_scaling_law_shows_every_run_and_every_published_value():
    law, published = (tables.runs.with_law(t) for t in (_runs([(4, 2), (9, 2)]), tables.published.eigenvalues()))
    for ax, x in zip(figures.scaling_law(law, published).axes, ("raw", "law"), strict=True):
        shown = np.concatenate([np.c_[line.get_data()] for line in ax.lines if line.get_marker() in {"o", "D"}])
        both = pd.concat([law, published])
        wanted = np.c_[both.law / both.loss_factor if x == "raw" else both.law, both.lambda_max]
        order = lambda points: points[np.lexsort(points.T)]  # noqa: E731
        np.testing.assert_allclose(order(shown), order(wanted))


def test_kappa_is_drawn_for_every_run_of_every_kind():
    law = tables.runs.with_law(_runs([(4, 2), (9, 2), (1, 6)]))
    kinds = {"several": law[law.n_patches > 1], "one": law[law.n_patches == 1]}
    (ax,) = figures.kappa_by_kind(kinds, law.kappa.mean()).axes
    dots = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(dots), np.sort(law.kappa))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["several", "one"]


def test_measured_values_are_drawn_beside_the_expected_ones_without_a_fit():
    rows = pd.DataFrame(
        {"n_patches": [1, 4, 4], "gauss_newton_trace_phi": [1.0, 2.0, 9.0], "typical_trace": [2.0, 2.0, 3]}
    )
    groups = {"stored": rows, "live": rows * [1, 10, 10]}
    left, right = figures.as_expected(groups, "gauss_newton_trace_phi", "typical_trace", "trace").axes
    dots = np.concatenate([np.c_[line.get_data()] for line in left.lines if line.get_marker() in set("s^")])
    wanted = [(2, 1), (2, 2), (3, 9), (20, 10), (20, 20), (30, 90)]
    assert sorted(map(tuple, dots)) == sorted(wanted)
    ratios = np.concatenate([line.get_ydata() for line in right.lines if line.get_marker() in set("s^")])
    assert sorted(ratios) == [0.5, 0.5, 1, 1, 3, 3]
    (equality,) = (line for line in left.lines if line.get_linestyle() == "-")
    np.testing.assert_array_equal(*equality.get_data())


def test_the_file_beside_a_figure_says_with_what_and_by_which_code_it_was_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_FIGURES", str(tmp_path))
    figures.save(plt.figure(), "00-test", {"depths": (2, 6), "seeds": 3})
    made = json.loads((tmp_path / "00-test.json").read_text())
    assert made["figure"] == "00-test"
    assert made["parameters"] == {"depths": [2, 6], "seeds": 3}
    now = records.provenance()
    assert made["provenance"] | {"created": None} == now | {"created": None}
    assert made["provenance"]["created"] <= now["created"]


def test_every_factor_of_every_run_is_drawn():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0.5, 1, (6, 5)), columns=list(tables.runs.FACTORS)).assign(
        n_patches=[4, 4, 4, 9, 9, 9]
    )
    (ax,) = figures.factors(table, 1 / 9).axes
    dots = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(dots), np.sort(table[list(tables.runs.FACTORS)].to_numpy().ravel()))


def test_eigenvalues_at_the_papers_size_are_drawn_against_depth_and_patches():
    ours = pd.DataFrame(
        {"n_patches": [4, 4, 9], "depth": [50, 100, 50], "lambda_max": [3.0, 4, 1], "expected_lambda_max": [2.0, 5, 1]}
    )
    sizes = pd.DataFrame([(n, d) for n in (4, 9) for d in (50, 100)], columns=["n_patches", "depth"])
    published = sizes.assign(lambda_max=[3.5, 5.0, 1.5, 2.0])
    for ax, x in zip(figures.depth_and_patches(ours, published).axes, ("depth", "n_patches"), strict=True):
        filled, bars = (
            np.concatenate([np.c_[line.get_data()] for line in ax.lines if line.get_marker() in marks and chosen(line)])
            for marks, chosen in (("Dos", lambda line: line.get_markerfacecolor() != "none"), ("_", bool))
        )
        wanted = ours[[x, "lambda_max"]].to_numpy()
        assert sorted(map(tuple, filled)) == sorted(map(tuple, wanted))
        assert sorted(map(tuple, bars)) == sorted(map(tuple, ours[[x, "expected_lambda_max"]].to_numpy()))
    assert "nats per rad" in ax.figure.axes[0].get_ylabel()


def test_densities_are_shares_beyond_a_level_with_the_negative_side_of_the_hessian_alone():
    nodes = np.array([[-1.0, 0.01, 10.0], [-1.0, 0.01, 10.0]])
    weights = np.array([[0.25, 0.5, 0.25], [0.25, 0.5, 0.25]])
    found = {f"density_{part}_{what}": x for part in ("hessian", "gauss_newton") for what, x in
             (("values", nodes), ("weights", weights))}  # fmt: skip
    positive, negative = figures.densities({(4, 50): found}).axes
    assert [line.get_label() for line in negative.lines] == ["$H$, n = 4, d = 50"]
    levels, share = positive.lines[0].get_data()
    np.testing.assert_allclose(share[(levels > 0.02) & (levels < 9)], 0.25)
    np.testing.assert_allclose(share[levels < 0.009], 0.75)
    levels, share = negative.lines[0].get_data()
    np.testing.assert_allclose(share[levels < 0.9], 0.25)
    assert "nats per rad" in negative.get_xlabel()


def test_the_front_page_shows_every_run_against_its_estimate_and_the_mean_beside_the_sum():
    rows = pd.DataFrame({"n_patches": [1, 4, 9], "lambda_max": [5.0, 2, 1], "expected_lambda_max": [4.0, 2, 1]})
    ways = {name: pd.DataFrame({"n_patches": [4, 9], "scaled": [4.0 * way, 9.0]}) for name, way in
            (("mean", 3), ("sum", 1))}  # fmt: skip
    left, right = figures.main_result({"stored": rows, "paper": rows[1:]}, ways).axes
    shown = [np.c_[line.get_data()] for line in left.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    wanted = pd.concat([rows, rows[1:]])[["expected_lambda_max", "lambda_max"]].to_numpy()
    assert sorted(map(tuple, np.concatenate(shown))) == sorted(map(tuple, wanted))
    lines = [line.get_ydata() for line in right.lines if line.get_linestyle() != "None"]
    np.testing.assert_allclose(lines, [[3, 1], [1, 1]])
    assert {text.get_text().strip() for text in right.texts} == {"mean", "sum"}
    assert all("nats per rad" in label for label in (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()))
