"""Figures of the chapter on training and the loss landscape."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from patchscape.figures.drawn import remember
from patchscape.figures.style import INK, PUBLISHED, colour

if TYPE_CHECKING:
    from patchscape.numerics.planes import Plane  # only its annotation: figures need no JAX

_LINES = ("-", "--", "-.", ":")


def published_curves(curves: pd.DataFrame) -> Figure:
    """Draws the published test loss and accuracy of every epoch, one column per n, one line style per depth.

    Args:
        curves: columns n_patches, depth, epoch, valid_loss (nats), valid_acc.

    Returns:
        The figure.
    """
    counts = sorted(set(curves.n_patches))
    fig, axes = plt.subplots(2, len(counts), figsize=(7.6, 4.8), sharex=True, sharey="row", squeeze=False)
    for (top, bottom), n in zip(axes.T, counts, strict=True):
        for line, (depth, run) in zip(_LINES, curves[curves.n_patches == n].groupby("depth"), strict=False):
            style = {"color": colour(n), "ls": line, "lw": 1.2, "label": f"d = {depth}"}
            top.plot(run.epoch, run.valid_loss, **style)
            bottom.plot(run.epoch, run.valid_acc, **style)
        top.set(title=f"n = {n}", yscale="log")
        top.title.set_size(11)
        bottom.set(xlabel="epoch")
        bottom.legend(fontsize=7.5, loc="lower left", handlelength=1.8)
    axes[0, 0].set_ylabel("test loss (nats)")
    axes[1, 0].set_ylabel("test accuracy")
    return fig


def quick_curves(runs: Mapping[int, tuple], rate: np.ndarray) -> Figure:
    """Draws learning rate, training loss, test loss and test accuracy of our runs, every seed one line.

    Args:
        runs: n_patches -> `training.Trained`.
        rate: (E,) learning rate of every epoch, rad.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(2, 2, figsize=(7.4, 5.2), sharex=True)
    axes[0, 0].step(np.arange(len(rate)), rate, where="mid", color=INK)
    panels = ("train_loss", "test_loss", "test_accuracy")
    for n, trained in runs.items():
        for ax, name in zip(axes.flat[1:], panels, strict=True):
            for i, values in enumerate(getattr(trained, name)):
                ax.plot(values, color=colour(n), lw=1.1, alpha=0.8, label=None if i else f"n = {n}")
    names = ("learning rate (rad)", "training loss (nats)", "test loss (nats)", "test accuracy")
    for ax, name in zip(axes.flat, names, strict=True):
        ax.set_ylabel(name)
    for ax in axes.flat[1:3]:
        ax.set_yscale("log")
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    axes[0, 1].legend(fontsize=9)
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
    fig, axes = plt.subplots(1, len(panels), figsize=(3.8 * len(panels) + 0.4, 3.7), squeeze=False)
    norm = LogNorm(min(losses.min() for *_, losses in panels), max(losses.max() for *_, losses in panels))
    levels = np.geomspace(norm.vmin, norm.vmax * 1.0001, 15)
    for ax, (title, first, second, losses) in zip(axes[0], panels, strict=True):
        shown = ax.contourf(first, second, losses, levels, norm=norm, cmap="Greys", extend="both")
        remember(shown, first, second, losses)
        if len(plane.coordinates):
            ax.plot(*plane.coordinates.T, "o-", color=colour(n_patches), ms=3, lw=1.3, label="path (projected)")
            ax.plot(*plane.coordinates[0], "s", color=colour(n_patches), mec="white", ms=8, label="start")
        ax.plot(0, 0, "*", color="white", mec=INK, ms=14, label="minimum")
        ax.set(xlabel="first direction (rad)", xlim=first[[0, -1]], ylim=second[[0, -1]])
        ax.set_title(title, size=11)
        ax.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("second direction (rad)")
    axes[0, 0].legend(fontsize=8, frameon=True, facecolor="white", framealpha=0.85)
    bar = fig.colorbar(shown, ax=axes[0], label="loss (nats)")
    decades = [t for t in (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100) if norm.vmin <= t <= norm.vmax]
    bar.set_ticks(decades, labels=[f"{t:g}" for t in decades])
    bar.minorticks_off()
    return fig


def random_surface(grid: tuple[np.ndarray, np.ndarray, np.ndarray], tight: tuple, n_patches: int) -> Figure:
    """Draws the loss along the axes of a random plane beside that along the axes of the path's plane.

    Args:
        grid: (first, second, losses (B, A) in nats) of the random plane, coordinates in units of the directions.
        tight: (distance (A,) in rad, loss along the first and along the second principal component, loss along the
            first and along the second random direction), in nats.
        n_patches: colour.

    Returns:
        The figure.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.6))
    first, second, losses = grid
    levels = np.geomspace(losses.min(), losses.max() * 1.0001, 15)
    shown = left.contourf(first, second, losses, levels, norm=LogNorm(levels[0], levels[-1]), cmap="Greys")
    remember(shown, first, second, losses)
    left.plot(0, 0, "*", color="white", mec=INK, ms=14)
    left.set(xlabel="first random direction", ylabel="second random direction")
    left.spines[:].set_visible(True)
    bar = fig.colorbar(shown, ax=left, label="loss (nats)")
    decades = [t for t in (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100) if levels[0] <= t <= levels[-1]]
    bar.set_ticks(decades, labels=[f"{t:g}" for t in decades])
    bar.minorticks_off()
    distance, *lines = tight
    names = ("PC1", "PC2", "random 1", "random 2")
    for name, values, line in zip(names, lines, ("-", "--", "-", "--"), strict=True):
        right.plot(distance, values, line, color=colour(n_patches) if "PC" in name else INK, label=name)
    right.set(yscale="log", xlabel="distance from the minimum (rad)", ylabel="loss (nats)")
    right.legend(fontsize=9)
    return fig


def explained(ours: pd.DataFrame, published: pd.DataFrame, null_ours: float, null_published: float) -> Figure:
    """Draws the share of variance of the first principal component, ours and published, with the random-walk values.

    Args:
        ours: columns n_patches, pc1.
        published: columns n_patches, pc1.
        null_ours: share for a random walk of as many steps as our runs.
        null_published: likewise for the published runs.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.3), sharey=True)
    tables = (ours, null_ours, "quick tier, every seed"), (published, null_published, "published, four depths")
    for ax, (table, null, title) in zip(axes, tables, strict=True):
        counts = sorted(set(table.n_patches))
        for place, n in enumerate(counts):
            values = table[table.n_patches == n].pc1
            spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
            marker = PUBLISHED if table is published else {"marker": "o", "linestyle": "none"}
            ax.plot(place + spread, values, **(marker | {"color": colour(n)}))
        ax.axhline(null, color=INK, ls="--", lw=1.2)
        ax.text(0.02, null - 0.015, "random walk", transform=ax.get_yaxis_transform(), va="top", size=9)
        ax.set(xticks=range(len(counts)), xlabel="number of patches $n$", ylim=(0.4, 1.02))
        ax.set_xticklabels([str(n) for n in counts])
        ax.set_xlim(-0.5, len(counts) - 0.5)
        ax.set_title(title, size=11)
    axes[0].set_ylabel("variance along PC1")
    return fig


def path_against_plane(full: np.ndarray, true: np.ndarray, projected: np.ndarray, n_patches: int) -> Figure:
    """Draws the loss of every epoch's parameters and that of their shadows on a plane.

    Args:
        full: (E,) training loss as recorded after every epoch, with the bias of that epoch, nats.
        true: (E + 1,) loss of the path's phi with the bias frozen, nats.
        projected: (E + 1,) loss at the projections onto the plane, nats.
        n_patches: colour.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(6.6, 3.6))
    epochs = np.arange(len(true))
    ax.plot(epochs[1:], full, **PUBLISHED | {"marker": "x", "color": INK}, label="recorded (own bias, all images)")
    ax.plot(epochs, true, "o-", ms=4, color=colour(n_patches), label="path (bias frozen)")
    ax.plot(epochs, projected, "s--", ms=4, color="#999999", label="its projection onto the plane")
    ax.set(yscale="log", xlabel="epochs trained", ylabel="loss (nats)")
    ax.legend(fontsize=9)
    return fig
