"""The look shared by all figures: one style sheet, one colour per number of patches, one way to save."""

import json
import os
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from patchscape import results

INK = "#444444"  # readable on white and, with the white canvas, in dark mode
MARKERS = ("o", "s", "^", "v", "P", "X")
PUBLISHED = {"marker": "D", "color": "black", "markerfacecolor": "none", "linestyle": "none"}
_COLOURS = {1: "#7f7f7f", 4: "#0072b2", 9: "#d55e00", 16: "#009e73", 25: "#e69f00", 49: "#cc79a7"}  # Okabe-Ito


def colour(n_patches: int) -> str:
    """Returns the colour that stands for a number of patches throughout the book."""
    return _COLOURS.get(n_patches, "#56b4e9")


def by_size(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns how lines of configurations look: the colour of the number of patches, the deeper the darker.

    Args:
        labels: such as "n = 4, d = 6".

    Returns:
        By label, keywords of `plot`.
    """
    sizes = {label: tuple(int(part.split("=")[1]) for part in label.split(",")) for label in labels}
    depths = sorted({d for _, d in sizes.values()})
    places = {label: depths.index(d) for label, (_, d) in sizes.items()}
    return {
        label: {"color": colour(n), "alpha": (places[label] + 1) / len(depths), "marker": MARKERS[places[label] % 6]}
        for label, (n, _) in sizes.items()
    }


def use_style() -> None:
    """Sets the book's matplotlib style; every chapter calls it once."""
    sns.set_theme(context="notebook", style="ticks")
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.dpi": 150,
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
    """Writes a figure as PNG, SVG and a JSON file of its parameters, if the reader asked for files.

    Nothing is written unless the environment variable PATCHSCAPE_FIGURES names a folder.

    Args:
        fig: the figure.
        name: stable file stem, such as "03-lambda-against-n".
        parameters: what the figure was made with.

    Returns:
        The figure.
    """
    folder = os.environ.get("PATCHSCAPE_FIGURES")
    if folder:
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = BytesIO()
            fig.savefig(buffer, format=ending, metadata=metadata)
            results.write_bytes(Path(folder) / f"{name}.{ending}", buffer.getvalue())
        text = json.dumps({"figure": name, "parameters": dict(parameters)}, indent=2, default=str) + "\n"
        results.write_bytes(Path(folder) / f"{name}.json", text.encode())
    return fig
