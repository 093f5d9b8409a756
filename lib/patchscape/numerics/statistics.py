"""Effect sizes with intervals. What varies independently is the unit: the seed, or the configuration.

Runs of one seed share their draw of angles and of batches, so the seed is the unit of a comparison between given
configurations. An exponent that is meant for other configurations too has the configuration as its unit: no number of
seeds says how well a power law describes what lies between.

Every interval is value +- t s, with s the jackknife's standard error over the units and t Student's quantile of one
degree of freedom less than there are units {cite}`efron1982jackknife`; for a mean it is the usual t interval. The tests
hold a table of how often they cover the truth.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

LEVEL = 0.95  # ours
FEW = 5  # ours: below, the values say more than an interval
_ONE = 1 - 1e-12  # ours: a correlation of one has no finite Fisher transform


class Estimate(NamedTuple):
    """A number with its interval.

    Attributes:
        value: from all runs.
        low: lower end of the interval at `LEVEL`, NaN for a single unit.
        high: upper end.
        n: number of units.
        values: what each unit gives alone, if there are fewer than `FEW`, else empty.
    """

    value: float
    low: float
    high: float
    n: int
    values: tuple[float, ...] = ()

    def text(self, digits: int = 2) -> str:
        """Returns "value [low, high]", with few units "value (first, second, ...)", with minus signs, not hyphens."""
        if self.values:
            text = f"{self.value:.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in self.values)})"
        else:
            text = f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return text.replace("-", "−")


def _interval(value: np.ndarray, without: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of a value (...), from those without one unit each (units, ...)."""
    count = len(without)
    if count < 2:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    error = np.sqrt((count - 1) * np.var(without, axis=0))
    half = student.ppf((1 + LEVEL) / 2, count - 1) * error
    return value - half, value + half


def ratio(table: pd.DataFrame, column: str, first: pd.Series, second: pd.Series) -> Estimate:
    """Geometric mean over seeds of the ratio of a column between two kinds of run, paired by seed.

    Args:
        table: one row per run with `seed` and `column`.
        column: of positive numbers.
        first: True for the runs in the numerator, at most one per seed.
        second: likewise for the denominator.

    Returns:
        The ratio with Student's interval for the mean of its logarithm.

    Raises:
        ValueError: if no seed has both kinds, or a seed has one kind twice.
    """
    logs = [np.log(table[mask].set_index("seed")[column]) for mask in (first, second)]
    if not all(values.index.is_unique for values in logs):
        raise ValueError("a seed has one kind of run twice: select one configuration on each side.")
    differences = (logs[0] - logs[1]).dropna().to_numpy()
    count = len(differences)
    if not count:
        raise ValueError(f"no seed has both kinds of run: a paired ratio of {column} needs at least one.")
    mean = differences.mean()
    without = (differences.sum() - differences) / max(count - 1, 1)
    values = tuple(np.exp(differences).tolist()) if count < FEW else ()
    value, low, high = np.exp([mean, *_interval(mean, without)]).tolist()
    return Estimate(value, low, high, count, values)


def exponents(
    table: pd.DataFrame, response: str, terms: Sequence[str], unit: Sequence[str] = ("seed",)
) -> dict[str, Estimate]:
    """Exponents of a power law, response ~ product of terms^exponent, by least squares of the logarithms.

    Args:
        table: one row per run with the response and the terms, all positive, and the columns of the unit.
        response: column.
        terms: columns.
        unit: columns that tell the units apart: the seed, or those of a configuration.

    Returns:
        One estimate per term.

    Raises:
        ValueError: if the terms do not vary independently, or would not without one unit.
    """
    x, y = _logarithms(table, response, terms)
    runs = f"in these {len(table)} runs."
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"the terms {', '.join(terms)} do not vary independently {runs}")
    codes = table.groupby(list(unit), dropna=False).ngroup().to_numpy()
    units = [codes == code for code in np.unique(codes)]
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    without = np.stack([_fit(x[~rows], y[~rows]) for rows in units]) if len(units) > 1 else fit[None]
    if np.isnan(without).any():
        raise ValueError(
            f"without one {' and '.join(unit)} the terms {', '.join(terms)} do not vary independently {runs}"
        )
    alone = np.stack([_fit(x[rows], y[rows]) for rows in units]) if len(units) < FEW else np.full((1, len(fit)), np.nan)
    low, high = _interval(fit, without)
    return {
        name: Estimate(
            float(fit[i]),
            float(low[i]),
            float(high[i]),
            len(units),
            () if np.isnan(alone).any() else tuple(alone[:, i].tolist()),
        )
        for i, name in enumerate(terms, start=1)
    }


def share(cases: Iterable[object]) -> Estimate:
    """Share of the cases that are true, with the exact binomial interval {cite}`clopper1934use`.

    Args:
        cases: true or false each, as if they were independent; at least one.

    Returns:
        The share; the interval covers the truth in at least `LEVEL` of all cases.

    Raises:
        ValueError: if there is no case.
    """
    found = [bool(case) for case in cases]
    if not found:
        raise ValueError("a share needs at least one case.")
    ends = binomtest(sum(found), len(found)).proportion_ci(LEVEL)
    return Estimate(sum(found) / len(found), float(ends.low), float(ends.high), len(found))


def lack_of_fit(table: pd.DataFrame, response: str, terms: Sequence[str], configuration: Sequence[str]) -> float:
    """Says how much more the means of configurations scatter about a power law than their seeds explain.

    Args:
        table: one row per run with the response and the terms, all positive.
        response: column.
        terms: columns, the same for all runs of a configuration or nearly so: their means of logarithms count.
        configuration: columns that tell configurations apart.

    Returns:
        F, the ratio of the mean square of the configurations' residuals to that of the runs within configurations
        {cite}`draper1998applied`; about one if the law describes the means as well as the seeds let us see.

    Raises:
        ValueError: if there are no more configurations than coefficients, or every configuration has one run.
    """
    x, y = _logarithms(table, response, terms)
    groups = table.groupby(list(configuration), dropna=False).ngroup().to_numpy()
    count, (runs, coefficients) = groups.max() + 1, x.shape
    if count <= coefficients or runs == count:
        raise ValueError(
            f"{runs} runs of {count} configurations say nothing of the fit of {coefficients} coefficients: give more "
            "configurations than coefficients, and several runs of each."
        )
    size = np.bincount(groups)
    mean = np.stack([np.bincount(groups, column) / size for column in (*x.T, y)], axis=1)
    root = np.sqrt(size)[:, None]
    fit = _fit(root * mean[:, :-1], root[:, 0] * mean[:, -1])
    between = np.sum(size * np.square(mean[:, -1] - mean[:, :-1] @ fit)) / (count - coefficients)
    within = np.sum(np.square((y - x @ fit) - (mean[:, -1] - mean[:, :-1] @ fit)[groups])) / (runs - count)
    return float(between / within)


def _logarithms(table: pd.DataFrame, response: str, terms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    y = np.log(table[response].to_numpy(float))
    return np.column_stack([np.ones(len(table)), *(np.log(table[name].to_numpy(float)) for name in terms)]), y


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of least squares, NaN where they are not determined."""
    fit, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    return fit if rank == x.shape[1] else np.full(x.shape[1], np.nan)


def rank_correlation(table: pd.DataFrame, x: str, y: str, within: Sequence[str] = ()) -> Estimate:
    """Spearman's rank correlation, between all runs or within groups (mean over groups, weighted by size).

    Args:
        table: one row per run with `seed` and both columns.
        x: column.
        y: column.
        within: columns that make the groups; groups of fewer than four runs are left out.

    Returns:
        The correlation with the interval of its Fisher transform, the seed as unit; NaN if there is no group.
    """

    def transformed(rows: pd.DataFrame) -> float:
        groups = [rows] if not within else [g for _, g in rows.groupby(list(within))]
        found = [(g[x].corr(g[y], method="spearman"), len(g)) for g in groups if len(g) > 3 and g[x].nunique() > 1]
        found = [(value, weight) for value, weight in found if np.isfinite(value)]
        if not found:
            return float("nan")
        values, weights = zip(*found, strict=True)
        return float(np.arctanh(np.clip(np.average(values, weights=weights), -_ONE, _ONE)))

    seeds = table.seed.unique()
    value = np.array(transformed(table))
    without = np.array([transformed(table[table.seed != seed]) for seed in seeds])
    mean, low, high = np.tanh([value, *_interval(value, without)]).tolist()
    return Estimate(mean, low, high, len(seeds))
