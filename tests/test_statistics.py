"""Intervals that cover what they should, on data with known answers."""

import numpy as np
import pandas as pd
import pytest

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


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = sum(
        estimate.low <= 0.5 <= estimate.high
        for estimate in (statistics.exponents(law(seeds=20, rng=rng), "value", ["n", "m"])["m"] for _ in range(100))
    )
    assert hits >= 84  # 95 are expected; the percentile bootstrap of 20 units is a little too narrow


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
