"""The figure of the front page, what is measured against what is expected and the mean against the sum; its card."""

import textwrap
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gmean

from patchscape.figures.style import INK, colour, decades

CARD = (1200, 630)  # pixels, what sites show of a link to a page
_WAYS = {"mean": ("-", "o"), "sum": ("--", "s")}


def main_result(kinds: Mapping[str, pd.DataFrame], ways: Mapping[str, pd.DataFrame]) -> Figure:
    """Draws the largest eigenvalue against its estimate, and what the mean over patches does to it.

    Args:
        kinds: "stored" runs, "later" ones, trained after the estimate had been written down, and those of the "paper"'s
            size; one row a run with n_patches, lambda_max and expected_lambda_max (nats per rad^2).
        ways: "mean" and "sum", one row a run with n_patches and scaled, lambda_max n / (1 - exp(-L)) (nats per rad^2).

    Returns:
        The figure, two panels; the line is equality, and nothing is fitted.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.7), width_ratios=(1.15, 1))
    every = pd.concat(kinds.values())
    ends = np.array([every.expected_lambda_max.min() / 1.5, every.expected_lambda_max.max() * 1.5])
    left.fill_between(ends, ends / 1.1, ends * 1.1, color=INK, alpha=0.15, lw=0)
    left.plot(ends, ends, color=INK, lw=1)
    looks = {
        "stored": {"marker": "o", "ms": 3.5, "mew": 0, "alpha": 0.45},
        "later": {"marker": "^", "ms": 5, "mew": 0.8, "mfc": "none", "alpha": 0.9},
        "paper": {"marker": "D", "ms": 8, "mew": 1.2, "mec": "black"},
    }
    words = {"stored": "300 images", "later": "trained after E2", "paper": "the paper's size"}
    for kind, rows in kinds.items():
        for n, own in rows.groupby("n_patches"):
            left.plot(own.expected_lambda_max, own.lambda_max, ls="none", color=colour(n), **looks[kind])
    keys = [Line2D([], [], ls="none", color=INK, label=words[kind], **looks[kind] | {"alpha": 1}) for kind in kinds]
    keys += [
        Line2D([], [], ls="none", marker="o", color=colour(n), label=f"n = {n}") for n in sorted(set(every.n_patches))
    ]
    left.legend(handles=keys, loc="lower right", fontsize=8, handletextpad=0.3, labelspacing=0.3, borderaxespad=0)
    left.set(xscale="log", yscale="log", xlabel=r"expected of random blocks (nats per rad$^2$)")
    left.set_ylabel(r"measured $\lambda_{\max}$ (nats per rad$^2$)")
    decades(left.xaxis, left.yaxis)
    for name, rows in ways.items():
        per_loss = rows.assign(per_loss=rows.scaled / rows.n_patches)
        means = per_loss.groupby("n_patches").per_loss.agg(gmean)
        line, marker = _WAYS[name]
        right.plot(means.index, means, line, color=INK, lw=1.2)
        for n, own in per_loss.groupby("n_patches"):
            right.plot(own.n_patches, own.per_loss, ls="none", marker=marker, color=colour(n), ms=4, mew=0, alpha=0.6)
        last = (means.index[-1], means.iloc[-1])
        right.annotate(name, last, (8, 0), textcoords="offset points", color=INK, fontsize=10, va="center")
    places = sorted({n for rows in ways.values() for n in rows.n_patches})
    right.set(
        xscale="log", yscale="log", xlabel="patches $n$", ylabel=r"$\lambda_{\max}/(1-e^{-L})$ (nats per rad$^2$)"
    )
    right.set_xticks(places, [str(n) for n in places])
    right.minorticks_off()
    right.set_xlim(places[0] / 1.2, places[-1] * 1.7)
    decades(right.yaxis)
    return fig


def card(picture: str | Path, title: str, line: str) -> bytes:
    """Puts a figure on a card for links to the book: title, one line of words, and the figure below.

    Args:
        picture: file of the figure.
        title: of the book.
        line: what it is about; it is broken where it is too long.

    Returns:
        A PNG file of `CARD` pixels.
    """
    fig = Figure(figsize=(CARD[0] / 100, CARD[1] / 100), dpi=100, facecolor="white", layout="none")
    look = {"ha": "left", "va": "top", "color": INK, "family": "DejaVu Sans"}
    fig.text(0.04, 0.945, title, size=22, weight="bold", **look)
    fig.text(0.04, 0.86, textwrap.fill(line, 84), size=17, linespacing=1.3, **look)
    ax = fig.add_axes((0.04, 0.02, 0.92, 0.71))
    ax.imshow(plt.imread(picture))
    ax.set_axis_off()
    out = BytesIO()
    fig.savefig(out, format="png", dpi=100, bbox_inches=None, metadata={"Software": None})
    return out.getvalue()
