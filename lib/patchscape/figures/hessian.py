"""Figures of the chapter on Hessian experiments."""

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from patchscape.figures.style import INK, MARKERS, PUBLISHED, WIDTH, by_size, colour, decades, name_ends

_LAMBDA = r"$\lambda_{\max}$ (nats / rad$^2$)"
_SCALED = r"$\lambda_{\max}\, n / (1 - e^{-L})$ (nats / rad$^2$)"


def _runs(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Every run as a small dot, the mean of each group as a large one with one standard deviation."""
    for place, group in table.groupby(x):
        tints = [colour(n) for n in group.n_patches]
        spread = np.linspace(-0.07, 0.07, len(group)) if len(group) > 1 else np.zeros(1)
        ax.scatter(place * np.exp(spread), group[y], s=18, color=tints, alpha=0.6, linewidths=0, zorder=3)
        error = group[y].std(ddof=1) if len(group) > 1 else 0
        ax.errorbar(place, group[y].mean(), error, fmt="_", ms=18, mew=2, color=tints[0], capsize=4, lw=1.4, zorder=2)


def _ticks(ax: Axes, values: Iterable[int]) -> None:
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
        The figure: every run, mean and standard deviation. The line of 1/n begins at the smallest n above 1: a single
        circuit sees the middle of the image only.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, width_ratios=(1.5, 1))
    _runs(left, against_patches, "n_patches", "lambda_max")
    means = against_patches[against_patches.n_patches > 1].groupby("n_patches").lambda_max.mean()
    n = np.array(means.index, float)
    _ticks(left, against_patches.n_patches)
    left.set(yscale="log", xlabel="number of patches $n$", ylabel=_LAMBDA)
    if len(n) > 1:
        left.plot(n, means.iloc[0] * n[0] / n, "--", color=INK, lw=1, label=r"$\propto 1/n$")
        place = (n[-1], means.iloc[0] * n[0] / n[-1])
        left.annotate(r"$\propto 1/n$", place, (4, 6), textcoords="offset points", ha="center", color=INK)
    left.set_title(f"depth d = {against_patches.depth.iloc[0]}")
    _runs(right, against_depth, "depth", "lambda_max")
    _ticks(right, against_depth.depth)
    right.set(xlabel="layers per block $d$")
    right.set_title(f"n = {against_depth.n_patches.iloc[0]} patches")
    decades(left.yaxis)
    return fig


def lambda_rescaled(ours: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draws lambda n / (1 - exp(-L)) against the number of angles of one circuit, ours and published side by side.

    Args:
        ours: one row per run with n_patches, angles (per circuit) and scaled (nats per rad^2).
        published: likewise.

    Returns:
        The figure, one colour per n.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
    for ax, table, title in zip(axes, (ours, published), ("ours, every run", "published, one run each"), strict=True):
        ends = []
        for i, (n, group) in enumerate(table.groupby("n_patches")):
            shift = 1 + 0.02 * (i - 1)  # keeps points of equal depth apart
            style = PUBLISHED if table is published else {"marker": MARKERS[i], "linestyle": "none", "alpha": 0.75}
            style = style | {"color": colour(n), "label": f"n = {n}"}
            ax.plot(group.angles * shift, group.scaled, **style)
            last = group[group.angles == group.angles.max()]
            ends.append((last.angles.max() * shift, np.exp(np.log(last.scaled).mean()), f"n = {n}", colour(n)))
        ax.set(xscale="log", yscale="log", xlabel="trainable angles of one circuit $m$", title=title)
        values = sorted(set(table.angles))
        ax.set_xticks(values, [str(v) for v in values])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(values[0] / 1.3, values[-1] * 1.6)
        decades(ax.yaxis)
        name_ends(ax, ends)
    axes[0].set_ylabel(_SCALED)
    return fig


def not_converged(table: pd.DataFrame) -> Figure:
    """Draws how far the checkpoints are from minima: gradient norm, and the smallest eigenvalue over the largest.

    Args:
        table: one row per run with n_patches, train_loss (nats), gradient_norm (nats per rad), lambda_min, lambda_max.

    Returns:
        The figure.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    for i, (n, group) in enumerate(table.groupby("n_patches")):
        style = {"marker": MARKERS[i], "linestyle": "none", "color": colour(n), "alpha": 0.75, "label": f"n = {n}"}
        left.plot(group.train_loss, group.gradient_norm, **style)
        right.plot(group.train_loss, 100 * group.lambda_min / group.lambda_max, **style)
    right.axhline(0, color=INK, lw=0.8)
    left.set(yscale="log", ylabel="gradient norm (nats / rad)")
    right.set(ylabel=r"$\lambda_{\min} / \lambda_{\max}$ (%)")
    for ax in (left, right):
        ax.set(xlabel="training loss (nats)", xscale="log")
        decades(ax.xaxis)
    decades(left.yaxis)
    left.legend()
    return fig


def replay(runs: Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draws the batch losses of the first epoch as published and as replayed, and their relative difference.

    Args:
        runs: (n_patches, depth) -> (published, replayed) losses in nats, one per iteration; may be empty.

    Returns:
        The figure: top, every run; bottom, the differences, and what the rounding of the printed numbers can make.
    """
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 5.4), sharex=True, height_ratios=(1.15, 1))
    if not runs:
        for ax in (top, bottom):
            ax.text(0.5, 0.5, "no stored replay", ha="center", va="center", transform=ax.transAxes)
    looks, ends = by_size(runs), []
    for (n, d), (published, replayed) in runs.items():
        look = looks[n, d]
        iteration = np.arange(len(published))
        label = {"label": f"replayed, {look['label']}"}
        top.plot(iteration, replayed, lw=1.4, **look | {"marker": ""} | label)
        shape = {"ms": 3, "mew": 0.7, "color": look["color"], "alpha": look["alpha"]}
        top.plot(iteration, published, **PUBLISHED | shape, label=f"published, {look['label']}")
        difference = np.maximum(np.abs(replayed - published) / published, 1e-8)
        bottom.plot(iteration, difference, **look | label, ls="none", ms=3.5)
        bottom.plot(iteration, 5e-6 / published, ls="--", lw=0.8, color=look["color"], label="last printed digit")
        ends.append((iteration[-1], replayed[-1], look["label"], look["color"]))
    top.set(yscale="log", ylabel="batch loss (nats)")
    bottom.set(yscale="log", xlabel="iteration", ylabel="relative difference")
    bottom.set_title("dashed: half a unit of the last printed digit", loc="right", size=9)
    decades(top.yaxis)
    name_ends(top, ends)
    return fig
