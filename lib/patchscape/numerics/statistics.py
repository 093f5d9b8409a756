"""Effect sizes with intervals. The seed is the unit: runs of one seed share their draw of angles and of batches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

RESAMPLES = 4000  # ours
LEVEL = 0.95  # ours


class Estimate(NamedTuple):
    """A number with its bootstrap interval.

    Attributes:
        value: from all runs.
        low: lower end of the percentile interval at `LEVEL`.
        high: upper end.
        n: number of units (seeds).
    """

    value: float
    low: float
    high: float
    n: int

    def text(self, digits: int = 2) -> str:
        """Returns "value [low, high]"."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def ratio(table: pd.DataFrame, column: str, first: pd.Series, second: pd.Series) -> Estimate:
    """Geometric mean over seeds of the ratio of a column between two kinds of run, paired by seed.

    Args:
        table: one row per run with `seed` and `column`.
        column: of positive numbers.
        first: True for the runs in the numerator, at most one per seed.
        second: likewise for the denominator.

    Returns:
        The ratio with its interval from resampled seeds.

    Raises:
        ValueError: if no seed has both kinds, or a seed has one kind twice.
    """
    logs = [np.log(table[mask].set_index("seed")[column]) for mask in (first, second)]
    if not all(values.index.is_unique for values in logs):
        raise ValueError("a seed has one kind of run twice: select one configuration on each side.")
    differences = (logs[0] - logs[1]).dropna().to_numpy()
    if not len(differences):
        raise ValueError(f"no seed has both kinds of run: a paired ratio of {column} needs at least one.")
    draws = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = _interval(differences[draws].mean(1))
    return Estimate(*np.exp([differences.mean(), low, high]).tolist(), len(differences))


def exponents(table: pd.DataFrame, response: str, terms: Sequence[str]) -> dict[str, Estimate]:
    """Exponents of a power law, response ~ product of terms^exponent, by least squares of the logarithms.

    Args:
        table: one row per run with `seed`, the response and the terms, all positive.
        response: column.
        terms: columns.

    Returns:
        One estimate per term, intervals from resampled seeds.

    Raises:
        ValueError: if the terms do not vary independently.
    """
    y = np.log(table[response].to_numpy(float))
    x = np.column_stack([np.ones(len(table)), *(np.log(table[name].to_numpy(float)) for name in terms)])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"the terms {', '.join(terms)} do not vary independently in these {len(table)} runs.")
    seeds = table.seed.to_numpy()
    units = np.unique(seeds)
    # normal equations of every seed: a resample adds up those of the seeds drawn
    xx = np.stack([x[seeds == s].T @ x[seeds == s] for s in units])
    xy = np.stack([x[seeds == s].T @ y[seeds == s] for s in units])
    drawn = np.random.default_rng(0).integers(len(units), size=(RESAMPLES, len(units)))
    fits = np.linalg.solve(xx[drawn].sum(1), xy[drawn].sum(1)[..., None])[..., 0]
    fit = np.linalg.solve(xx.sum(0), xy.sum(0))
    low, high = _interval(fits)
    return {
        name: Estimate(float(fit[i]), float(low[i]), float(high[i]), len(units))
        for i, name in enumerate(terms, start=1)
    }


def rank_correlation(table: pd.DataFrame, x: str, y: str, within: Sequence[str] = ()) -> Estimate:
    """Spearman's rank correlation, between all runs or within groups (mean over groups, weighted by size).

    Args:
        table: one row per run with `seed` and both columns.
        x: column.
        y: column.
        within: columns that make the groups; groups of fewer than four runs are left out.

    Returns:
        The correlation with its interval from resampled seeds; NaN if there is no group.
    """

    def correlation(rows: pd.DataFrame) -> float:
        groups = [rows] if not within else [g for _, g in rows.groupby(list(within))]
        found = [(g[x].corr(g[y], method="spearman"), len(g)) for g in groups if len(g) > 3 and g[x].nunique() > 1]
        found = [(value, weight) for value, weight in found if np.isfinite(value)]
        if not found:
            return float("nan")
        values, weights = zip(*found, strict=True)
        return float(np.average(values, weights=weights))

    rng, units = np.random.default_rng(0), table.seed.unique()
    by_seed = {s: rows for s, rows in table.groupby("seed")}
    draws = [
        correlation(pd.concat([by_seed[s] for s in rng.choice(units, len(units))])) for _ in range(RESAMPLES // 20)
    ]
    low, high = _interval(np.array(draws))  # NaN if a resample has no group
    return Estimate(correlation(table), float(low), float(high), len(units))
