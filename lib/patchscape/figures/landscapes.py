"""Figures of the stored landscapes: the same planes and lines for several configurations."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from patchscape.figures.drawn import remember
from patchscape.figures.style import (
    ACCENT,
    INK,
    LOSS_MAP,
    PUBLISHED,
    SMALL,
    WIDTH,
    colour,
    decades,
    size_label,
)
from patchscape.store.records import Record

Records = Mapping[tuple[int, int], Record]  # (n_patches, depth) -> stored landscapes; the first seed is drawn

_AXES = {
    "pca": ("PC1 (rad)", "PC2 (rad)"),
    "eigen": ("first eigenvector (rad)", "second (rad)"),
    "random": ("random 1 (lengths of $\\varphi$)", "random 2"),
}
_TITLES = {
    "pca_near": "plane of the path",
    "eigen": "top eigenvectors",
    "random_0": "random",
    "random_1": "random again",
}
_LOSS = "loss (nats)"


def _seats(records: Records) -> tuple[list[int], list[int]]:
    return sorted({n for n, _ in records}), sorted({d for _, d in records})


def _scale(records: Records, names: Sequence[str]) -> LogNorm:
    """One colour scale for all panels of a figure."""
    losses = [record.arrays[f"{name}/loss"][0] for record in records.values() for name in names]
    return LogNorm(min(x.min() for x in losses), max(x.max() for x in losses) * 1.0001)


def _contours(ax: Axes, record: Record, name: str, norm: LogNorm, tint: str) -> None:
    arrays = record.arrays
    levels = np.geomspace(norm.vmin, norm.vmax, 18)
    axes = arrays[f"{name}/axes"][0]
    losses = arrays[f"{name}/loss"][0]
    remember(ax.contourf(*axes, losses, levels, norm=norm, cmap=LOSS_MAP), *axes, losses)
    ax.contour(*axes, losses, levels, colors="white", linewidths=0.25, alpha=0.6)
    if name.startswith("pca"):
        ax.plot(*arrays["coordinates"][0].T, color="white", lw=4)
        ax.plot(*arrays["coordinates"][0].T, "o-", color=tint, ms=3, lw=1.8)
    ax.plot(0, 0, "*", color="white", mec="black", ms=8)
    ax.set(xlim=axes[0, [0, -1]], ylim=axes[1, [0, -1]])
    ax.spines[:].set_visible(True)


def _bar(fig: Figure, norm: LogNorm, axes: np.ndarray | list[Axes], **where: object) -> None:
    bar = fig.colorbar(ScalarMappable(norm, LOSS_MAP), ax=axes, label=_LOSS, **where)
    ticks = [v * 10.0**k for k in range(-5, 4) for v in (1, 3) if norm.vmin <= v * 10.0**k <= norm.vmax]
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    bar.minorticks_off()


def _label_lowest(axes: np.ndarray, text: str) -> None:
    """Labels the lowest panel that is drawn in each column."""
    for column in axes.T:
        lowest = [ax for ax in column if ax.axison][-1]
        lowest.set_xlabel(text)
        lowest.tick_params(labelbottom=True)


def common_window(records: Records, name: str) -> Figure:
    """Draws one kind of plane for every configuration, contours on one colour scale.

    Args:
        records: from `tables.landscapes.read`, at least one.
        name: of the plane, as "pca_wide".

    Returns:
        The figure, a column per n and a row per depth.
    """
    counts, depths = _seats(records)
    size = (WIDTH, 0.5 + 0.92 * WIDTH / (len(counts) + 0.4) * len(depths))
    common = name != "pca_author"  # the author's window follows each path
    fig, axes = plt.subplots(len(depths), len(counts), figsize=size, sharex=common, sharey=common, squeeze=False)
    norm = _scale(records, [name])
    for ax in axes.flat:
        ax.set_axis_off()
    for (n, d), record in records.items():
        ax = axes[depths.index(d), counts.index(n)]
        ax.set_axis_on()
        _contours(ax, record, name, norm, colour(n))
        ax.set_title(size_label(n, d))
        ax.set_aspect("equal")
    across, up = _AXES[name.split("_")[0]]
    _label_lowest(axes, across)
    for ax in axes[:, 0]:
        ax.set_ylabel(up)
    _bar(fig, norm, axes)
    return fig


def common_window_3d(records: Records, name: str) -> Figure:
    """Draws one kind of plane for every configuration in three dimensions, heights and colours on one scale.

    Args:
        records: from `tables.landscapes.read`, at least one.
        name: of the plane, as "pca_wide".

    Returns:
        The figure, a column per n and a row per depth; height is the logarithm of the loss.
    """
    counts, depths = _seats(records)
    fig = plt.figure(figsize=(WIDTH, 6.3 / max(3, len(counts)) * len(depths) + 0.3))  # as high as wide, or lower
    norm = _scale(records, [name])
    across, up = _AXES[name.split("_")[0]]
    axes = []
    for (n, d), record in records.items():
        place = depths.index(d) * len(counts) + counts.index(n) + 1
        ax = fig.add_subplot(len(depths), len(counts), place, projection="3d")
        sides, losses = record.arrays[f"{name}/axes"][0], record.arrays[f"{name}/loss"][0]
        look = {"facecolors": plt.get_cmap(LOSS_MAP)(norm(losses)), "linewidth": 0, "shade": True}
        surface = ax.plot_surface(*np.meshgrid(*sides), np.log10(losses), rcount=99, ccount=99, **look)
        remember(surface, *sides, losses)
        ax.set_zlim(np.log10([norm.vmin, norm.vmax]))
        decades = np.arange(np.ceil(np.log10(norm.vmin)), np.log10(norm.vmax))
        ax.set_zticks(decades, [f"{10.0**k:g}" for k in decades])
        ax.tick_params(labelsize=SMALL, pad=-2)
        ax.set_xlabel(across.replace(" (rad)", ""), size=SMALL, labelpad=-6)
        ax.set_ylabel(up.replace(" (rad)", ""), size=SMALL, labelpad=-6)
        ax.set_title(size_label(n, d), y=0.97)
        ax.view_init(elev=32, azim=-58)
        axes.append(ax)
    _bar(fig, norm, axes, shrink=0.7)
    return fig


def kinds_of_planes(records: Records) -> Figure:
    """Draws four planes through each minimum: of the path, of two eigenvectors, and two random ones.

    Args:
        records: from `tables.landscapes.read`, at least one.

    Returns:
        The figure, a row per configuration, a column per plane, one colour scale for all.
    """
    size = (WIDTH, 1.75 * len(records) + 0.5)
    fig, axes = plt.subplots(len(records), 4, figsize=size, squeeze=False, sharex="col")
    norm = _scale(records, list(_TITLES))
    for row, ((n, d), record) in zip(axes, records.items(), strict=True):
        for ax, name in zip(row, _TITLES, strict=True):
            _contours(ax, record, name, norm, colour(n))
            ax.locator_params(nbins=3)
            if name.startswith("random"):
                ax.set(xticks=(), yticks=())
        row[0].set_ylabel(size_label(n, d), color=colour(n), weight="bold")
    for ax, name in zip(axes[0], _TITLES, strict=True):
        ax.set_title(_TITLES[name])
    for ax, name in zip(axes[-1], _TITLES, strict=True):
        ax.set_xlabel("half a length of $\\varphi$" if name.startswith("random") else _AXES[name.split("_")[0]][0])
    _bar(fig, norm, axes)
    return fig


def quadratic_model(records: Records, line: np.ndarray, *, reach: float = 0.6) -> Figure:
    """Draws the loss along the top eigenvector with the parabola of its slope and curvature.

    Args:
        records: from `tables.landscapes.read`, at least one.
        line: (T,) positions of the stored losses in rad.
        reach: how far to each side to draw, in rad.

    Returns:
        The figure, a column per n and a row per depth.
    """
    counts, depths = _seats(records)
    size = (WIDTH, 2.0 * len(depths) + 0.5)
    fig, axes = plt.subplots(len(depths), len(counts), figsize=size, sharex=True, sharey=True, squeeze=False)
    near = np.abs(line) <= reach + 1e-9
    fine = np.linspace(-reach, reach, 201)
    highest = max(record.arrays["line/top eigenvector"][0, near].max() for record in records.values())
    for ax in axes.flat:
        ax.set_axis_off()
    for (n, d), record in records.items():
        ax, arrays = axes[depths.index(d), counts.index(n)], record.arrays
        ax.set_axis_on()
        losses, curvature = arrays["line/top eigenvector"][0], arrays["eigenvalues"][0, 0]
        model = losses[np.abs(line).argmin()] + arrays["slopes"][0, 0] * fine + curvature / 2 * fine**2
        ax.plot(line[near], losses[near], color=colour(n), lw=2, label="loss")
        ax.plot(fine, model, "--", color=INK, lw=1, label="quadratic model")
        ax.set_title(f"{size_label(n, d)}\n$\\lambda_{{\\max}}$ = {curvature:.3g}", size=9)
        ax.set_ylim(0, 1.05 * highest)
    _label_lowest(axes, "distance (rad)")
    for ax in axes[:, 0]:
        ax.set_ylabel(_LOSS)
    drawn = next(ax for ax in axes.flat if ax.axison)
    fig.legend(*drawn.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def four_directions(records: Records, line: np.ndarray, names: Sequence[str]) -> Figure:
    """Draws the loss along single directions through each minimum, all in rad.

    Args:
        records: from `tables.landscapes.read`, at least one.
        line: (T,) positions of the stored losses in rad.
        names: of the lines.

    Returns:
        The figure, a panel per configuration.
    """
    fig, axes = plt.subplots(1, len(records), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    looks = {
        "top eigenvector": ("-", "black", 2.2),
        "PC1": ("-", ACCENT, 1.6),
        "PC2": ("--", ACCENT, 1.6),
        "random": (":", INK, 1.8),
    }
    for ax, ((n, d), record) in zip(axes[0], records.items(), strict=True):
        for name in names:
            style, tint, width = looks[name]
            ax.plot(line, record.arrays[f"line/{name}"][0], style, color=tint, lw=width, label=name)
        ax.set(yscale="log", xlabel="distance (rad)")
        ax.set_title(size_label(n, d), color=colour(n), weight="bold")
    axes[0, 0].set_ylabel(_LOSS)
    decades(axes[0, 0].yaxis)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), handlelength=2.6)
    return fig


def start_and_other_minima(records: Records, from_start: np.ndarray, between: np.ndarray) -> Figure:
    """Draws the loss on straight lines: from the start to the minimum, and on to the minima of other seeds.

    Args:
        records: from `tables.landscapes.read`, at least one.
        from_start: (T,) positions, 0 at the start and 1 at the minimum.
        between: (U,) positions, 0 at this minimum and 1 at the other.

    Returns:
        The figure; left, one line per configuration; right, one per configuration and other seed.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True)
    depths = _seats(records)[1]
    for (n, d), record in records.items():
        look = {"color": colour(n), "ls": ("-", "--", ":", "-.")[depths.index(d) % 4]}
        left.plot(from_start, record.arrays["from_start"][0], lw=1.7, label=size_label(n, d), **look)
        right.plot(between, record.arrays["between"][0].T, lw=0.8, alpha=0.7, **look)
    for place in (0, 1):
        left.axvline(place, color="#bbbbbb", lw=0.8, zorder=0)
    left.set(yscale="log", xlabel="0: start, 1: minimum", ylabel=_LOSS)
    right.set(xlabel="0: minimum of seed 0, 1: of another")
    decades(left.yaxis)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=2.4)
    return fig


def hidden_by_the_plane(records: Records) -> Figure:
    """Draws what the plane of the path does not show: losses beside it, and how much of each step leaves it.

    Args:
        records: from `tables.landscapes.read`, at least one.

    Returns:
        The figure; top, loss at every epoch and at its shadow; bottom, share of the squared step outside the plane.
    """
    fig, axes = plt.subplots(2, len(records), figsize=(WIDTH, 4.2), sharex=True, sharey="row", squeeze=False)
    for (top, bottom), ((n, d), record) in zip(axes.T, records.items(), strict=True):
        arrays = record.arrays
        epochs = np.arange(len(arrays["path_loss"][0]))
        top.plot(epochs, arrays["path_loss"][0], color=colour(n), lw=2, label="path")
        top.plot(epochs, arrays["projected_loss"][0], "--", color=INK, lw=1.2, label="its shadow")
        top.set_yscale("log")
        top.set_title(size_label(n, d), color=colour(n), weight="bold")
        bottom.plot(epochs[1:], 100 * arrays["step_outside"][0], ".", color=colour(n), ms=4)
        bottom.set(ylim=(0, 102), xlabel="epochs trained")
    axes[0, 0].set_ylabel(_LOSS)
    axes[1, 0].set_ylabel("step outside (%)")
    axes[0, 0].legend()
    decades(axes[0, 0].yaxis)
    return fig


def explained_stored(table: pd.DataFrame, published: pd.DataFrame, nulls: Mapping[str, tuple[float, float]]) -> Figure:
    """Draws the share of variance along PC1 of every stored run beside the published ones, with random walks.

    Args:
        table: one row per stored run with n_patches, depth and pca_1.
        published: columns n_patches, depth, pc1.
        nulls: "stored" and "published" -> least and largest share of PC1 of random walks of equal length.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharey=True)
    sources = (
        (table.rename(columns={"pca_1": "pc1"}), "stored", "ours, every stored run"),
        (published, "published", "published, one run each"),
    )
    for ax, (runs, key, title) in zip(axes, sources, strict=True):
        groups = list(runs.groupby(["n_patches", "depth"]))
        for place, ((n, _), group) in enumerate(groups):
            marker = PUBLISHED if key == "published" else {"marker": "o", "ls": "none", "ms": 3.5, "alpha": 0.7}
            spread = np.linspace(-0.25, 0.25, len(group)) if len(group) > 1 else np.zeros(1)
            ax.plot(place + spread, group.pc1, **(marker | {"color": colour(n)}))
        ax.axhspan(*nulls[key], color=INK, alpha=0.35, lw=0)
        ax.text(0.02, nulls[key][0] - 0.015, "random walks", transform=ax.get_yaxis_transform(), va="top", size=9)
        ax.set_xticks(range(len(groups)), [d for (_, d), _ in groups])
        counts = [n for (n, _), _ in groups]
        for n in dict.fromkeys(counts):
            middle = np.mean([place for place, count in enumerate(counts) if count == n])
            at = {"transform": ax.get_xaxis_transform(), "ha": "center", "color": colour(n), "weight": "bold"}
            ax.text(middle, 0.03, f"n = {n}", size=9, **at)
        ax.set(xlabel="layers per block $d$", ylabel="variance along PC1", ylim=(0.4, 1.02), title=title)
    return fig
