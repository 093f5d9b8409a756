"""Figures of the theory chapter."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from patchscape.figures.style import INK, colour

_BOUNDS = {"t1": "T1", "t1_uniform": "T1, largest circuit", "t2": "T2, B measured", "t2_a_priori": "T2, a priori"}


def bound_against_measured(table: pd.DataFrame) -> Figure:
    """Draws T1 and T2 against the measured lambda_max of every point, with the line of equality.

    Args:
        table: from `experiments.bound_sweep`.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7, 3.6), sharex=True)
    for ax, name in zip(axes, ("t1", "t2"), strict=True):
        for (n, where), rows in table.groupby(["n_patches", "where"]):
            face = colour(n) if where == "trained" else "none"
            label = f"n = {n}" if where == "trained" else None
            ax.loglog(rows.lambda_max, rows[name], "o", color=colour(n), markerfacecolor=face, label=label)
        low, high = table.lambda_max.min() / 2, table.lambda_max.max() * 2
        ax.plot([low, high], [low, high], color=INK, lw=1)
        ax.set(xlabel=r"measured $\lambda_{\max}(H_\varphi)$ (nats / rad$^2$)", title=_BOUNDS[name])
    axes[0].set_ylabel("bound (nats / rad$^2$)")
    axes[0].legend(title="filled: trained\nopen: start", fontsize=8, title_fontsize=8)
    return fig


_STEPS = {
    "lambda_max": r"$\lambda_{\max}$",
    "weyl": "G and R\napart",
    "t1": "T1",
    "t1_uniform": "T1, largest\ncircuit",
    "t2": "T2,\nB measured",
    "t2_a_priori": "T2,\na priori",
}


def proof_slack(table: pd.DataFrame) -> Figure:
    """Draws how much each step of the proof gives away, as ratios to lambda_max.

    Args:
        table: one row per point with n_patches, lambda_max (on phi) and, in increasing order, those bounds that are
            known: weyl, t1, t1_uniform, t2, t2_a_priori.

    Returns:
        The figure; lines through geometric means.
    """
    steps = [name for name in _STEPS if name in table]
    names = [_STEPS[name] for name in steps]
    fig, ax = plt.subplots(figsize=(7, 3.4))
    for n, rows in table.groupby("n_patches"):
        ratio = rows[steps].div(rows.lambda_max, axis=0)
        ax.semilogy(names, ratio.T.values, "o", color=colour(n), alpha=0.4, markersize=4)
        ax.semilogy(names, np.exp(np.log(ratio).mean()), color=colour(n), label=f"n = {n}")
    ax.set(ylabel=r"value / $\lambda_{\max}$")
    ax.legend(fontsize=8)
    return fig


def coherence(table: pd.DataFrame) -> Figure:
    """Draws the coherence rho against n between its limits 1 and 1/n.

    Args:
        table: from `experiments.bound_sweep`.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(5.5, 3.4))
    n = np.array(sorted(table.n_patches.unique()), float)
    ax.fill_between(n, 1 / n, 1, color="#eeeeee")
    ax.loglog(n, np.ones_like(n), color=INK, lw=1)
    ax.loglog(n, 1 / n, color=INK, lw=1)
    for (value, where), rows in table.groupby(["n_patches", "where"]):
        face = colour(value) if where == "trained" else "none"
        ax.plot(rows.n_patches, rows.coherence, "o", color=colour(value), markerfacecolor=face)
    ax.annotate("circuits agree", (n[-1], 1), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=8)
    ax.annotate(
        "circuits independent", (n[-1], 1 / n[-1]), xytext=(-4, 0), textcoords="offset points", ha="right", fontsize=8
    )
    ax.set(xlabel="number of patches $n$", ylabel=r"coherence $\rho$", xticks=n, xticklabels=[f"{x:.0f}" for x in n])
    ax.minorticks_off()
    return fig


def block_matrix(norms: dict[int, np.ndarray]) -> Figure:
    """Draws the spectral norms of the blocks H_pq of one trained point for each n.

    Args:
        norms: n -> (n, n) norms in nats per rad^2.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, len(norms), figsize=(2.4 * len(norms), 2.6), squeeze=False)
    for ax, (n, matrix) in zip(axes[0], norms.items(), strict=True):
        image = ax.imshow(matrix / matrix.max(), cmap="Greys", vmin=0, vmax=1)
        ax.set(title=f"n = {n}", xticks=[], yticks=[], xlabel="circuit $q$")
    axes[0, 0].set_ylabel("circuit $p$")
    fig.colorbar(image, ax=axes, label=r"$\|H_{pq}\|$ / largest", shrink=0.8)
    return fig


def published_collapse(table: pd.DataFrame) -> Figure:
    """Draws the published lambda_max n, raw and divided by 1 - exp(-L), against the angles of one circuit.

    Args:
        table: columns n_patches, m, raw, scaled; one row per published run.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7, 3.2), sharex=True)
    titles = {"raw": r"$\lambda_{\max}\, n$", "scaled": r"$\lambda_{\max}\, n / (1 - e^{-L})$"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for n, rows in table.groupby("n_patches"):
            ax.loglog(rows.m, rows[name], "D-", color=colour(n), markerfacecolor="none", lw=0.8, label=f"n = {n}")
        ax.set(title=title, xlabel="angles of one circuit $m$")
        ax.set_xticks(sorted(table.m.unique()), [str(v) for v in sorted(table.m.unique())], fontsize=8)
        ax.minorticks_off()
    axes[0].set_ylabel("nats / rad$^2$")
    axes[0].legend(fontsize=8)
    return fig
