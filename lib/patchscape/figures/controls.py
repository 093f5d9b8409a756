"""Figures of the stored grid: ten seeds a point, one thing changed at a time."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.stats import gmean, gstd

from patchscape import law
from patchscape.figures.style import INK, KINDS, MARKERS, PUBLISHED, WIDTH, by_depth, colour, decades

LABELS = {
    "lambda_max": r"$\lambda_{\max}$ (nats / rad$^2$)",
    "gauss_newton": r"$\lambda_{\max}(G)$ (nats / rad$^2$)",
    "refined_lambda_max": r"$\lambda_{\max}$, refined (nats / rad$^2$)",
    "scaled": r"$\lambda_{\max}\, n / (1 - e^{-L})$ (nats / rad$^2$)",
    "per_loss": r"$\lambda_{\max} / (1 - e^{-L})$ (nats / rad$^2$)",
    "gauss_newton_per_loss": r"$\lambda_{\max}(G) / (1 - e^{-L})$ (nats / rad$^2$)",
    "train_loss": "training loss (nats)",
    "test_loss": "test loss (nats)",
    "gap": "test loss − training loss (nats)",
    "gradient_norm": "gradient norm (nats / rad)",
    "n_patches": "number of patches $n$",
    "depth": "layers per block $d$",
    "learning_rate": "learning rate",
    "stride": "stride (pixels)",
    "n_classes": "number of classes $C$",
    "coherence": r"coherence $\rho$",
    "bias_share": "share of the top eigenvector on the bias",
}


def _tints(values: Sequence, hue: str) -> dict:
    if hue == "n_patches":
        return {value: colour(int(value)) for value in values}
    if hue == "depth":
        return {depth: look["color"] for depth, look in by_depth(values).items()}
    return {value: KINDS[i % len(KINDS)] for i, value in enumerate(values)}


def _dots(ax: Axes, table: pd.DataFrame, x: str, y: str, hue: str, names: Mapping) -> None:
    """Every run as a small dot; geometric mean and standard deviation of each group, joined by a line."""
    values = sorted(table[hue].unique())
    tints = _tints(values, hue)
    for i, value in enumerate(values):
        rows = table[table[hue] == value]
        places = sorted(rows[x].unique())
        shift = 1.04 ** (i - (len(values) - 1) / 2)
        groups = [rows[rows[x] == place][y].dropna() for place in places]
        for place, group in zip(places, groups, strict=True):
            spread = np.exp(np.linspace(-0.015, 0.015, len(group)))
            ax.plot(place * shift * spread, group, ".", color=tints[value], alpha=0.45, ms=5, mew=0)
        middle, factor = np.array([(gmean(g), gstd(g) if len(g) > 1 else 1.0) for g in groups]).T
        look = {"color": tints[value], "marker": MARKERS[i % 6], "ms": 5, "capsize": 3, "lw": 1.2}
        bars = middle - middle / factor, middle * factor - middle
        ax.errorbar(np.array(places) * shift, middle, bars, label=names.get(value, f"{value:g}"), **look)


def runs_against(
    table: pd.DataFrame,
    x: str,
    ys: Sequence[str],
    *,
    hue: str = "n_patches",
    names: Mapping | None = None,
    legend: str = "",
    slope: float | None = None,
) -> Figure:
    """Draws quantities of all runs against one field, one colour per value of another.

    Args:
        table: one row per run; columns named below, all positive.
        x: field on the horizontal axis.
        ys: quantities, one panel each.
        hue: field that sets colour and marker.
        names: labels of its values in the legend.
        legend: title of the legend.
        slope: if given, a dashed line of this power law through the largest mean at the smallest x (at the smallest
            n above 1), but not for the training loss, to which it does not apply.

    Returns:
        The figure: every run as a dot; geometric mean and standard deviation over seeds.
    """
    fig, axes = plt.subplots(1, len(ys), figsize=(WIDTH, 3.8 if len(ys) < 3 else 3.3), squeeze=False)
    for ax, y in zip(axes[0], ys, strict=True):
        _dots(ax, table, x, y, hue, names or {})
        places = np.array(sorted(table[x].unique()), float)
        several = places[places > 1] if x == "n_patches" else places  # a single circuit has no mean to take
        if slope is not None and len(several) > 1 and y != "train_loss":
            first = table[table[x] == several[0]].dropna(subset=[y]).groupby(hue)[y].agg(gmean).max()
            ax.plot(several, first * (several / several[0]) ** slope, "--", color=INK, lw=1)
        ax.set(xscale="log", yscale="log", xlabel=LABELS[x], ylabel=LABELS[y])
        ax.set_xticks(places, [f"{v:g}" for v in places])
        ax.xaxis.set_minor_locator(NullLocator())
        decades(ax.yaxis)
        ax.set_xlim(places[0] / 1.3, places[-1] * 1.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, title=legend, loc="outside lower center", ncols=len(labels))
    return fig


def at_equal_losses(table: pd.DataFrame, y: str) -> Figure:
    """Draws the curvature of runs where they pass preset losses, against the number of patches.

    Args:
        table: from `tables.matched.table`.
        y: column.

    Returns:
        The figure, a panel for each loss: every run as a dot; geometric mean and standard deviation over learning rates
        and seeds.
    """
    presets, places = sorted(table.preset.unique(), reverse=True), sorted(table.n_patches.unique())
    fig, axes = plt.subplots(1, len(presets), figsize=(WIDTH, 3.4), sharey=True, squeeze=False)
    for ax, preset in zip(axes[0], presets, strict=True):
        rows = table[table.preset == preset].dropna(subset=[y])
        _dots(ax, rows, "n_patches", y, "depth", {})
        n = np.array(places, float)
        first = rows[rows.n_patches == n[0]].groupby("depth")[y].agg(gmean).max()
        ax.plot(n, first * n[0] / n, "--", color=INK, lw=1)
        ax.set(xscale="log", yscale="log", xlabel=LABELS["n_patches"])
        ax.set_title("near 1 nat" if preset == 1 else f"near {preset:g} nats")
        ax.set_xticks(places, [str(place) for place in places])
        ax.xaxis.set_minor_locator(NullLocator())
        decades(ax.yaxis)
    axes[0, 0].set_ylabel(LABELS.get(y, y))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, title="depth $d$", loc="outside lower center", ncols=len(labels))
    return fig


def with_published(table: pd.DataFrame, published: pd.DataFrame, quantity: str = "lambda_max") -> Figure:
    """Draws the eigenvalue against patches for every depth, our runs beside the published ones.

    Args:
        table: one row per run with n_patches, depth and the quantity.
        published: likewise, with lambda_max.
        quantity: column of the table, lambda_max or gauss_newton.

    Returns:
        The figure, two panels with one scale.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    _dots(left, table, "n_patches", quantity, "depth", {})
    for d, rows in published.groupby("depth"):
        style = PUBLISHED | {"color": _tints(sorted(published.depth.unique()), "depth")[d], "label": f"{d}"}
        right.plot(rows.n_patches, rows.lambda_max, **style | {"linestyle": "-", "lw": 0.8})
    panels = (left, table, quantity, "stored grid"), (right, published, "lambda_max", "published, one run each")
    for ax, rows, column, title in panels:
        tints, label = _tints(sorted(rows.depth.unique()), "depth"), r"$\propto 1/n$ from $n = 4$"
        for d, tint in tints.items():
            several = rows[(rows.depth == d) & (rows.n_patches >= 4)].dropna(subset=[column])
            means = several.groupby("n_patches")[column].agg(gmean)
            n = np.array(means.index, float)
            if len(n) > 1:  # an unfinished grid may have no more at some depth
                ax.plot(n, means.iloc[0] * n[0] / n, ":", color=tint, lw=1, label=label)
                label = None
        ticks = sorted(rows.n_patches.unique())
        ax.set(xscale="log", yscale="log", xlabel=LABELS["n_patches"], ylabel=LABELS[column], title=title)
        ax.set_xticks(ticks, [str(v) for v in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        decades(ax.yaxis)
        ax.legend(title="depth $d$")
    return fig


def checkpoint_and_refined(table: pd.DataFrame) -> Figure:
    """Draws every run before and after refinement: eigenvalue, and the same divided by the loss factor.

    Args:
        table: one row per run with n_patches, depth, lambda_max, train_loss and their refined values.

    Returns:
        The figure; an arrow per run from the checkpoint to the refined point.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharex=True)
    for n, rows in table.groupby("n_patches"):
        for ax, power in ((left, 0), (right, 1)):
            before = rows.lambda_max / law.loss_factor(rows.train_loss) ** power
            after = rows.refined_lambda_max / law.loss_factor(rows.refined_train_loss) ** power
            ax.plot([rows.train_loss, rows.refined_train_loss], [before, after], color=colour(n), lw=0.7, alpha=0.6)
            ax.plot(rows.train_loss, before, "o", ms=3, color=colour(n), label=f"n = {n}")
            ax.plot(rows.refined_train_loss, after, "o", ms=3, color=colour(n), mfc="white")
    left.set(ylabel=LABELS["lambda_max"])
    right.set(ylabel=LABELS["per_loss"])
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel=LABELS["train_loss"])
        decades(ax.xaxis, ax.yaxis)
    left.legend(title="filled: checkpoint\nopen: refined")
    return fig


def generalisation(table: pd.DataFrame, quantity: str = "lambda_max") -> Figure:
    """Draws test loss and generalisation gap against the eigenvalue, every run.

    Args:
        table: one row per run with n_patches, depth, test_loss, gap and the quantity.
        quantity: column of the table, lambda_max or gauss_newton.

    Returns:
        The figure, two panels; colour is n, marker the depth.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), sharex=True)
    depths = sorted(table.depth.unique())
    for (n, d), rows in table.groupby(["n_patches", "depth"]):
        for ax, y in zip(axes, ("test_loss", "gap"), strict=True):
            look = {"marker": MARKERS[depths.index(d) % 6], "ms": 4.5, "ls": "none", "alpha": 0.75}
            ax.plot(rows[quantity], rows[y], color=colour(n), label=f"n = {n}, d = {d}", **look)
            ax.set(xscale="log", xlabel=LABELS[quantity], ylabel=LABELS[y])
            decades(ax.xaxis)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(depths), 4))
    return fig


def bound_stored(table: pd.DataFrame) -> Figure:
    """Draws T1 against the eigenvalue on phi, and the coherence against n, at every stored minimum.

    Args:
        table: one row per run with n_patches, lambda_max_phi, t1, coherence.

    Returns:
        The figure.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    for n, rows in table.groupby("n_patches"):
        left.plot(rows.lambda_max_phi, rows.t1, "o", ms=4, alpha=0.7, color=colour(n), label=f"n = {n}")
        places = n * np.exp(np.linspace(-0.05, 0.05, len(rows)))
        right.plot(places, rows.coherence, "o", ms=3.5, alpha=0.7, color=colour(n))
    ends = np.array([table.lambda_max_phi.min() / 1.5, table.t1.max() * 1.5])
    left.plot(ends, ends, color=INK, lw=1)
    left.set(xscale="log", yscale="log", xlabel=r"$\lambda_{\max}(H_\varphi)$ (nats / rad$^2$)")
    left.set_ylabel("T1 (nats / rad$^2$)")
    left.legend()
    decades(left.xaxis, left.yaxis)
    n = np.array(sorted(table.n_patches.unique()), float)
    right.plot(n, np.ones_like(n), color=INK, lw=1)
    right.plot(n, 1 / n, color=INK, lw=1)
    right.fill_between(n, 1 / n, 1, color="#eeeeee", zorder=0)
    right.set(xscale="log", yscale="log", xlabel=LABELS["n_patches"], ylabel=LABELS["coherence"])
    right.set_xticks(n, [f"{v:g}" for v in n])
    right.xaxis.set_minor_locator(NullLocator())
    decades(right.yaxis)
    return fig
