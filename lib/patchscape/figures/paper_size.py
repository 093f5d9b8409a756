"""Figures of the chapter on the paper's own size: eigenvalues by depth and patches, and spectral densities."""

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchscape.figures.style import ACCENT, INK, MARKERS, PUBLISHED, WIDTH, by_size, colour, decades, size_label

_PARTS = {"hessian": ("-", "$H$"), "gauss_newton": ("--", "$G$")}


def whole_runs(
    curves: Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray, int | None]], crests: Iterable[int]
) -> Figure:
    """Draws whole training runs beside the published ones.

    Args:
        curves: from `tables.published.curves`.
        crests: epochs of full learning rate, marked by grey lines.

    Returns:
        The figure.
    """
    columns = max(2, min(len(curves), 3))
    rows = max(1, -(-len(curves) // columns))
    size = (WIDTH, 0.8 + 1.9 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True, sharex=True)
    for ax in axes.flat[len(curves) :]:
        ax.axis("off")
    for ax, ((n, d), (theirs, ours, leaves)) in zip(axes.flat, curves.items(), strict=False):
        for epoch in crests:
            ax.axvline(epoch, color="#dddddd", lw=1.5, zorder=0)
        ax.semilogy(theirs, label="published", markersize=3.5, **PUBLISHED)
        ax.semilogy(ours, color=colour(n), label="ours")
        if leaves is not None:
            ax.axvline(leaves, color=INK, ls=":", lw=1)
        ax.set_title(size_label(n, d), color=colour(n), weight="bold")
    for column in axes.T:
        lowest = [ax for ax in column if ax.axison][-1:]
        for ax in lowest:
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("mean batch loss (nats)")
    decades(axes[0, 0].yaxis)
    keys = [
        Line2D([], [], markersize=3.5, label="published", **PUBLISHED),
        Line2D([], [], color=INK, label="ours"),
        Line2D([], [], color="#dddddd", lw=1.5, label="full learning rate"),
        Line2D([], [], color=INK, lw=1, ls=":", label="first differ by more than 1 %"),
    ]
    fig.legend(handles=keys, loc="outside lower center", ncols=4)
    return fig


def against_published(table: pd.DataFrame) -> Figure:
    """Draws numbers of our runs against the published ones, a dot for every size.

    Args:
        table: from `tables.published.comparison`.

    Returns:
        The figure: largest eigenvalue and training loss at the minimum; on the line they are equal.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    looks = by_size(table.index)
    for ax, name, label, scale in (
        (axes[0], "lambda_max", r"$\lambda_{\max}$ (nats per rad$^2$)", "log"),
        (axes[1], "train_loss", "training loss (nats)", "linear"),
    ):
        for size, row in table[name].iterrows():
            ax.plot(row.published, row.ours, ls="none", ms=8, **looks[size])
        ends = np.array([table[name].min().min() / 1.15, table[name].max().max() * 1.15])
        ax.plot(ends, ends, color=INK, lw=1, zorder=0)
        ax.set(xscale=scale, yscale=scale, xlabel=f"{label}, published", ylabel=f"{label}, ours")
    decades(axes[0].xaxis, axes[0].yaxis)
    axes[1].locator_params(nbins=5)
    axes[1].legend()
    return fig


def depth_and_patches(ours: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draws the largest eigenvalue against depth and against the number of patches, ours beside published and expected.

    Args:
        ours: one row a run with n_patches, depth, lambda_max (nats per rad^2) and expected_lambda_max, what the
            estimate E2 expects there (NaN if not known).
        published: one row a published point with n_patches, depth, lambda_max.

    Returns:
        The figure, two panels with one scale.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True)
    depths = sorted(published.depth.unique())
    for ax, x, group in ((left, "depth", "n_patches"), (right, "n_patches", "depth")):
        for value, theirs in published.sort_values(x).groupby(group):
            tint = colour(value) if group == "n_patches" else INK
            mark = "D" if group == "n_patches" else MARKERS[depths.index(value) % len(MARKERS)]
            shade = 1 if group == "n_patches" else (depths.index(value) + 1) / len(depths)
            own = ours[ours[group] == value].sort_values(x)
            ax.plot(theirs[x], theirs.lambda_max, lw=0.8, ls=":", color=tint, alpha=shade)
            ax.plot(theirs[x], theirs.lambda_max, **PUBLISHED | {"color": tint, "marker": mark}, ms=6, alpha=shade)
            ax.plot(own[x], own.lambda_max, ls="none", marker=mark, color=tint, ms=7, alpha=shade)
            ax.plot(own[x], own.expected_lambda_max, ls="none", marker="_", color=tint, ms=14, mew=2, alpha=shade)
            word = f"n = {value}" if group == "n_patches" else f"d = {value}"
            first = theirs.iloc[-1] if group == "n_patches" else theirs.iloc[0]
            ax.annotate(
                f" {word}" if group == "n_patches" else f"{word} ",
                (first[x], first.lambda_max),
                xytext=(6 if group == "n_patches" else -6, 0),
                textcoords="offset points",
                ha="left" if group == "n_patches" else "right",
                va="center",
                color=tint,
                fontsize=9,
            )
    left.set(yscale="log", xlabel="layers per block $d$", ylabel=r"$\lambda_{\max}$ (nats per rad$^2$)", xticks=depths)
    left.set_xlim(30, 240)
    patches = sorted(published.n_patches.unique())
    right.set(xscale="log", xlabel="patches $n$")
    right.set_xlim(2.5, 20)
    right.set_xticks(patches, [str(n) for n in patches])
    right.minorticks_off()
    decades(left.yaxis)
    dark = {"color": INK, "ls": "none"}
    marks = [
        Line2D([], [], marker="D", ms=7, label="ours", **dark),
        Line2D([], [], marker="D", ms=6, mfc="none", label="published", **dark),
        Line2D([], [], marker="_", ms=14, mew=2, label="expected of random blocks (E2), at ours", **dark),
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=3)
    return fig


def densities(found: Mapping[tuple[int, int], Mapping[str, np.ndarray]]) -> Figure:
    """Draws the share of eigenvalues beyond a level, of H and of G, from Lanczos quadratures.

    Args:
        found: by (n_patches, depth), density_hessian_values and density_gauss_newton_values (S, k), the Ritz values of
            S random starts (nats per rad^2), and density_hessian_weights and density_gauss_newton_weights likewise.

    Returns:
        The figure, positive levels left and negative ones right: means over starts, bands of two standard errors.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True)
    sizes = sorted(found)
    shades = dict(zip(sizes, np.linspace(1, 0.4, len(sizes)), strict=True))
    for ax, sign in zip(axes, (1, -1), strict=True):
        for size in sizes:
            for part, (line, name) in _PARTS.items():
                nodes, weights = (found[size][f"density_{part}_{what}"] for what in ("values", "weights"))
                if sign < 0 and part == "gauss_newton":  # no negative eigenvalues: what is there is rounding
                    continue
                levels = np.logspace(-4, 1.6, 140)
                starts = zip(nodes, weights, strict=True)
                share = np.array([[w[sign * x > level].sum() for level in levels] for x, w in starts])
                mean, error = share.mean(0), share.std(0, ddof=1) / np.sqrt(len(share))
                look = {"color": colour(size[0]), "alpha": shades[size]}
                ax.plot(levels, mean, ls=line, lw=1.6, label=f"{name}, {size_label(*size)}", **look)
                ax.fill_between(levels, mean - 2 * error, mean + 2 * error, color=look["color"], alpha=0.15, lw=0)
        ax.set(xscale="log", yscale="log", ylim=(1e-5, 2))
        ax.set_xlabel(("level" if sign > 0 else "−level") + r" (nats per rad$^2$)")
        decades(ax.xaxis)
    axes[0].set(ylabel="share of eigenvalues beyond the level", title="positive")
    axes[1].set(title="negative")
    axes[0].legend(loc="lower left")
    return fig


def whole_gauss_newton(
    values: np.ndarray, expected: np.ndarray, nodes: np.ndarray, weights: np.ndarray, n_classes: int
) -> Figure:
    """Draws all eigenvalues of a Gauss-Newton matrix by rank, and their distribution beside Lanczos quadratures.

    Args:
        values: (P,) in decreasing order.
        expected: (k,) the largest ones that the estimate E2 expects, likewise.
        nodes: (S, m) Ritz values of S random starts.
        weights: (S, m) their weights, summing to 1 for each start.
        n_classes: number of classes.

    Returns:
        The figure, two panels.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    floor = values[0] * 1e-8  # below, single-precision products know nothing
    shown = values[values > floor]
    left.plot(np.arange(1, len(shown) + 1), shown, ".", color=colour(4), ms=5, label="measured")
    left.plot(np.arange(1, len(expected) + 1), expected, "_", color=INK, ms=9, label="expected of random blocks")
    left.axvline(n_classes - 0.5, color=INK, lw=1, ls="--")
    left.annotate(" rank C − 1", (n_classes - 0.5, 0.95), xycoords=("data", "axes fraction"), color=INK)
    left.set(xscale="log", yscale="log", xlabel="rank", ylabel=r"eigenvalue of $G$ (nats per rad$^2$)")
    left.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="none")  # over the line
    decades(left.xaxis, left.yaxis)
    levels = values[0] * np.logspace(-8, 0.05, 160)
    beyond = np.array([[w[x > level].sum() for level in levels] for x, w in zip(nodes, weights, strict=True)])
    right.plot(levels, [(values > level).mean() for level in levels], color="black", lw=2, label="exact")
    for number, share in enumerate(beyond):
        label = f"Lanczos quadrature, {len(beyond)} starts" if number == 0 else None
        right.plot(levels, share, color=ACCENT, lw=1, label=label)
    right.set(xscale="log", yscale="log", ylim=(0.3 / len(values), 2))
    right.set(xlabel=r"level (nats per rad$^2$)", ylabel="share of eigenvalues above the level")
    right.legend(loc="lower left")
    decades(right.xaxis)
    return fig
