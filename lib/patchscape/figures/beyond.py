"""Figures of the chapter on models beyond the paper's."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import gmean

from patchscape.figures.style import INK, WIDTH, colour


def against_noise(table: pd.DataFrame) -> Figure:
    """Draws eigenvalue, the same divided by the loss factor, and accuracy against the strength of noise.

    Args:
        table: one row per run with n_patches, noise, lambda_max, per_loss, accuracy.

    Returns:
        The figure: every run as a dot, lines through geometric means (accuracy: means) over seeds.
    """
    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), sharex=True)
    labels = (
        r"$\lambda_{\max}$ (nats / rad$^2$)",
        r"$\lambda_{\max}/(1-e^{-L})$ (nats / rad$^2$)",
        "training accuracy",
    )
    for ax, y, label in zip(axes, ("lambda_max", "per_loss", "accuracy"), labels, strict=True):
        for n, rows in table.groupby("n_patches"):
            ax.plot(rows.noise, rows[y], ".", color=colour(n), alpha=0.5, mew=0)
            mean = rows.groupby("noise")[y].agg(gmean)
            ax.plot(mean.index, mean, "o-", color=colour(n), ms=4, lw=1.2, label=f"n = {n}")
        ax.set(xlabel="depolarising probability", ylabel=label, yscale="linear" if y == "accuracy" else "log")
    axes[2].set_ylim(0, 1.02)
    axes[0].legend()
    return fig


def from_shots(table: pd.DataFrame) -> Figure:
    """Draws curvatures estimated from finite numbers of measurements around the exact one.

    Args:
        table: from `beyond.curvature_from_shots`, one of its shots 0 (exact).

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4))
    exact = table[table.shots == 0].curvature.item()
    measured = table[table.shots > 0]
    for count, rows in measured.groupby("shots"):
        ax.plot(np.full(len(rows), count), rows.curvature, "o", ms=4, alpha=0.6, color=colour(4), mew=0)
        ax.errorbar(
            count * 1.15, rows.curvature.mean(), rows.curvature.std(ddof=1), fmt="s", ms=4, color=INK, capsize=3
        )
    ax.axhline(exact, color=INK, lw=1)
    ax.annotate("exact", (0.3, exact), xycoords=("axes fraction", "data"), ha="center", va="bottom", color=INK)
    ax.set(xscale="log", xlabel="measurements per circuit, observable and image", ylabel="curvature (nats / rad$^2$)")
    return fig
