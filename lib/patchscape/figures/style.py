"""The look shared by all figures: one style sheet, one colour per number of patches, one way to save."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

from patchscape.figures import drawn, tiles
from patchscape.store import records

WIDTH = 7.0  # in, of every figure: the page shows it 728 px wide, so that 8 pt are 12 px there
SMALL = 8  # pt, of the smallest letters
LOSS_MAP = "viridis"  # of every map of the loss: dark is low
INK = "#444444"  # readable on white and, with the white canvas, in dark mode
GREY = "#999999"
# Of what is no number of patches: something to look at, kinds of things, and H, G and R in all figures of spectra.
ACCENT = "#6a51a3"
KINDS = (ACCENT, "#882255", "#999933", "#44aa99", INK)
PARTS = {"H": "black", "G": "#882255", "R": "#999933"}
MARKERS = ("o", "s", "^", "v", "P", "X")
PUBLISHED = {"marker": "D", "color": "black", "markerfacecolor": "none", "linestyle": "none"}
_COLOURS = {1: "#7f7f7f", 4: "#0072b2", 9: "#d55e00", 16: "#009e73", 25: "#e69f00", 49: "#cc79a7"}  # Okabe-Ito
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (2, 2)))


def colour(n_patches: int) -> str:
    """Returns the colour that stands for a number of patches throughout the book."""
    return _COLOURS.get(n_patches, "#56b4e9")


def size_label(n_patches: int, depth: int) -> str:
    """Returns what a configuration is called in titles and legends."""
    return f"n = {n_patches}, d = {depth}"


def by_depth(depths: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Returns how depths look where colour does not tell them apart: the deeper the darker, each with its own dashes.

    Args:
        depths: layers per block.

    Returns:
        By depth, in increasing order, `color`, `linestyle` and `marker`, keywords of `plot`.
    """
    depths = sorted(set(depths))
    greys = [0.0] if len(depths) < 2 else [0.72 * (1 - i / (len(depths) - 1)) for i in range(len(depths))]
    return {
        d: {"color": str(grey), "linestyle": _DASHES[i % len(_DASHES)], "marker": MARKERS[i % len(MARKERS)]}
        for i, (d, grey) in enumerate(zip(depths, greys, strict=True))
    }


def by_size(sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Returns how lines of configurations look: the colour of the number of patches, the deeper the darker.

    Args:
        sizes: (n_patches, depth) of each configuration.

    Returns:
        By size, keywords of `plot`, the label included.
    """
    depths = sorted({d for _, d in sizes})
    places = {d: number for number, d in enumerate(depths)}
    return {
        (n, d): {
            "color": colour(n),
            "alpha": (places[d] + 1) / len(depths),
            "marker": MARKERS[places[d] % len(MARKERS)],
            "label": size_label(n, d),
        }
        for n, d in sizes
    }


def name_ends(ax: Axes, ends: Iterable[tuple[float, float, str, str]], size: float = 9) -> None:
    """Writes names of lines or points to the right of them, apart from each other.

    Args:
        ax: the panel; its limits and scales are set already.
        ends: (x, y, name, colour) each.
        size: of the letters in pt.
    """
    height = 72 * ax.figure.get_figheight() * ax.get_position().height
    step = 1.15 * size / height  # in parts of the panel's height
    to_panel = ax.transData + ax.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[1])
    places = [to_panel.transform((x, y))[1] for x, y, *_ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    for i in range(len(places) - 1, -1, -1):  # back below the upper edge
        places[i] = min(places[i], 1 - step * (len(places) - 1 - i))
    for (x, _, name, tint), place in zip(ends, places, strict=True):
        across = to_panel.transform((x, ends[0][1]))[0]
        at = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
        ax.annotate(name, (across, place), (5, 0), color=tint, size=size, va="center", **at)


def decades(*axes: Axis) -> None:
    """Ticks written as plain numbers: at 1, 2 and 5 of a decade on a short axis, every other decade on a long one.

    Where plain numbers would have more than four zeros, all are powers of ten.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        step = 100 if high > 1e5 * low else 10
        axis.set_major_locator(LogLocator(step, subs=(1, 2, 5) if high < 60 * low else (1,), numticks=20))
        plain = low > 5e-5 and high < 5e5
        axis.set_major_formatter("{x:g}" if plain else LogFormatterMathtext())
        axis.set_minor_formatter(NullFormatter())


def use_style() -> None:
    """Sets the book's matplotlib style, whatever the reader's own is; every chapter calls it once.

    In a notebook, figures go into its cells, even if MPLBACKEND says otherwise, as it does on many clusters.
    """
    ipython = sys.modules.get("IPython")  # imported where there is a notebook
    shell = ipython and ipython.get_ipython()
    if hasattr(shell, "kernel"):
        from matplotlib_inline.config import InlineBackend  # comes with the kernel

        if not os.environ.get("MPLBACKEND", "").startswith("module://"):
            shell.enable_matplotlib("inline")
        # By default a figure is cut to what is drawn on it, so that no two are equally wide.
        InlineBackend.instance().print_figure_kwargs = {"bbox_inches": None}
    mpl.rcdefaults()
    sns.set_theme(context="notebook", style="ticks")
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 4.0),
            "figure.dpi": 220,  # more than two dots to a pixel of the page
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.dpi": 220,
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.title_fontsize": 9,
            "xtick.major.size": 4,
            "ytick.major.size": 4,
            "xtick.minor.size": 2.5,
            "ytick.minor.size": 2.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "svg.hashsalt": "patchscape",
            "svg.fonttype": "none",
        }
    )


def save(fig: Figure, name: str, parameters: Mapping[str, Any]) -> Figure:
    """Writes a figure as PNG and SVG, what it shows as CSV, and parameters and provenance as JSON, if the reader asked.

    No file is written unless the environment variable PATCHSCAPE_FIGURES names a folder. A notebook keeps two things
    beside the picture in any case: what the figure shows, as text/csv, which the book offers as a download, and where
    it can be cut (`tiles`), for phones.

    Args:
        fig: the figure.
        name: stable file stem, such as "04-lambda-against-n".
        parameters: what the figure was made with.

    Returns:
        The figure.
    """
    # Laid out once: panels of a fixed shape would move a little with every drawing, and away from where they are cut.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    fig._repr_mimebundle_ = lambda include=None, exclude=None: _numbers(fig) | {tiles.KIND: tiles.cut(fig)}
    folder = os.environ.get("PATCHSCAPE_FIGURES")
    if folder:
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = BytesIO()
            fig.savefig(buffer, format=ending, metadata=metadata)
            records.write_bytes(Path(folder) / f"{name}.{ending}", buffer.getvalue())
        for shown in _numbers(fig).values():
            records.write_bytes(Path(folder) / f"{name}.csv", shown.encode())
        made = {"figure": name, "parameters": dict(parameters), "provenance": records.provenance()}
        text = json.dumps(made, indent=2, default=str) + "\n"
        records.write_bytes(Path(folder) / f"{name}.json", text.encode())
    return fig


def _numbers(fig: Figure) -> dict[str, str]:
    """What a figure shows, as CSV by its type; a drawing without axes shows no numbers."""
    shown = drawn.table(fig)
    return {"text/csv": shown.to_csv(index=False, float_format="%.7g")} if len(shown) else {}
