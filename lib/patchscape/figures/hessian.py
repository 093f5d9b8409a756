"""Figures of the chapter on Hessian experiments."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from patchscape.figures.style import INK, MARKERS, PUBLISHED, colour, size_label

_LAMBDA = r"$\lambda_{\max}$ (nats / rad$^2$)"
_SCALED = r"$\lambda_{\max}\, n / (1 - e^{-L})$ (nats / rad$^2$)"


def _runs(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Every run as a small dot, the mean of each group as a large one with one standard deviation."""
    for place, group in table.groupby(x):
        tints = [colour(n) for n in group.n_patches]
        spread = np.linspace(-0.03, 0.03, len(group)) if len(group) > 1 else np.zeros(1)
        ax.scatter(place * np.exp(spread), group[y], s=18, color=tints, alpha=0.6, linewidths=0, zorder=3)
        error = group[y].std(ddof=1) if len(group) > 1 else 0
        ax.errorbar(place, group[y].mean(), error, fmt="_", ms=18, mew=2, color=tints[0], capsize=4, lw=1.4, zorder=2)


def _ticks(ax: Axes, values: np.ndarray) -> None:
    values = sorted(set(values))
    ax.set_xscale("log")
    ax.set_xticks(values, [str(v) for v in values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(values[0] / 1.35, values[-1] * 1.35)


def lambda_against_patches_and_depth(against_patches: pd.DataFrame, against_depth: pd.DataFrame) -> Figure:
    """Draws the largest Hessian eigenvalue at minima against the number of patches and against depth.

    Args:
        against_patches: one row per run with n_patches and lambda_max (nats per rad^2), one depth.
        against_depth: likewise with depth, one n.

    Returns:
        The figure: every run, mean and standard deviation.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.7), sharey=True)
    _runs(left, against_patches, "n_patches", "lambda_max")
    means = against_patches.groupby("n_patches").lambda_max.mean()
    n = np.array(means.index, float)
    if len(n) > 1:
        left.plot(n, means.iloc[0] * n[0] / n, "--", color=INK, lw=1, label=r"$\propto 1/n$ from the first mean")
        left.legend(fontsize=9)
    _ticks(left, against_patches.n_patches)
    left.set(yscale="log", xlabel="number of patches $n$", ylabel=_LAMBDA)
    left.set_title(f"depth d = {against_patches.depth.iloc[0]}", size=11)
    _runs(right, against_depth, "depth", "lambda_max")
    _ticks(right, against_depth.depth)
    right.set(xlabel="layers per block $d$")
    right.set_title(f"n = {against_depth.n_patches.iloc[0]} patches", size=11)
    return fig


def lambda_rescaled(ours: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draws lambda n / (1 - exp(-L)) against the number of angles of one circuit, ours and published side by side.

    Args:
        ours: one row per run with n_patches, angles (per circuit) and scaled (nats per rad^2).
        published: likewise.

    Returns:
        The figure, one colour per n.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.7))
    for ax, table, title in zip(
        axes, (ours, published), ("quick tier, every run", "published, one run each"), strict=True
    ):
        for i, (n, group) in enumerate(table.groupby("n_patches")):
            shift = 1 + 0.02 * (i - 1)  # keeps points of equal depth apart
            style = PUBLISHED if table is published else {"marker": MARKERS[i], "linestyle": "none", "alpha": 0.75}
            style = style | {"color": colour(n), "label": f"n = {n}"}
            ax.plot(group.angles * shift, group.scaled, **style)
        ax.set(xscale="log", yscale="log", xlabel="trainable angles of one circuit $m$")
        values = sorted(set(table.angles))
        ax.set_xticks(values, [str(v) for v in values], fontsize=9)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(values[0] / 1.3, values[-1] * 1.3)
        ax.set_title(title, size=11)
        ax.legend(fontsize=9)
    axes[0].set_ylabel(_SCALED)
    return fig


def not_converged(table: pd.DataFrame) -> Figure:
    """Draws how far the checkpoints are from minima: gradient norm, and the smallest eigenvalue over the largest.

    Args:
        table: one row per run with n_patches, train_loss (nats), gradient_norm (nats per rad), lambda_min, lambda_max.

    Returns:
        The figure.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4))
    for i, (n, group) in enumerate(table.groupby("n_patches")):
        style = {"marker": MARKERS[i], "linestyle": "none", "color": colour(n), "alpha": 0.75, "label": f"n = {n}"}
        left.plot(group.train_loss, group.gradient_norm, **style)
        right.plot(group.train_loss, 100 * group.lambda_min / group.lambda_max, **style)
    right.axhline(0, color=INK, lw=0.8)
    left.set(yscale="log", ylabel="gradient norm (nats / rad)")
    right.set(ylabel=r"$\lambda_{\min} / \lambda_{\max}$ (%)")
    for ax in (left, right):
        ax.set_xlabel("training loss (nats)")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    left.legend(fontsize=9)
    return fig


def replay(runs: Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draws the batch losses of the first epoch as published and as replayed, and their relative difference.

    Args:
        runs: (n_patches, depth) -> (published, replayed) losses in nats, one per iteration; may be empty.

    Returns:
        The figure, two panels per run.
    """
    columns = max(len(runs), 1)
    fig, axes = plt.subplots(
        2, columns, figsize=(max(4.2, 2.4 * columns), 4.6), sharex=True, sharey="row", squeeze=False
    )
    if not runs:
        for ax in axes[:, 0]:
            ax.text(0.5, 0.5, "no stored replay", ha="center", va="center", transform=ax.transAxes)
    for (top, bottom), ((n, d), (published, replayed)) in zip(axes.T, runs.items(), strict=False):
        iteration = np.arange(len(published))
        top.plot(iteration, replayed, color=colour(n), lw=1.4, label="replayed")
        top.plot(iteration, published, **PUBLISHED, ms=3, mew=0.7, label="published")
        top.set(yscale="log", title=size_label(n, d))
        top.title.set_size(11)
        difference = np.abs(replayed - published) / published
        bottom.plot(iteration, np.maximum(difference, 1e-8), ".", color=colour(n))
        bottom.plot(iteration, 5e-6 / published, color=INK, lw=0.8, ls="--", label="last printed digit")
        bottom.set(yscale="log", xlabel="iteration")
    axes[0, 0].set_ylabel("batch loss (nats)")
    axes[1, 0].set_ylabel("relative difference")
    if runs:
        axes[0, 0].legend(fontsize=8)
        axes[1, 0].legend(fontsize=8)
    return fig
