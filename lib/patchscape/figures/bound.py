"""Figures of the theory chapter."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.stats import gmean

from patchscape.figures.style import INK, PUBLISHED, WIDTH, colour, decades

_BOUNDS = {"t1": "T1", "t1_uniform": "T1, largest circuit", "t2": "T2, B measured", "t2_a_priori": "T2, a priori"}


def bound_against_measured(table: pd.DataFrame) -> Figure:
    """Draws T1 and T2 against the measured lambda_max of every point, with the line of equality.

    Args:
        table: from `sweeps.bound_sweep`.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharex=True)
    for ax, name in zip(axes, ("t1", "t2"), strict=True):
        for (n, where), rows in table.groupby(["n_patches", "where"]):
            face = colour(n) if where == "trained" else "none"
            label = f"n = {n}" if where == "trained" else None
            ax.loglog(rows.lambda_max, rows[name], "o", color=colour(n), markerfacecolor=face, label=label)
        low, high = table.lambda_max.min() / 2, table.lambda_max.max() * 2
        ax.plot([low, high], [low, high], color=INK, lw=1)
        ax.set(xlabel=r"measured $\lambda_{\max}(H_\varphi)$ (nats / rad$^2$)", title=_BOUNDS[name])
    axes[0].set_ylabel("bound (nats / rad$^2$)")
    axes[0].legend(title="filled: trained\nopen: start")
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
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4))
    for n, rows in table.groupby("n_patches"):
        ratio = rows[steps].div(rows.lambda_max, axis=0)
        ax.semilogy(names, ratio.T.values, "o", color=colour(n), alpha=0.4, markersize=4)
        ax.semilogy(names, gmean(ratio), color=colour(n), label=f"n = {n}")
    ax.set(ylabel=r"value / $\lambda_{\max}$")
    decades(ax.yaxis)
    ax.legend()
    return fig


def coherence(table: pd.DataFrame) -> Figure:
    """Draws the coherence rho against n between its limits 1 and 1/n.

    Args:
        table: from `sweeps.bound_sweep`.

    Returns:
        The figure; for each n side by side: start, trained blocks, blocks drawn anew, and what E2 expects.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.6))
    n = np.array(sorted(table.n_patches.unique()), float)
    ax.fill_between(n, 1 / n, 1, color="#eeeeee", zorder=0)
    ax.loglog(n, np.ones_like(n), color=INK, lw=1)
    ax.loglog(n, 1 / n, color=INK, lw=1, label="1/n")
    looks = {
        "start": ("start", "coherence", {"marker": "o", "markerfacecolor": "none"}),
        "trained": ("trained", "coherence", {"marker": "o"}),
        "blocks drawn anew": ("trained", "redrawn_coherence", {"marker": "x"}),
        "E2": ("trained", "expected_coherence", {"marker": "_", "ms": 10, "mew": 2}),
    }
    for place, (label, (where, column, look)) in enumerate(looks.items()):
        for value, rows in table[table["where"] == where].groupby("n_patches"):
            x = rows.n_patches * 1.08 ** (place - 1.5)
            ax.plot(x, rows[column], ls="none", color=colour(value), label=label, **look)
        ax.plot([], [], ls="none", color=INK, label=f"{label} ", **look)
    named = [artist for artist in ax.lines if artist.get_label().endswith(" ")]
    ax.legend(named, [artist.get_label().strip() for artist in named], fontsize=8, loc="lower left")
    ax.annotate(
        "1/n: different images or classes",
        (n[-1], 1 / n[-1]),
        xytext=(-14, 0),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    ax.set(xlabel="number of patches $n$", ylabel=r"coherence $\rho$", xticks=n, xticklabels=[f"{x:.0f}" for x in n])
    ax.minorticks_off()
    return fig


def block_matrix(norms: dict[int, np.ndarray]) -> Figure:
    """Draws the spectral norms of the blocks H_pp' of one trained point for each n.

    Args:
        norms: n -> (n, n) norms in nats per rad^2.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, len(norms), figsize=(WIDTH, 0.4 + WIDTH / len(norms)), squeeze=False)
    for ax, (n, matrix) in zip(axes[0], norms.items(), strict=True):
        image = ax.imshow(matrix / matrix.max(), cmap="Greys", vmin=0, vmax=1)
        ax.set(title=f"n = {n}", xticks=[], yticks=[], xlabel="circuit $p'$")
    axes[0, 0].set_ylabel("circuit $p$")
    fig.colorbar(image, ax=axes, label=r"$\|H_{pp'}\|$ / largest", shrink=0.8)
    return fig


def published_collapse(table: pd.DataFrame) -> Figure:
    """Draws the published lambda_max n, raw and divided by 1 - exp(-L), against the angles of one circuit.

    Args:
        table: columns n_patches, m, raw, scaled; one row per published run.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2), sharex=True)
    titles = {"raw": r"$\lambda_{\max}\, n$", "scaled": r"$\lambda_{\max}\, n / (1 - e^{-L})$"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for n, rows in table.groupby("n_patches"):
            ax.loglog(rows.m, rows[name], "D-", color=colour(n), markerfacecolor="none", lw=0.8, label=f"n = {n}")
        ax.set(title=title, xlabel="angles of one circuit $m$")
        ax.set_xticks(sorted(table.m.unique()), [str(v) for v in sorted(table.m.unique())])
        ax.xaxis.set_minor_locator(NullLocator())
        decades(ax.yaxis)
    axes[0].set_ylabel("nats / rad$^2$")
    axes[0].legend()
    return fig


def scaling_law(table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draws lambda_max of stored and published runs against the scaling law, without and with the loss factor.

    Args:
        table: from `tables.runs.with_law`, one row per stored run.
        published: the same of the published eigenvalues.

    Returns:
        The figure; the line is proportionality, with the geometric mean of kappa over the stored runs.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8), sharey=True)
    kappa = gmean(table.kappa)
    for ax, loss_factor in zip(axes, (False, True), strict=True):
        x = lambda t: t.law if loss_factor else t.law / t.loss_factor  # noqa: B023, E731
        for n, rows in table.groupby("n_patches"):
            ax.loglog(x(rows), rows.lambda_max, "o", color=colour(n), ms=3.5, mew=0, alpha=0.6, label=f"$n = {n}$")
        for n, rows in published.groupby("n_patches"):
            ax.plot(x(rows), rows.lambda_max, **PUBLISHED | {"color": colour(n)}, ms=6, mew=1.3)
    axes[1].plot([], [], **PUBLISHED, ms=6, label="published")
    ends = np.array([min(table.law.min(), published.law.min()) / 1.5, max(table.law.max(), published.law.max()) * 1.5])
    axes[1].plot(ends, kappa * ends, color=INK, lw=1, zorder=0)
    axes[0].set(xlabel=r"$c^2 m/n$", ylabel=r"$\lambda_{\max}$ (nats / rad$^2$)", title="patches and angles")
    axes[1].set(xlabel=r"$c^2 m\,(1 - e^{-L})/n$", title="and the loss reached")
    decades(axes[0].yaxis)
    axes[1].legend(loc="lower right")
    return fig


def kappa_by_kind(groups: Mapping[str, pd.DataFrame], kappa: float) -> Figure:
    """Draws the constant of the scaling law for every kind of run.

    Args:
        groups: by name, from top to bottom, rows of `tables.runs.with_law`.
        kappa: value of the vertical line.

    Returns:
        The figure; a dot is one run, a stroke the geometric mean of the runs of one number of patches.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(groups) + 0.9))
    seen = {}
    for place, rows in enumerate(groups.values()):
        counts = sorted(rows.n_patches.unique())
        for i, n in enumerate(counts):
            own = rows[rows.n_patches == n].kappa
            height = place + 0.22 * (i - (len(counts) - 1) / 2)
            seen[n] = ax.semilogx(own, np.full(len(own), height), "o", color=colour(n), ms=4, mew=0, alpha=0.45)[0]
            ax.plot(gmean(own), height, "|", color=colour(n), ms=9, mew=2)
    ax.axvline(kappa, color=INK, lw=1, zorder=0)
    ax.set_yticks(range(len(groups)), list(groups), fontsize=9)
    ax.invert_yaxis()
    ax.set(xlabel=r"$\kappa = \lambda_{\max}\, /\, [\,m\, n\, f^2\, (1 - e^{-L})]$ (nats / rad$^2$)")
    ax.legend([seen[n] for n in sorted(seen)], [f"$n = {n}$" for n in sorted(seen)], markerscale=1.5)
    return fig


def as_expected(
    groups: Mapping[str, pd.DataFrame], measured: str, expected: str, label: str, against: str | None = None
) -> Figure:
    """Draws a measured quantity against its estimate, and their ratio.

    Args:
        groups: by name, one row per point with n_patches and the columns named next.
        measured: column, nats per rad^2.
        expected: column, nats per rad^2.
        label: of the measured quantity.
        against: column on the axis of the ratio; None is the estimate.

    Returns:
        The figure; the lines are equality, nothing is fitted.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8))
    ends = [np.inf, 0.0]
    for (name, rows), marker in zip(groups.items(), "s^ovP", strict=False):
        ends = [min(ends[0], rows[expected].min()), max(ends[1], rows[expected].max())]
        style = {"marker": marker, "ls": "none", "ms": 4, "mew": 0, "alpha": 0.5}
        for i, n in enumerate(sorted(rows.n_patches.unique())):
            own = rows[rows.n_patches == n]
            axes[0].loglog(own[expected], own[measured], color=colour(n), **style)
            x = own[expected] if against is None else own[against] * 1.06**i  # side by side
            axes[1].loglog(x, own[measured] / own[expected], color=colour(n), **style)
        axes[0].plot([], [], color=INK, label=name, **style | {"alpha": 1})
    ends = np.array([ends[0] / 1.5, ends[1] * 1.5])
    axes[0].plot(ends, ends, color=INK, lw=1, zorder=0)
    axes[1].axhline(1, color=INK, lw=1, zorder=0)
    axes[0].set(xlabel=r"expected (nats / rad$^2$)", ylabel=rf"{label} (nats / rad$^2$)")
    axes[1].set(xlabel=r"expected (nats / rad$^2$)", ylabel="measured / expected", ylim=(0.25, 4))
    if against is not None:
        values = []
        for value in sorted({int(v) for rows in groups.values() for v in rows[against]}):
            if not values or value > 1.6 * values[-1]:  # others would run into one another
                values.append(value)
        axes[1].set_xticks(values, [str(v) for v in values])
        axes[1].set_xlabel({"depth": "layers per block $d$"}.get(against, against))
    axes[1].set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes[1].minorticks_off()
    axes[0].legend()
    return fig


_FACTORS = {
    "of_loss": "loss",
    "of_derivatives": "derivatives",
    "of_bias": "bias",
    "of_spectrum": "share of\nthe top",
    "of_residual": "residual",
}


def factors(table: pd.DataFrame, share: float) -> Figure:
    """Draws the factors that make the constant of the scaling law, for every run.

    Args:
        table: from `tables.runs.with_factors`.
        share: where to draw a stroke in the column of the spectrum.

    Returns:
        The figure; dots are runs, strokes geometric means for one number of patches.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.6))
    counts = sorted(table.n_patches.unique())
    for place, name in enumerate(_FACTORS):
        for i, n in enumerate(counts):
            own = table[table.n_patches == n][name]
            x = place + 0.2 * (i - (len(counts) - 1) / 2)
            label = f"$n = {n}$" if place == 0 else None
            ax.semilogy(np.full(len(own), x), own, "o", color=colour(n), ms=4, mew=0, alpha=0.4, label=label)
            ax.plot(x, gmean(own), "_", color=colour(n), ms=11, mew=2)
    ax.axhline(1, color=INK, lw=1, zorder=0)
    spectrum = list(_FACTORS).index("of_spectrum")
    ax.plot([spectrum - 0.45, spectrum + 0.45], [share, share], color=INK, lw=1, ls="--", label="$1/(C - 1)$")
    ax.set_xticks(range(len(_FACTORS)), list(_FACTORS.values()), fontsize=9)
    ax.set(ylabel="factor")
    decades(ax.yaxis)
    ax.legend()
    return fig


# Quantities that are compared with redrawn blocks, columns of `tables.spectra.redrawn`, and their labels.
REDRAWN = {
    "lambda_max_phi": r"$\lambda_{\max}(G_\varphi)$",
    "trace_phi": r"tr $G_\varphi$",
    "lambda_max_bias": r"$\lambda_{\max}(G_b)$",
    "trace_bias": r"tr $G_b$",
    "lambda_max": r"$\lambda_{\max}(G)$",
}


def against_redrawn(table: pd.DataFrame) -> Figure:
    """Draws trained blocks over blocks drawn anew, at the same minima, for five quantities.

    Args:
        table: from `tables.spectra.against_redrawn`, of the quantities that are drawn.

    Returns:
        The figure; a panel for each depth, in it one dot per seed, and a bar from the least to the largest draw.
    """
    depths, counts = sorted(table.depth.unique()), sorted(table.n_patches.unique())
    fig, axes = plt.subplots(1, len(depths), figsize=(WIDTH, 3.6), sharey=True, squeeze=False)
    for ax, depth in zip(axes[0], depths, strict=True):
        for place, name in enumerate(REDRAWN):
            for i, n in enumerate(counts):
                own = table[(table.depth == depth) & (table.n_patches == n) & (table.quantity == name)]
                x = place + 0.18 * (i - (len(counts) - 1) / 2)
                ax.plot(
                    [x, x], [own.low.min(), own.high.max()], color=colour(n), lw=5, alpha=0.25, solid_capstyle="butt"
                )
                label = f"$n = {n}$" if place == 0 and ax is axes[0, 0] else None
                ax.plot(np.full(len(own), x), own.ratio, "o", color=colour(n), ms=4, mew=0, label=label)
        ax.axhline(1, color=INK, lw=1, zorder=0)
        ax.set_xticks(range(len(REDRAWN)), list(REDRAWN.values()), rotation=90)
        ax.set(title=f"$d = {depth}$", yscale="log")
    ax = axes[0, 0]
    ax.set_ylabel("trained blocks / redrawn blocks")
    ticks = [0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.legend()
    return fig
