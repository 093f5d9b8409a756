"""How a figure can be cut, so that on a phone its panels stand below each other, as large as on a wide page."""

from itertools import pairwise
from typing import TypedDict

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

KIND = "application/vnd.patchscape.tiles+json"  # what a notebook calls it
Piece = tuple[float, float, float, float]

_MARGIN = 0.004  # ours: of the width, what is kept around a piece where there is room
_OUTWARD = 6 / 72  # ours: inches, room of the ticks outside of a panel


class Cut(TypedDict):
    """A figure in pieces, in parts of its width: `height`, and `tiles`, each a row of (left, top, width, height)."""

    height: float
    tiles: list[list[Piece]]


def cut(fig: Figure) -> Cut:
    """Finds the columns of a figure's panels and of its legend.

    A column whose panels have the numbers of their vertical axis at another column gets these numbers from there, as a
    piece of its own. What overlaps across columns holds them together.

    Args:
        fig: the figure.

    Returns:
        The pieces, in reading order; the whole as one tile if there is but one column.
    """
    fig.draw_without_rendering()  # settles where everything is
    width, height = map(float, fig.get_size_inches())
    columns = _columns([(_box(ax, fig), [ax]) for ax in fig.axes if ax.get_visible()])
    if len(columns) < 2:
        return {"height": round(height / width, 4), "tiles": [[(0.0, 0.0, 1.0, round(height / width, 4))]]}
    band = Bbox.union([box for box, _ in columns])
    edges = _edges([box for box, _ in columns])

    def piece(left: float, right: float, rows: Bbox) -> Piece:
        top, bottom = min(1.0, rows.y1 + _MARGIN), max(0.0, rows.y0 - _MARGIN)
        up = height / width
        left, top, right, bottom = map(float, (left, (1 - top) * up, right, (1 - bottom) * up))
        return round(left, 4), round(top, 4), round(right - left, 4), round(bottom - top, 4)

    panels = []
    for (box, axes), (left, right) in zip(columns, edges, strict=True):
        tile = [piece(left, right, band)]
        for (other, theirs), (start, _) in zip(columns, edges, strict=True):
            pairs = [(ax, by) for ax in axes for by in theirs if other.x0 < box.x0 and _numbered_by(ax, by)]
            if pairs:
                if all(ax.get_ylabel() == by.get_ylabel() for ax, by in pairs):  # once is enough
                    left = min(ax.get_position().x0 for ax in axes) - _OUTWARD / width
                spines = min(by.get_position().x0 for by in theirs) - _OUTWARD / width
                tile = [piece(start, spines, band), piece(left, right, band)]
        panels.append(tile)
    above: list[list[Piece]] = []
    below: list[list[Piece]] = []
    for legend in fig.legends:
        box = _box(legend, fig)
        (above if box.y0 > band.y0 else below).extend([piece(*edge, box)] for edge in _edges(_entries(legend, fig)))
    return {"height": round(height / width, 4), "tiles": [*above, *panels, *below]}


def _box(artist: Artist, fig: Figure) -> Bbox:
    """Where an artist is drawn, in parts of the figure."""
    return Bbox(fig.transFigure.inverted().transform(artist.get_tightbbox()))


def _columns(boxes: list[tuple[Bbox, list[Axes]]]) -> list[tuple[Bbox, list[Axes]]]:
    """Joins what overlaps from left to right."""
    columns: list[tuple[Bbox, list[Axes]]] = []
    for box, axes in sorted(boxes, key=lambda entry: entry[0].x0):
        if columns and box.x0 < columns[-1][0].x1:
            last, others = columns.pop()
            box, axes = Bbox.union([last, box]), others + axes
        columns.append((box, axes))
    return columns


def _edges(boxes: list[Bbox]) -> list[tuple[float, float]]:
    """Left and right of each column, with a margin where there is room."""
    middles = [(a.x1 + b.x0) / 2 for a, b in pairwise(boxes)]
    starts, ends = [0.0, *middles], [*middles, 1.0]
    return [
        (max(start, box.x0 - _MARGIN), min(end, box.x1 + _MARGIN))
        for box, start, end in zip(boxes, starts, ends, strict=True)
    ]


def _numbered_by(ax: Axes, other: Axes) -> bool:
    """Whether a panel has no numbers at its vertical axis because they stand at that of another, in the same row."""
    hidden = ax.axison and not ax.yaxis.get_tick_params().get("labelleft", True)
    same_row = np.isclose(ax.get_position().y0, other.get_position().y0)
    shown = other.axison and other.yaxis.get_tick_params().get("labelleft", True)
    return bool(hidden and shown and same_row and ax.get_shared_y_axes().joined(ax, other))


def _entries(legend: Legend, fig: Figure) -> list[Bbox]:
    """Columns of a legend; one if it has a title, which stands over all of them."""
    if legend.get_title().get_text():
        return [_box(legend, fig)]
    room = legend.handlelength + legend.handletextpad  # of the handle on the left, in sizes of the letters
    boxes = []
    for text in legend.get_texts():
        box, size = _box(text, fig), text.get_fontsize() / 72 / fig.get_figwidth()
        boxes.append(Bbox.from_extents(box.x0 - room * size, box.y0, box.x1, box.y1))
    return [box for box, _ in _columns([(box, []) for box in boxes])]
