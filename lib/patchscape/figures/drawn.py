"""What a figure shows, as a table: read from the figure itself, so that the two cannot disagree."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

COLUMNS = (
    "panel",
    "title",
    "x_label",
    "y_label",
    "item",
    "kind",
    "series",
    "colour",
    "x",
    "y",
    "x_end",
    "y_end",
    "value",
)


def remember(artist: Artist, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> Artist:
    """Leaves with contours or a surface the numbers that they were drawn from: matplotlib keeps their shapes only.

    Args:
        artist: what matplotlib returned.
        x: (A,).
        y: (B,).
        values: (B, A).

    Returns:
        The artist.
    """
    artist.drawn_from = x, y, values
    return artist


def table(fig: Figure) -> pd.DataFrame:
    """Returns the points, lines, bars, bands, images and contours of a figure, in the units of its axes.

    Args:
        fig: the figure.

    Returns:
        One row per point, with `COLUMNS`. `panel` counts from 1, and so does `item`, what is drawn in it: points of one
        curve share a number. `kind` is line, point, bar, error bar, outline (of a band) or height (of a map, with its
        `value`). Bars and error bars go from (x, y) to (x_end, y_end), and a line across the whole panel has one
        coordinate. NaN where there is nothing. No row for panels without axes.
    """
    # In three dimensions `axison` speaks of the hidden axes of the page.
    panels = [ax for ax in fig.axes if (ax.axison or ax.name == "3d") and ax.get_label() != "<colorbar>"]
    rows = []
    for number, ax in enumerate(panels, 1):
        place = {"panel": number, "title": ax.get_title(), "x_label": ax.get_xlabel(), "y_label": ax.get_ylabel()}
        rows += [place | row for row in _panel(ax)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _panel(ax: Axes) -> Iterator[dict[str, Any]]:
    labels, left_out = {}, set()
    for container in ax.containers:
        labels |= dict.fromkeys(container.get_children(), container.get_label())
        if isinstance(container, ErrorbarContainer):
            left_out |= set(container.lines[1])  # the caps repeat the ends of the bars
    item = 0
    for artist in ax.get_children():
        rows = [] if artist in left_out else list(_artist(ax, artist, artist in labels))
        item += bool(rows)
        same = {"item": item, "series": _series(labels.get(artist, artist.get_label()))}
        yield from (same | row for row in rows)


def _series(label: Any) -> str | None:
    return None if label is None or str(label).startswith("_") else str(label)


def _artist(ax: Axes, artist: Any, contained: bool) -> Iterator[dict[str, Any]]:
    if isinstance(artist, Rectangle) and contained:  # others are frames
        yield {"kind": "bar", "colour": to_hex(artist.get_facecolor())} | _ends(*artist.get_bbox().get_points())
    elif hasattr(artist, "drawn_from"):
        yield from _heights(*artist.drawn_from)
    elif artist in ax.images and np.ndim(artist.get_array()) == 2:  # colours are no numbers
        yield from _heights(*_pixels(artist))
    elif isinstance(artist, Line2D):
        in_x, in_y = artist.get_transform().contains_branch_seperately(ax.transData)
        look = {"kind": "line", "colour": to_hex(artist.get_color())}
        x, y = np.asarray(artist.get_data(orig=False), float)
        if in_x and in_y:
            yield from (look | {"x": a, "y": b} for a, b in zip(x, y, strict=True))
        elif in_x or in_y:
            yield look | ({"x": x[0]} if in_x else {"y": y[0]})
    elif isinstance(artist, PathCollection):
        tints = artist.get_facecolor() if len(artist.get_facecolor()) else artist.get_edgecolor()
        tints = np.resize(tints, (len(artist.get_offsets()), 4))
        for (x, y), tint in zip(artist.get_offsets(), tints, strict=True):
            yield {"kind": "point", "colour": to_hex(tint), "x": x, "y": y}
    elif isinstance(artist, LineCollection):
        for segment in filter(len, artist.get_segments()):
            yield {"kind": "error bar", "colour": to_hex(artist.get_color()[0])} | _ends(segment[0], segment[-1])
    elif isinstance(artist, PolyCollection):
        look = {"kind": "outline", "colour": to_hex(artist.get_facecolor()[0])}
        yield from (look | {"x": x, "y": y} for path in artist.get_paths() for x, y in path.vertices)


def _ends(start: np.ndarray, end: np.ndarray) -> dict[str, float]:
    return {"x": start[0], "y": start[1], "x_end": end[0], "y_end": end[1]}


def _pixels(image: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and values of the pixels of an image."""
    values = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
    left, right, bottom, top = image.get_extent()
    first, last = (top, bottom) if image.origin == "upper" else (bottom, top)
    rows, columns = ((np.arange(n) + 0.5) / n for n in values.shape)
    return left + (right - left) * columns, first + (last - first) * rows, values


def _heights(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> Iterator[dict[str, Any]]:
    for row, b in zip(values, y, strict=True):
        yield from ({"kind": "height", "x": a, "y": b, "value": value} for a, value in zip(x, row, strict=True))
