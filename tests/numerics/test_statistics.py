"""Intervals that cover what they should, on data with known answers."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from patchscape.numerics import statistics


def law(seeds=40, noise=0.2, own=0.3, rng=None):
    """Runs with lambda = 3 n^-1 m^0.5, noise per run and a common factor per seed."""
    rng = np.random.default_rng(0) if rng is None else rng
    rows = []
    for seed in range(seeds):
        common = own * rng.standard_normal()
        for n in (4, 9, 16):
            for m in (100, 200, 400):
                value = 3 / n * m**0.5 * np.exp(common + noise * rng.standard_normal())
                rows.append({"seed": seed, "n": n, "m": m, "value": value})
    return pd.DataFrame(rows)


def test_exponents_of_a_known_law_lie_in_their_intervals():
    found = statistics.exponents(law(), "value", ["n", "m"])
    assert found["n"].low < -1 < found["n"].high
    assert found["m"].low < 0.5 < found["m"].high
    assert found["n"].high - found["n"].low < 0.2
    assert found["n"].n == 40


def test_exact_data_give_the_exact_exponents():
    found = statistics.exponents(law(noise=0, own=0), "value", ["n", "m"])
    assert found["n"].value == pytest.approx(-1)
    assert found["m"].low == pytest.approx(0.5) == found["m"].high


def paired(count, rng):
    """Runs of two kinds whose ratios are 2, with a spread of their own for every seed."""
    logs = rng.standard_normal((2, count)) * 0.3
    rows = {"seed": np.tile(np.arange(count), 2), "kind": np.repeat([1, 0], count)}
    return pd.DataFrame(rows | {"value": np.exp(logs + np.log([[2], [1]])).ravel()})


def of_configurations(rng, seeds=5):
    """Runs with lambda = n^-1 m^0.5, a deviation of each of eighteen configurations, and noise of every run."""
    rows = [(n, m, rate) for n in (4, 9, 16) for m in (100, 200, 400) for rate in (1, 2)]
    table = pd.DataFrame(rows * seeds, columns=["n", "m", "rate"])
    own = 0.2 * np.tile(rng.standard_normal(len(rows)), seeds)
    return table.assign(value=np.exp(own + 0.05 * rng.standard_normal(len(table))) * table.m**0.5 / table.n)


def of_ratio(count):
    def one(rng):
        table = paired(count, rng)
        return statistics.ratio(table, "value", table.kind == 1, table.kind == 0), 2

    return one


def of_exponent(count):
    return lambda rng: (statistics.exponents(law(count, rng=rng), "value", ["n", "m"])["m"], 0.5)


def of_configuration(rng):
    found = statistics.exponents(of_configurations(rng), "value", ["n", "m"], unit=("n", "m", "rate"))
    return found["m"], 0.5


def of_correlation(count):
    def one(rng):
        x = rng.standard_normal((count, 9))
        y = 0.5 * x + np.sqrt(0.75) * rng.standard_normal((count, 9))
        table = pd.DataFrame({"seed": np.repeat(np.arange(count), 9), "x": x.ravel(), "y": y.ravel()})
        return statistics.rank_correlation(table, "x", "y"), 6 / np.pi * np.arcsin(0.25)  # of normal variables

    return one


# What is estimated, from how many units, how many data sets, and how many of their intervals have covered the truth.
COVERAGE = {
    "ratio, 2 seeds": (of_ratio(2), 1000, 0.947),
    "ratio, 3 seeds": (of_ratio(3), 1000, 0.947),
    "ratio, 10 seeds": (of_ratio(10), 1000, 0.954),
    "exponent, 3 seeds": (of_exponent(3), 400, 0.9675),
    "exponent, 10 seeds": (of_exponent(10), 400, 0.9425),
    "exponent, 18 configurations": (of_configuration, 400, 0.9625),
    "rank correlation, 10 seeds": (of_correlation(10), 400, 0.9475),
}


@pytest.mark.parametrize("what", COVERAGE)
def test_intervals_cover_the_truth_as_often_as_they_say(what):
    one, repeats, measured = COVERAGE[what]
    rng = np.random.default_rng(1)
    hits = sum(estimate.low <= truth <= estimate.high for estimate, truth in (one(rng) for _ in range(repeats)))
    assert abs(hits / repeats - 0.95) < 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert hits / repeats == pytest.approx(measured, abs=0.01)


def test_a_fit_over_configurations_is_less_sure_than_its_seeds_say():
    table = of_configurations(np.random.default_rng(0)).assign(seed=np.repeat(np.arange(5), 18))
    terms, own = ["n", "m"], ["n", "m", "rate"]
    seeds, configurations = (statistics.exponents(table, "value", terms, unit)["m"] for unit in (["seed"], own))
    assert seeds.value == pytest.approx(configurations.value)
    assert configurations.high - configurations.low > 2 * (seeds.high - seeds.low)
    assert (seeds.n, configurations.n) == (5, 18)


def test_lack_of_fit_is_about_one_where_the_law_holds_and_large_where_it_does_not():
    rng, own = np.random.default_rng(0), ["n", "m"]
    found = [statistics.lack_of_fit(law(seeds=8, own=0, rng=rng), "value", ["n", "m"], own) for _ in range(200)]
    assert np.mean(found) == pytest.approx(63 / 61, abs=4 * np.std(found) / np.sqrt(200))  # the mean of F(6, 63)
    off = law(seeds=8, own=0)
    off["value"] *= np.exp(0.5 * (off.n == 9))
    assert statistics.lack_of_fit(off, "value", ["n", "m"], own) > 10
    with pytest.raises(ValueError, match="more configurations than coefficients"):
        statistics.lack_of_fit(off[off.m == 100], "value", ["n"], ["seed", "n"])


def test_below_five_units_the_values_are_shown():
    table = paired(3, np.random.default_rng(0))
    found = statistics.ratio(table, "value", table.kind == 1, table.kind == 0)
    one, two = (table.value[table.kind == kind].to_numpy() for kind in (1, 0))
    assert found.values == pytest.approx(one / two)
    assert found.text() == f"{found.value:.2f} ({', '.join(f'{value:.2f}' for value in one / two)})"
    alone = table[table.seed == 0]
    assert np.isnan(statistics.ratio(alone, "value", alone.kind == 1, alone.kind == 0).low)
    few = statistics.exponents(law(seeds=3), "value", ["n", "m"])["n"]
    each = [statistics.exponents(rows, "value", ["n", "m"])["n"].value for _, rows in law(seeds=3).groupby("seed")]
    assert few.values == pytest.approx(each)
    assert not statistics.exponents(law(seeds=5), "value", ["n", "m"])["n"].values


def test_a_wrong_exponent_is_excluded():
    found = statistics.exponents(law(), "value", ["n", "m"])
    assert not found["n"].low < -2 < found["n"].high


def test_the_paired_ratio_ignores_what_both_runs_of_a_seed_share():
    table = law(noise=0, own=2.0)
    found = statistics.ratio(
        table[table.m == 100], "value", table[table.m == 100].n == 4, table[table.m == 100].n == 16
    )
    assert found.low == pytest.approx(4) == found.high


def test_unpaired_and_doubled_runs_are_refused():
    table = law(seeds=3)
    with pytest.raises(ValueError, match="twice"):
        statistics.ratio(table, "value", table.n == 4, table.n == 9)
    with pytest.raises(ValueError, match="no seed has both"):
        statistics.ratio(table[table.n == 4], "value", table[table.n == 4].m == 100, table[table.n == 4].m == 101)
    with pytest.raises(ValueError, match="do not vary independently"):
        statistics.exponents(table.assign(k=table.n**2), "value", ["n", "k"])


def test_correlation_between_and_within_groups_are_told_apart():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(5.0), 20)
    inner = rng.standard_normal(100)
    table = pd.DataFrame(
        {"seed": np.tile(np.arange(20), 5), "g": group, "x": group * 9 + inner, "y": group * 9 - inner}
    )
    between, within = (statistics.rank_correlation(table, "x", "y", w) for w in ((), ("g",)))
    assert between.value > 0.8
    assert within.value == pytest.approx(-1)
    assert np.isnan(statistics.rank_correlation(table[table.seed < 2], "x", "y", ("g",)).value)


def test_the_interval_of_a_share_covers_the_truth_at_least_as_often_as_it_says():
    trials, count = np.arange(31), 30
    found = [statistics.share([True] * k + [False] * (count - k)) for k in trials]
    assert found[29].text() == "0.97 [0.83, 1.00]"
    for truth in (0.02, 0.3, 0.5, 0.9):
        covered = np.array([fit.low <= truth <= fit.high for fit in found])
        assert statistics.LEVEL <= binom.pmf(trials, count, truth) @ covered < 1
    with pytest.raises(ValueError, match="at least one case"):
        statistics.share([])
