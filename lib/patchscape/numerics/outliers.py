"""Outliers of a spectrum: how many eigenvalues stand above the widest gap, and how wide it is. Needs no JAX."""

import numpy as np


def count_outliers(values: np.ndarray, *, candidates: int) -> int:
    """Counts the eigenvalues above the widest gap, on a logarithmic scale, among the largest ones.

    The rule has no threshold: the count is the rank r in 1 to `candidates` with the largest ratio
    values[r - 1] / values[r]. It always names a gap; `gap_ratio` says how wide it is.

    Args:
        values: eigenvalues in decreasing order.
        candidates: largest count considered.

    Returns:
        The count, 0 if no eigenvalue is positive.

    >>> count_outliers(np.array([9.0, 8.0, 1.0, 0.9, 0.8]), candidates=4)
    2
    """
    positive = values[values > 0][: candidates + 1]
    if len(positive) < 2:
        return len(positive)
    return int(np.argmax(positive[:-1] / positive[1:])) + 1


def gap_ratio(values: np.ndarray, rank: int) -> float:
    """Ratio of the eigenvalue of a rank (from 1) to the next one, infinite if that is not positive."""
    return float(values[rank - 1] / values[rank]) if values[rank] > 0 else float("inf")
