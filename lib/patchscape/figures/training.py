"""Figures of the chapter on training and the loss landscape."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchscape.figures.drawn import remember
from patchscape.figures.style import INK, LOSS_MAP, WIDTH, colour, decades

if TYPE_CHECKING:
    from patchscape.numerics.planes import Plane  # only its annotation: figures need no JAX

_LINES = ("-", "--", "-.", ":")


def published_curves(curves: pd.DataFrame, crests: Iterable[int]) -> Figure:
    """Draws the published test loss and accuracy of every epoch, one column per n, one line style per depth.

    Args:
        curves: columns n_patches, depth, epoch, valid_loss (nats), valid_acc.
        crests: epochs of full learning rate, marked by grey lines.

    Returns:
        The figure.
    """
    counts = sorted(set(curves.n_patches))
    fig, axes = plt.subplots(2, len(counts), figsize=(WIDTH, 4.6), sharex=True, sharey="row", squeeze=False)
    for (top, bottom), n in zip(axes.T, counts, strict=True):
        for line, (depth, run) in zip(_LINES, curves[curves.n_patches == n].groupby("depth"), strict=False):
            style = {"color": colour(n), "ls": line, "lw": 1.1, "label": f"d = {depth}"}
            top.plot(run.epoch, run.valid_loss, **style)
            bottom.plot(run.epoch, run.valid_acc, **style)
        for ax in (top, bottom):
            for epoch in crests:
                ax.axvline(epoch, color="#dddddd", lw=1.5, zorder=0)
        top.set_yscale("log")
        top.set_title(f"n = {n}", color=colour(n), weight="bold")
        bottom.set(xlabel="epoch")
    decades(axes[0, 0].yaxis)
    axes[0, 0].set_ylabel("test loss (nats)")
    axes[1, 0].set_ylabel("test accuracy")
    depths = sorted(set(curves.depth))
    keys = [Line2D([], [], color=INK, ls=ls, label=f"d = {d}") for ls, d in zip(_LINES, depths, strict=False)]
    keys.append(Line2D([], [], color="#dddddd", lw=1.5, label="full learning rate"))
    fig.legend(handles=keys, loc="outside lower center", ncols=len(keys), handlelength=2.6)
    return fig


def quick_curves(runs: Mapping[int, tuple], rate: np.ndarray) -> Figure:
    """Draws learning rate, training loss, test loss and test accuracy of our runs, every seed one line.

    Args:
        runs: n_patches -> `training.Trained`.
        rate: (E,) learning rate of every epoch, rad.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6), sharex=True)
    axes[0, 0].step(np.arange(len(rate)), rate, where="mid", color=INK)
    panels = ("train_loss", "test_loss", "test_accuracy")
    for n, trained in runs.items():
        for ax, name in zip(axes.flat[1:], panels, strict=True):
            for i, values in enumerate(getattr(trained, name)):
                ax.plot(values, color=colour(n), lw=1.1, alpha=0.8, label=None if i else f"n = {n}")
    names = ("learning rate", "training loss (nats)", "test loss (nats)", "test accuracy")
    for ax, name in zip(axes.flat, names, strict=True):
        ax.set_ylabel(name)
    for ax in axes.flat[1:3]:
        ax.set_yscale("log")
        decades(ax.yaxis)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    axes[0, 1].legend()
    return fig


def surfaces(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], plane: "Plane", n_patches: int
) -> Figure:
    """Draws losses on grids of one plane with a common colour scale, with the path where the plane has one.

    Args:
        panels: (title, first (A,), second (B,), losses (B, A) in nats) each.
        plane: the plane; its coordinates are the path.
        n_patches: gives the path its colour.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.1), squeeze=False)
    norm = LogNorm(min(losses.min() for *_, losses in panels), max(losses.max() for *_, losses in panels))
    levels = np.geomspace(norm.vmin, norm.vmax * 1.0001, 15)
    for ax, (title, first, second, losses) in zip(axes[0], panels, strict=True):
        shown = ax.contourf(first, second, losses, levels, norm=norm, cmap=LOSS_MAP, extend="both")
        remember(shown, first, second, losses)
        if len(plane.coordinates):
            ax.plot(*plane.coordinates.T, color="white", lw=3.5)
            ax.plot(*plane.coordinates.T, "o-", color=colour(n_patches), ms=3, lw=1.5, label="path (projected)")
            ax.plot(*plane.coordinates[0], "s", color=colour(n_patches), mec="white", ms=8, label="start")
        ax.plot(0, 0, "*", color="white", mec="black", ms=13, label="minimum")
        ax.set(xlabel="PC1 (rad)", xlim=first[[0, -1]], ylim=second[[0, -1]], title=title)
        ax.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("PC2 (rad)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    bar = fig.colorbar(shown, ax=axes[0], label="loss (nats)")
    ticks = [t for t in (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100) if norm.vmin <= t <= norm.vmax]
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    bar.minorticks_off()
    return fig
