"""Tables of stored and published results."""

import numpy as np
import pandas as pd
import pytest
from cases import ROOT
from scipy.stats import gmean

from patchscape import config, law, tables
from patchscape.numerics import outliers, statistics
from patchscape.store import grids
from patchscape.study import matched


def test_published_eigenvalues_are_the_papers_twelve():
    table = tables.published.eigenvalues().set_index(["n_patches", "depth"])
    assert len(table) == 12
    assert table.lambda_max[4, 50] == pytest.approx(15.987, abs=1e-3)
    assert table.scaled[16, 200] == pytest.approx(15187, rel=1e-3)
    assert table.learning_rate[9, 150] == config.PAPER_LEARNING_RATES[150]


def test_replays_are_paired_with_the_published_losses():
    pairs, table = tables.published.replays()
    assert len(pairs) == len(table) == 4
    published, replayed = pairs[4, 50]
    assert published[0] == pytest.approx(5.85413)
    np.testing.assert_allclose(replayed, published, rtol=1e-4)


def test_a_run_of_the_paper_stands_beside_the_published_one():
    table = tables.published.side_by_side().set_index(["n_patches", "depth", "seed", "source"])
    ours, published = (table.loc[4, 50, 1001, source] for source in ("ours", "published"))
    assert published.lambda_max == pytest.approx(15.987, abs=1e-3)
    assert ours.epoch == published.epoch
    assert ours.pca_1 == pytest.approx(published.pca_1, abs=0.05)
    published_curve, our_curve, _ = tables.published.curves()[4, 50]
    np.testing.assert_allclose(our_curve[:5], published_curve[:5], rtol=1e-2)


def test_every_number_of_a_published_run_stands_beside_ours():
    table = tables.published.comparison()
    assert {(4, 50), (9, 50), (16, 50)} <= set(table.index)
    row = table.loc[4, 50]
    assert row["lambda_max", "published"] == pytest.approx(15.987, abs=1e-3)
    assert row["train_loss", "published"] == pytest.approx(0.022878)
    assert row["pca_1", "published"] == pytest.approx(0.87535, abs=1e-5)
    assert row["same epochs", "ours"] == tables.published.curves()[4, 50][2]
    runs = tables.runs.table(["paper"]).set_index(["n_patches", "depth"])
    assert table["lambda_max", "ours"].dropna().to_dict() == runs.lambda_max.dropna().to_dict()


def test_the_whole_spectrum_at_the_papers_size_agrees_with_products_and_has_the_gaps_that_the_texts_name():
    """The chapter on the paper's size; products and random signs are other ways to the same numbers."""
    found = tables.spectra.at_paper_size()[4, 50]
    run = tables.runs.table(["paper"]).set_index(["n_patches", "depth"]).loc[4, 50]
    assert found["all_gauss_newton"][0] == pytest.approx(run.lambda_max, rel=1e-3)
    phi = found["all_gauss_newton_phi"]
    assert abs(phi.sum() - run.gauss_newton_trace_phi) < 4 * run.gauss_newton_trace_phi_error
    assert phi.min() > -1e-8 * phi[0]
    ratios, expected = (
        np.array([outliers.gap_ratio(values, rank) for rank in range(1, 20)]) for values in (phi, found["expected_phi"])
    )
    assert set(np.argsort(ratios)[-2:] + 1) == {1, 10}
    assert abs(expected[9] / ratios[9] - 1) < 0.05
    assert expected[0] > ratios[0]
    assert max(expected[8], ratios[8]) < 1.2


def test_vary_keeps_runs_that_differ_from_the_baseline_in_the_named_fields_only():
    table = tables.runs.table(["laptop", "controls"])
    grid = tables.runs.vary(table, "n_patches", "depth")
    assert set(grid.grid) == {"laptop"}
    baseline = tables.runs.vary(table)
    assert len(baseline) == len(grids.SEEDS)
    assert baseline.n_patches.unique().tolist() == [4]
    assert baseline.depth.unique().tolist() == [6]
    no_bias = tables.runs.vary(table, shared_bias=False)
    assert not no_bias.shared_bias.any()
    assert set(no_bias.n_patches) <= {4}
    few = tables.runs.vary(table, "data_classes").dropna(subset=["data_classes"])
    assert set(few.data_classes) == {2, 4, 6, 8}
    assert set(few.n_classes) == {10}


def test_the_residual_that_older_code_stored_is_named_for_what_it_is():
    table = tables.runs.table(["paper"]).dropna(subset=["curvature_code"])
    by_product = table[table.curvature_code.str.startswith("daec91fa")]  # ARPACK, checked by one more product
    assert by_product.lambda_max_residual.tolist() == pytest.approx([1.2627e-05], rel=1e-4)
    assert by_product.lambda_max_residual_of_lanczos.isna().all()
    measured = table.drop(by_product.index).dropna(subset=["lambda_max"])
    newer = measured[measured.depth > 50]  # by code that checks with one more product too
    assert (newer.lambda_max_residual < 1e-3 * newer.lambda_max).all()
    others = measured.drop(newer.index)
    assert len(others)
    assert others.lambda_max_residual.isna().all()
    assert others.lambda_max_residual_of_lanczos.notna().all()


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    assert tables.runs.table(["laptop"], tmp_path).empty
    with pytest.raises(ValueError, match="no grid 'big'"):
        tables.runs.table(["big"])


def test_the_law_is_the_leading_term_of_the_bound_t2():
    table = tables.runs.table(["laptop", "controls"]).dropna(subset=["t2_a_priori"])
    law = tables.runs.with_law(table)
    # the corollary, m (a n f^2 K + 2 (1 - exp(-L)) f) with a = min(2 (1 - exp(-L)), 1/2), less its last term
    leading = law.t2_a_priori - 2 * law.loss_factor * law.angles * law.factor
    small = law.loss_factor <= 1 / 4
    assert 0 < small.sum() < len(law)
    np.testing.assert_allclose((2 * law.n_classes * law.law)[small], leading[small], rtol=1e-10)
    assert (2 * law.n_classes * law.law > leading)[~small].all()
    assert (law.kappa * law.law < law.t2_a_priori).all()
    assert set(tables.runs.with_law(tables.published.eigenvalues()).columns) >= {"law", "kappa", "loss_factor"}


def test_the_two_sides_of_e2_are_as_far_apart_as_chapter_2_says():
    _, law = tables.runs.kinds_of_runs(tables.runs.table(["laptop", "controls"]))
    found = law[law.depth > 2].dropna(subset=["expected_upper"])
    room = (found.expected_upper / found.expected_phi).groupby(found.n_patches).agg(gmean)
    assert room.is_monotonic_decreasing
    assert room.loc[16] < 2 < room.loc[4] < 3
    measured = (found.gauss_newton_phi / found.expected_phi).groupby(found.n_patches).agg(gmean)
    assert measured.between(0.93, 0.99).all()  # a few percent below a lower bound in the mean
    assert (found.gauss_newton_phi < found.expected_upper).all()


def test_the_factors_multiply_to_the_constant_of_the_law():
    table = tables.runs.with_law(tables.runs.table(["laptop", "controls", "datasets"]).dropna(subset=["lambda_max"]))
    found = tables.runs.with_factors(table)
    assert len(found) == table.impurity.notna().sum() > 0
    twice = 2 * found.n_qubits.map(law.typical_square)
    np.testing.assert_allclose(found[list(tables.runs.FACTORS)].prod(axis=1) * twice, found.kappa, rtol=1e-12)
    assert (found.of_spectrum < 1).all()
    precise = found[found.train_loss > 1e-4]  # float32 loses digits of smaller losses
    assert precise.of_loss.between(0, 1.001).all()
    assert (found[~found.of_loss.between(0, 1.001)].aggregation == "sum").all()
    assert tables.runs.with_factors(table.drop(columns=[c for c in table if "trace" in c or c == "impurity"])).empty


def test_the_trace_at_stored_minima_is_near_what_e1_expects():
    for names in (["datasets"], ["laptop", "controls"]):
        found = tables.runs.with_factors(tables.runs.with_law(tables.runs.table(names)))
        assert 0.85 < gmean(found.of_derivatives) < 0.95
        assert found.of_derivatives.between(0.6, 1.2).all()
    assert (
        tables.runs.with_factors(tables.runs.with_law(tables.runs.table(["paper"])))
        .of_derivatives.between(0.85, 1.15)
        .all()
    )


def test_every_stored_run_is_of_one_kind_and_the_law_has_only_the_papers_logits():
    kinds, law = tables.runs.kinds_of_runs(tables.runs.table(["laptop", "controls"]))
    rows = pd.concat(kinds.values())
    assert not rows.duplicated(["job", "seed"]).any()
    assert len(rows) == tables.runs.table(["laptop", "controls"]).lambda_max.notna().sum()
    assert len(law) < len(rows)
    np.testing.assert_allclose(law.factor, 100 / law.n_patches)
    assert set(law.n_classes) == {10}
    assert law.n_patches.min() > 1


def test_ensembles_lower_the_loss_where_the_protocol_is_the_papers_and_gain_accuracy_on_average_there_only():
    """The verdict of the chapter on the landscape, over what is stored."""
    whole = tables.published.side_by_side().query("source == 'ours'").dropna(subset=["ensemble_test_loss"])
    assert len(whole) >= 3
    higher = whole[whole.ensemble_test_loss >= whole.test_loss]
    assert set(zip(higher.n_patches, higher.depth, strict=True)) == {(4, 200), (9, 200)}  # the published runs too
    gain = (whole.ensemble_test_accuracy - whole.test_accuracy).to_numpy()
    assert gain.mean() > 0 > gain.min()  # on average; (4, 150) loses four images of 10,000, (4, 200) eighteen
    small = tables.runs.table(["laptop"]).dropna(subset=["ensemble_test_loss"])
    assert len(small)
    assert (small.ensemble_test_accuracy < small.test_accuracy).all()


def test_training_shows_on_the_shared_bias_and_hardly_on_the_circuits_own_angles():
    """What the front page and the chapter on theory say of blocks drawn anew."""
    table = tables.spectra.redrawn().query("kept == 1")  # not the paper's size
    quantities = ["lambda_max_phi", "trace_phi", "lambda_max_bias", "trace_bias"]
    versus = tables.spectra.against_redrawn(table, quantities).query("n_patches > 1 and depth > 2")
    logs = versus.assign(log=np.log(versus.ratio)).groupby(["quantity", "n_patches", "depth"]).log.mean()
    mean = np.exp(logs)
    assert mean["lambda_max_phi"].between(0.95, 1.1).all()
    assert mean["trace_phi"].between(0.97, 1.05).all()
    assert mean["lambda_max_bias"].max() == pytest.approx(3.4, abs=0.1)
    assert (mean["lambda_max_bias"] > 1.1).all()
    for depth in (6, 18):
        by_patches = mean["lambda_max_bias"].xs(depth, level="depth")
        assert by_patches.is_monotonic_increasing
    others = table.query("n_patches > 1 and blocks != 'trained'")
    assert others.kernel_alignment.min() > 0.93
    assert others.jacobian_cosine.max() < 0.35


def test_at_the_papers_size_trained_blocks_have_a_smaller_eigenvalue_on_the_angles_than_any_draw():
    """What the chapter on the size says of (4, 50); E2 is too large there for the same reason."""
    large = tables.spectra.redrawn().query("kept < 1")
    assert set(zip(large.n_patches, large.depth, strict=True)) == {(4, 50)}
    versus = tables.spectra.against_redrawn(large, ["lambda_max_phi", "trace_phi", "lambda_max_bias"])
    ratio, low = (versus.set_index("quantity")[name] for name in ("ratio", "low"))
    assert ratio["lambda_max_phi"] < 0.8 < 0.95 < low["lambda_max_phi"]
    assert ratio["trace_phi"] == pytest.approx(0.95, abs=0.01)
    assert ratio["lambda_max_bias"] > 1.7


def test_the_ledger_counts_what_is_stored_of_the_twelve_points():
    ledger = tables.published.ledger().set_index(["n_patches", "depth"])
    assert list(ledger.index) == [(n, d) for n in (4, 9, 16) for d in (50, 100, 150, 200)]
    runs = tables.runs.table(["paper"]).groupby(["n_patches", "depth"])
    assert ledger.seeds[ledger.seeds > 0].to_dict() == runs.seed.count().to_dict()
    assert ledger.top[ledger.seeds > 0].to_dict() == runs.lambda_max.count().to_dict()
    assert ledger.whole.to_dict() == {size: int(size == (4, 50)) for size in ledger.index}
    assert (ledger.hours > 0).equals(ledger.seeds > 0)
    spectra = tables.spectra.at_paper_size()
    assert ledger.spectrum.sum() == sum("class_mean_overlap" in found for found in spectra.values())


def test_what_the_chapter_on_the_papers_size_says_of_the_spectra():
    """No gap after the ninth or tenth eigenvalue as wide as elsewhere; the eigenvectors know the classes up to nine."""
    for found in tables.spectra.at_paper_size().values():
        if "class_mean_overlap" not in found:
            continue
        values, share = found["eigenvalues"], found["class_mean_overlap"]
        assert found["lambda_max_residual"] < 1e-3 * values[0]
        assert outliers.count_outliers(values, candidates=19) not in (9, 10)
        assert share[:9].mean() > 0.6 > 0.15 > share[9]
        assert -0.05 < found["lambda_min"] / values[0] < 0


def test_eigenvalues_at_the_papers_size_are_near_the_published_and_the_expected_ones():
    runs = tables.runs.table(["paper"]).dropna(subset=["lambda_max"])
    own = runs[runs.seed == config.PAPER_SEED].set_index(["n_patches", "depth"])
    published = tables.published.eigenvalues().set_index(["n_patches", "depth"]).lambda_max
    assert (own.lambda_max / published.loc[own.index]).between(0.75, 1.1).all()
    assert (runs.lambda_max / runs.expected_lambda_max).between(0.75, 1.25).all()
    assert own.lambda_max[4, 50] / own.lambda_max[9, 50] > 3  # claim (b)
    for n in (4, 9):
        assert own.lambda_max.loc[n].sort_index().is_monotonic_increasing  # claim (a), with the author's rates
    ratio = (own.lambda_max / own.expected_lambda_max).unstack("depth")
    for d in (50, 100):
        assert own.xs(d, level="depth").scaled.is_monotonic_increasing
        assert ratio[d].dropna().is_monotonic_increasing
    assert own.train_loss.loc[4].loc[:150].is_monotonic_decreasing


def test_at_the_papers_size_the_law_gives_up_to_three_times_too_much():
    law = tables.runs.kinds_of_runs(tables.runs.table(["laptop", "controls"]))[1]
    constant = np.exp(np.log(law.kappa).mean())
    for rows in (tables.runs.table(["paper"]).dropna(subset=["lambda_max"]), tables.published.eigenvalues()):
        over = constant / tables.runs.with_law(rows).kappa
        assert 1.4 < over.min() < 2.7 < over.max() < 3


def test_where_runs_jump_when_the_rate_is_full():
    jumps = {
        size: tuple(losses[10:].max() > 1 for losses in (theirs, ours))
        for size, (theirs, ours, _) in tables.published.curves().items()
    }
    assert [size for size, (_, ours) in jumps.items() if ours] == [(4, 50)]
    assert [size for size, (theirs, _) in jumps.items() if theirs] == [(4, 50), (4, 100), (9, 50)]


def test_eight_angles_of_a_circuit_are_flat_by_construction():
    """The chapter on the spectrum: six of the last layer, two of the layer before; the rest is rounding."""
    for values in tables.spectra.whole()["H"]:
        assert np.sum(abs(values) < 1e-8 * values[0]) == pytest.approx(8 * 4, abs=1)


def test_the_published_loss_falls_where_the_published_eigenvalue_rises():
    for _, rows in tables.published.eigenvalues().query("depth <= 150").groupby("n_patches"):
        rows = rows.sort_values("depth")
        assert rows.train_loss.is_monotonic_decreasing
        assert rows.lambda_max.is_monotonic_increasing


def test_the_runs_with_the_smallest_rate_are_the_published_ones_to_their_last_epoch():
    rows = tables.published.comparison().query("depth == 200")
    assert {4, 9} <= set(rows.index.get_level_values("n_patches"))
    for _, row in rows.iterrows():
        assert row["same epochs", "ours"] == 50
        for name, tolerance in {
            "epoch": 0,
            "train_loss": 1e-4,
            "test_loss": 1e-4,
            "pca_1": 1e-5,
            "lambda_max": 1e-2,
        }.items():
            if not np.isnan(row[name, "ours"]):
                assert row[name, "ours"] == pytest.approx(row[name, "published"], rel=tolerance), name
    assert rows["lambda_max", "ours"].notna().any()


def test_the_loss_falls_to_150_layers_and_at_200_only_a_little_or_not():
    """What the chapter says of claim (a), ours and published."""
    loss = tables.published.comparison()["train_loss"]
    for source in ("ours", "published"):
        for n in (4, 9):
            found = loss[source].xs(n, level="n_patches")
            assert found.loc[:150].is_monotonic_decreasing
        assert loss[source][4, 200] > loss[source][4, 150]
        assert 0.98 < loss[source][9, 200] / loss[source][9, 150] < 0.995


def test_at_equal_losses_patches_flatten_angles_sharpen_and_the_rate_does_nothing():
    """What the chapter on controls says of the design, and its figure."""
    table = tables.matched.table()
    configurations = table[["n_patches", "depth", "learning_rate"]].drop_duplicates()
    assert len(configurations) == 27
    assert len(table) == 27 * len(matched.SEEDS) * len(matched.LOSSES)
    reached = table.dropna(subset=["lambda_max"])
    assert len(table) == len(reached)
    near = np.abs(np.log(reached.train_loss / reached.preset))
    assert near.median() < np.log(1.2)  # epochs are coarse: fits take the loss as it is
    assert near[reached.preset == 1].max() > np.log(4)  # and 1 nat is but a label
    for column in ("lambda_max", "lambda_max_phi"):
        assert (reached[f"{column}_residual"] <= 1.1e-3 * reached[column]).all()
        terms = ["n_patches", "angles", "loss_factor", "learning_rate"]
        fit = statistics.exponents(reached, column, terms, ["n_patches", "depth", "learning_rate"])
        assert -1.25 < fit["n_patches"].low < -1 < fit["n_patches"].high < -0.9
        assert 0.4 < fit["angles"].low < fit["angles"].high < 0.9
        assert fit["loss_factor"].high < 0.7
        assert fit["learning_rate"].low < 0 < fit["learning_rate"].high
    front = (ROOT / "intro.md").read_text(encoding="utf-8")
    power = statistics.exponents(reached, "lambda_max", terms)
    front = " ".join(front.split())
    assert f"to within 0.3 in the power of $n$: ${power['n_patches'].value:.2f}$ where runs pass equal losses" in front
    at_loss = ["n_patches", "loss_factor", "learning_rate"]
    for depth, rows in reached.groupby("depth"):
        every, phi = (statistics.exponents(rows, c, at_loss)["n_patches"] for c in ("lambda_max", "lambda_max_phi"))
        assert every.low < -1 < every.high
        assert (phi.high < -1) == (depth > 2)  # the seeds exclude 1/n on the circuits' angles
        assert abs(every.value + 1) < 0.25 > abs(phi.value + 1)
    by_configuration = ["n_patches", "depth", "learning_rate"]
    impure = statistics.exponents(
        reached, "lambda_max", ["n_patches", "angles", "impurity", "learning_rate"], by_configuration
    )
    assert -1.25 < impure["n_patches"].value < impure["n_patches"].high < -1
    assert impure["angles"].low > fit["angles"].value
    few, many = (
        statistics.exponents(reached[reached.depth != without], "lambda_max", terms, by_configuration)["angles"]
        for without in (18, 2)
    )
    assert few.high < 0.3 < 0.6 < many.low < many.high < 1
    assert "where runs pass equal losses, those of $m$ and $1-e^{-L}$ are about a half" in front
    assert [power[name].value for name in ("angles", "loss_factor")] == pytest.approx([0.5, 0.5], abs=0.1)
    by_depth = np.log(reached.lambda_max).groupby([reached.preset, reached.n_patches, reached.depth]).mean().unstack()
    assert (by_depth[18] > by_depth[6]).all()
    losses = np.log(reached.loss_factor).groupby([reached.preset, reached.n_patches, reached.depth]).mean().unstack()
    other = by_depth.index[by_depth[6] < by_depth[2]]
    assert set(other) <= {(1.0, 9), (1.0, 16), (0.45, 16)}
    assert (losses[6] < losses[2]).loc[other].all()  # their loss is the smaller one


def test_e2_predicts_the_curvature_of_runs_at_equal_losses_that_were_trained_after_it():
    table = tables.matched.table().dropna(subset=["lambda_max"])
    ratio = np.log(table.lambda_max / table.expected_lambda_max)
    deep = ratio[table.depth > 2]
    assert np.exp(deep.mean()) == pytest.approx(1.0, abs=0.02)
    assert np.exp(deep.std()) < 1.07
    assert (ratio[table.depth == 2].groupby(table.n_patches).mean() > np.log(1.1)).all()
