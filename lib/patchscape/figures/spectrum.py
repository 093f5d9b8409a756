"""Figures of chapter 5: the exact spectrum, its two parts, outliers against classes."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gmean

from patchscape.figures.style import ACCENT, GREY, INK, PARTS, WIDTH, by_depth, colour, decades


def density_and_rank(values: np.ndarray, n_outliers: int, n_classes: int) -> Figure:
    """Draws the histogram of all eigenvalues and the largest ones in order.

    Args:
        values: (P,) eigenvalues in decreasing order.
        n_outliers: how many of them the rule counts.
        n_classes: number of classes.

    Returns:
        The figure, two panels.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    edges = np.linspace(min(values[-1], 0) - 1e-9, values[0] * 1.02, 80)
    left.hist(values[n_outliers:], edges, color=GREY, label="bulk")
    left.hist(values[:n_outliers], edges, color=ACCENT, label=f"above the gap: {n_outliers}")
    left.set(yscale="log", xlabel=r"eigenvalue (nats per rad$^2$)", ylabel="number of eigenvalues")
    left.legend()
    top = values[: min(len(values), 4 * n_classes)]
    top = top[top > 0]
    rank = np.arange(1, len(top) + 1)
    right.plot(rank[n_outliers:], top[n_outliers:], "o", color=GREY, ms=5)
    right.plot(rank[:n_outliers], top[:n_outliers], "o", color=ACCENT, ms=6)
    right.axvline(n_classes - 0.5, color=INK, lw=1, ls="--")
    at = {"xycoords": ("data", "axes fraction"), "va": "top", "color": INK}
    right.annotate(f" rank C − 1 = {n_classes - 1}", (n_classes - 0.5, 0.97), **at)
    if 0 < n_outliers < len(top):
        middle = np.sqrt(top[n_outliers - 1] * top[n_outliers])
        right.annotate(
            "widest gap",
            (n_outliers + 0.5, middle),
            (22, 18),
            textcoords="offset points",
            va="center",
            color=ACCENT,
            arrowprops={"arrowstyle": "->", "color": ACCENT},
        )
    right.set(yscale="log", xlabel="rank", ylabel=r"eigenvalue (nats per rad$^2$)")
    decades(right.yaxis)
    return fig


def parts(spectra: Mapping[str, np.ndarray], n_classes: int) -> Figure:
    """Draws the spectra of H, G and R of one or several runs: the positive side and the negative side.

    Args:
        spectra: eigenvalues in decreasing order, (P,) or (S, P) of S runs, under the names "H", "G", "R".
        n_classes: number of classes.

    Returns:
        The figure, two panels with one scale: median over runs, and the range that holds all runs.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True, sharex=True)
    high = max(values.max() for values in spectra.values())
    for name, values in spectra.items():
        runs = np.atleast_2d(values)
        look = {"color": PARTS[name], "lw": 2.4 if name == "H" else 1.4, "label": f"${name}$"}
        for ax, ranked in ((left, runs), *([] if name == "G" else [(right, -runs[:, ::-1])])):
            shown = ranked[:, (ranked > 0).all(0)]
            rank = np.arange(1, shown.shape[1] + 1)
            ax.plot(rank, np.median(shown, 0), **look)
            ax.fill_between(rank, shown.min(0), shown.max(0), color=look["color"], alpha=0.2, lw=0)
    left.axvline(n_classes - 0.5, color=INK, lw=1, ls="--")
    left.annotate(" rank C − 1", (n_classes - 0.5, 0.03), xycoords=("data", "axes fraction"), color=INK)
    left.set(yscale="log", xscale="log", ylim=(high * 1e-6, high * 2), title="positive", xlabel="rank")
    left.set_ylabel(r"|eigenvalue| (nats per rad$^2$)")
    right.set(title="negative", xlabel="rank from the bottom")
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.1))
    return fig


def eigenvector_overlap(table: pd.DataFrame, chance: float, n_classes: int) -> Figure:
    """Draws, for each leading eigenvector, how much lies in the span of the class means and how much curvature is G's.

    Args:
        table: one row an eigenvector with rank, class_means (in [0, 1]) and gauss_newton (v G v / v H v).
        chance: overlap of a random vector.
        n_classes: number of classes.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.6))
    ax.bar(table["rank"], table["class_means"], color=ACCENT, alpha=0.75, label="in the span of the class means")
    ax.plot(table["rank"], table["gauss_newton"], "o", color=PARTS["G"], label=r"share of curvature from $G$")
    ax.axhline(chance, color=INK, lw=1, ls=":", label="overlap of a random vector")
    ax.axvline(n_classes - 0.5, color=INK, lw=1, ls="--")
    ax.set(xlabel="eigenvector, by eigenvalue", ylabel="share", ylim=(0, max(1.05, 1.05 * table["gauss_newton"].max())))
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def outliers_against_classes(spectra: pd.DataFrame, counts: pd.DataFrame) -> Figure:
    """Draws the leading eigenvalues for each number of classes, and the counts.

    Args:
        spectra: one row an eigenvalue with classes, seed, rank, relative (to the largest).
        counts: one row a run with classes, seed, outliers.

    Returns:
        The figure, two panels.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=(1.5, 1))
    classes = sorted(counts["classes"].unique())
    tints = plt.get_cmap("Purples")(np.linspace(0.35, 1, len(classes)))
    for c, tint in zip(classes, tints, strict=True):
        for _, rows in spectra[spectra["classes"] == c].groupby("seed"):
            left.plot(rows["rank"] / c, rows["relative"], "-", color=tint, lw=1.2, alpha=0.8)
        left.plot([], [], color=tint, label=f"C = {c}")
    left.axvline(1, color=INK, lw=1, ls="--")
    left.set(yscale="log", xlabel="rank / number of classes C", ylabel=r"$\lambda_i/\lambda_1$")
    left.legend()
    grid = np.array([min(classes), max(classes)])
    right.plot(grid, grid, color=INK, lw=1, label="C")
    right.plot(grid, grid - 1, color=INK, lw=1, ls="--", label="C − 1")
    stacked = counts.groupby(["classes", "outliers"]).size().reset_index(name="runs")
    right.scatter(stacked["classes"], stacked["outliers"], s=40 * stacked["runs"], color=ACCENT, zorder=3)
    right.set(xlabel="number of classes C", ylabel="eigenvalues above the gap", xticks=classes, ylim=(0, None))
    right.legend()
    return fig


def cumulative_density(exact: np.ndarray, nodes: np.ndarray, weights: np.ndarray) -> Figure:
    """Draws the share of eigenvalues above a level: exact, and from Lanczos quadrature with its spread over probes.

    Args:
        exact: (P,) all eigenvalues.
        nodes: (S, k) Ritz values of S random starts.
        weights: (S, k) their weights, summing to 1 for each start.

    Returns:
        The figure, positive levels left and negative ones right.
    """
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True)
    for ax, sign in zip(axes, (1, -1), strict=True):
        high = (sign * exact).max()
        levels = high * np.logspace(-6, 0.05, 120)
        found = np.stack([[w[sign * x > level].sum() for level in levels] for x, w in zip(nodes, weights, strict=True)])
        mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
        ax.plot(levels, [(sign * exact > level).mean() for level in levels], color="black", lw=2, label="exact")
        ax.plot(levels, mean, color=ACCENT, lw=1.2, label=f"Lanczos quadrature, {len(found)} starts")
        ax.fill_between(levels, mean - 2 * error, mean + 2 * error, color=ACCENT, alpha=0.25, lw=0)
        ax.set(xscale="log", yscale="log", ylim=(0.3 / len(exact), 2))
        ax.set_xlabel(("level" if sign > 0 else "−level") + r" (nats per rad$^2$)")
    axes[0].set(ylabel="share of eigenvalues beyond the level", title="positive")
    axes[1].set(title="negative")
    axes[0].legend()
    return fig


def gaps_and_classes(
    spectra: Mapping[tuple[int, int], np.ndarray], overlaps: Mapping[tuple[int, int], np.ndarray], n_classes: int
) -> Figure:
    """Draws, rank by rank, the ratio of neighbouring eigenvalues and what lies in the span of the class means.

    Args:
        spectra: (n_patches, depth) -> (S, k) leading eigenvalues of S runs, in decreasing order.
        overlaps: likewise, overlap of each eigenvector with the class means.
        n_classes: number of classes.

    Returns:
        The figure, a column for each n: means over runs; the deeper, the darker.
    """
    counts = sorted({n for n, _ in spectra})
    fig, axes = plt.subplots(2, len(counts), figsize=(WIDTH, 4.6), sharex=True, sharey="row", squeeze=False)
    looks = by_depth(d for _, d in spectra)
    for (n, depth), values in spectra.items():
        ratios = values[:, :-1] / values[:, 1:]
        for ax, data in zip(axes[:, counts.index(n)], (ratios, overlaps[n, depth]), strict=True):
            rank = np.arange(1, data.shape[1] + 1)
            ax.plot(rank, data.mean(0), ms=3.5, lw=1.2, label=f"d = {depth}", **looks[depth])
    for n, (top, bottom) in zip(counts, axes.T, strict=True):
        top.set_title(f"n = {n}", color=colour(n), weight="bold")
        for ax in (top, bottom):
            ax.axvline(n_classes - 0.5, color=INK, lw=1, ls=":")
        bottom.set(xlabel="rank $r$", ylim=(0, 1), xticks=range(1, data.shape[1] + 1, 4))
    axes[0, 0].set_ylabel(r"$\lambda_r / \lambda_{r+1}$")
    axes[1, 0].set_ylabel("share in class-mean span")
    by_label = {t: h for ax in axes[0] for h, t in zip(*ax.get_legend_handles_labels(), strict=True)}
    names = sorted(by_label, key=lambda text: int(text.split()[-1]))
    fig.legend([by_label[t] for t in names], names, loc="outside lower center", ncols=len(names), handlelength=2.6)
    return fig


def gaps_by_classes(kinds: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]) -> Figure:
    """Draws gaps and overlap with the class means rank by rank, one column for each number of classes.

    Args:
        kinds: label of a kind of model -> number of classes -> {"eigenvalues", "class_mean_overlap"}, (S, k) each, of
            S runs; at most two kinds.

    Returns:
        The figure: means over runs (geometric for the ratios), and the range that holds all runs.
    """
    numbers = sorted(set().union(*kinds.values()))
    fig, axes = plt.subplots(2, len(numbers), figsize=(WIDTH, 4.6), sharey="row", sharex=True, squeeze=False)
    for column, classes in zip(axes.T, numbers, strict=True):
        for (label, spectra), tone, marker in zip(kinds.items(), (INK, ACCENT), "os", strict=False):
            if classes not in spectra:
                continue
            values, inside = spectra[classes]["eigenvalues"], spectra[classes]["class_mean_overlap"]
            ratios = values[:, :-1] / values[:, 1:]
            for ax, data, mean in ((column[0], ratios, gmean(ratios)), (column[1], inside, inside.mean(0))):
                rank = np.arange(1, data.shape[1] + 1)
                ax.plot(rank, mean, marker=marker, ms=3.5, lw=1, color=tone, label=label)
                ax.fill_between(rank, data.min(0), data.max(0), color=tone, alpha=0.15, lw=0)
        for ax in column:
            ax.axvspan(0, classes - 0.5, color="#eeeeee", lw=0, zorder=0)
            ax.axvline(classes - 0.5, color=INK, lw=1, ls="--")
            ax.set_xlim(0.3, None)
        column[0].set(title=f"C = {classes}", yscale="log")
        column[1].set(xlabel="rank $r$", ylim=(0, 1), xticks=range(1, 13, 3))
    axes[0, 0].set_ylabel(r"$\lambda_r / \lambda_{r+1}$")
    axes[1, 0].set_ylabel("share in class-mean span")
    decades(axes[0, 0].yaxis)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(kinds))
    return fig


def where_eigenvectors_live(places: Mapping[tuple[int, int], Mapping[str, np.ndarray]], n_classes: int) -> Figure:
    """Draws, rank by rank, how leading eigenvectors share out among bias and patches, and how they meet the gradient.

    Args:
        places: (n_patches, depth) -> {"vector_shares" (S, k, n + 1), shares of squared length on each patch and then on
            the bias; "gradient_overlap" (S, k), squared cosine with the gradient}, of S runs.
        n_classes: number of classes.

    Returns:
        The figure, a panel for each quantity over the first C - 1 ranks: mean over runs and ranks (of the gradient,
        what all of them hold together), and the range that holds all runs.
    """
    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.5), sharey=True)
    looks, counts = by_depth(d for _, d in places), sorted({n for n, _ in places})
    depths = list(looks)
    titles = ("on the bias", "patches that take part", f"gradient in first {n_classes - 1}")
    for (n, depth), found in places.items():
        shares = found["vector_shares"][:, : n_classes - 1]
        on_patches = shares[..., :-1]
        part = np.square(on_patches.sum(-1)) / np.square(on_patches).sum(-1) / on_patches.shape[-1]
        gradient = found["gradient_overlap"][:, : n_classes - 1].sum(1)
        place = counts.index(n) + 0.16 * (depths.index(depth) - (len(depths) - 1) / 2)
        for ax, values in zip(axes, (shares[..., -1].mean(1), part.mean(1), gradient), strict=True):
            middle = values.mean()
            error = [[middle - values.min()], [values.max() - middle]]
            look = looks[depth] | {"linestyle": "none", "color": colour(n), "ecolor": colour(n)}
            ax.errorbar(place, middle, error, ms=6, lw=1.2, mec="white", mew=0.5, label=f"n = {n}, d = {depth}", **look)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_xticks(range(len(counts)), [str(n) for n in counts])
        ax.set(xlabel="patches $n$", title=title, ylim=(0, 1.02), xlim=(-0.5, len(counts) - 0.5))
    axes[0].set_ylabel("share")
    marks = [
        Line2D([], [], marker=look["marker"], ls="none", color=INK, ms=6, label=f"d = {d}") for d, look in looks.items()
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return fig


def expected_outliers(spectra: Mapping[int, Mapping[int, tuple[np.ndarray, np.ndarray]]], n_classes: int) -> Figure:
    """Draws the leading eigenvalues, rank by rank, beside those expected of random circuits.

    Args:
        spectra: by number of patches and depth, measured and expected (S, k), as shares of the expected trace.
        n_classes: number of classes C.

    Returns:
        The figure, a panel for each number of patches: coloured dots are the measured geometric means over runs, with
        the range of all runs; the black line is the geometric mean of what is expected, over all runs and depths.
    """
    columns = min(2, len(spectra))
    rows = -(-len(spectra) // columns)
    size = (WIDTH, 0.5 + 2.5 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, sharey=True, sharex=True, squeeze=False)
    looks = by_depth(depth for found in spectra.values() for depth in found)
    for ax in axes.flat[len(spectra) :]:
        ax.remove()
    for ax, (n, found) in zip(axes.flat, spectra.items(), strict=False):
        for depth, (measured, _) in found.items():
            rank = np.arange(1, measured.shape[1] + 1)
            look = looks[depth] | {"linestyle": "none", "color": colour(n), "ms": 5, "mew": 0}
            alpha = (list(looks).index(depth) + 1) / len(looks)
            ax.semilogy(rank, gmean(measured, nan_policy="omit"), alpha=alpha, label=f"d = {depth}", **look)
            low, high = np.nanmin(measured, 0), np.nanmax(measured, 0)
            ax.fill_between(rank, low, high, color=colour(n), alpha=0.08, lw=0)
        expected = gmean(np.concatenate([pair[1] for pair in found.values()]), nan_policy="omit")
        ax.semilogy(rank, expected, color="black", lw=1.4, label="expected")
        ax.axvline(n_classes - 0.5, color=INK, lw=0.8, ls=":")
        ax.set_title(f"n = {n}", color=colour(n), weight="bold")
        ax.set_xticks([1, n_classes - 1, rank[-1]])
    middle = n_classes // 2
    axes[0, 0].annotate(
        "random blocks",
        (rank[middle], gmean(np.concatenate([pair[1] for pair in next(iter(spectra.values())).values()]))[middle]),
        (-62, -20),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.8},
    )
    for ax in axes[:, 0]:
        ax.set_ylabel("share of the expected trace")
    for ax in axes[-1]:
        ax.set_xlabel("rank")
    decades(axes[0, 0].yaxis)
    marks = [
        Line2D([], [], marker=look["marker"], ls="none", color=INK, ms=5, label=f"d = {d}") for d, look in looks.items()
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return fig
