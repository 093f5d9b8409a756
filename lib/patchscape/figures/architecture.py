"""Figures of chapter 1: patches, coverage, the circuit, one forward pass; and the picture of the README."""

from collections.abc import Callable
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import NullFormatter

from patchscape.circuit.ansatz import gates
from patchscape.config import ModelConfig
from patchscape.figures.style import INK, SMALL, WIDTH, colour

TRAINABLE, PIXEL, FIXED = "#9ecae1", "#fdc086", "#d9d9d9"  # gate colours: trainable angle, pixel, no angle


def _image(ax: Axes, image: np.ndarray) -> None:
    """Draws an image in light grey tones, one unit per pixel, origin at the top left corner."""
    side = len(image)
    ax.imshow(image, cmap="Greys", vmin=0, vmax=1.4 * image.max(), extent=(0, side, side, 0))
    ax.set(xticks=(), yticks=())
    ax.spines[:].set_visible(True)


def _outline_patches(ax: Axes, cfg: ModelConfig) -> None:
    """Draws every patch as a thin frame with its number in the middle; the first and the last are filled."""
    q, n, tint = cfg.n_qubits, cfg.n_patches, colour(cfg.n_patches)
    corners = [(left, top) for top in cfg.offsets for left in cfg.offsets]
    for i, (left, top) in enumerate(corners):
        ax.add_patch(Rectangle((left, top), q, q, fill=False, ec=tint, lw=0.8, alpha=0.7))
        if i in (0, n - 1):
            ax.add_patch(Rectangle((left, top), q, q, fc=tint, alpha=0.25))
            ax.add_patch(Rectangle((left, top), q, q, fill=False, ec=tint, lw=2.2, zorder=3, clip_on=False))
        disc = {"boxstyle": "circle,pad=0.18", "fc": tint, "ec": "white", "lw": 0.5}
        place = {"ha": "center", "va": "center", "color": "white", "size": SMALL}
        ax.text(left + q / 2, top + q / 2, f"{i + 1}", **place, bbox=disc, zorder=4)


def patches_and_coverage(image: np.ndarray, configs: list[ModelConfig]) -> Figure:
    """Draws the patches of several models on one image, and below how many patches cover each pixel.

    Args:
        image: (side, side), any unit.
        configs: models of that image side.

    Returns:
        The figure, one column per model: patches numbered in row-major order, the first and the last shaded; and the
        number of patches written on every region of equal coverage.
    """
    fig, axes = plt.subplots(2, len(configs), figsize=(WIDTH, min(7.5, 0.9 + 13 / len(configs))), squeeze=False)
    for (top, bottom), cfg in zip(axes.T, configs, strict=True):
        _image(top, image)
        _outline_patches(top, cfg)
        top.set_title(f"n = {cfg.n_patches}", color=colour(cfg.n_patches), weight="bold")
        top.set_xlabel("offsets " + ", ".join(map(str, cfg.offsets)))
        _coverage(bottom, cfg)
    axes[0, 0].set_ylabel("patches")
    axes[1, 0].set_ylabel("patches that see a pixel")
    return fig


def _coverage(ax: Axes, cfg: ModelConfig) -> None:
    pixels, side = np.arange(cfg.image_side), cfg.image_side
    along = sum(((pixels >= o) & (pixels < o + cfg.n_qubits)).astype(int) for o in cfg.offsets)
    counts = np.outer(along, along)
    ax.imshow(counts, cmap="Greys", vmin=0, vmax=1.8 * counts.max(), extent=(0, side, side, 0))
    edges = [0, *(np.flatnonzero(np.diff(along)) + 1), side]
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            text = {"ha": "center", "va": "center", "size": SMALL, "color": "black"}
            ax.text((left + right) / 2, (top + bottom) / 2, counts[top, left], **text)
    ax.set(xticks=(), yticks=())
    ax.set_xlabel(f"at most {cfg.max_coverage}")
    ax.spines[:].set_visible(True)


def circuit_rows(draw: Callable, cfg: ModelConfig) -> Figure:
    """Draws a circuit with PennyLane in three rows, one per block, coloured by where each angle comes from.

    Args:
        draw: draws the whole circuit on the figure that it is given and returns (figure, axes),
            as `qml.draw_mpl(qnode, fig=figure)(phi, patch)` does.
        cfg: the model of the circuit.

    Returns:
        The figure.
    """
    q = cfg.n_qubits
    block, encoding = cfg.depth * (2 + q), 3 * q // 2 + q  # columns; every CZ of a ring needs its own
    fig = plt.figure(figsize=(WIDTH, 0.43 * 3 * (q + 1)), layout="none")
    for row, part in enumerate(fig.subfigures(3, 1)):
        part.set_figwidth = part.set_figheight = lambda size: None  # PennyLane resizes what it draws on
        _, ax = draw(part)
        _colour_gates(ax, cfg)
        start = row * (block + encoding)
        for text in ax.texts:
            if text.get_position()[0] < 0:  # PennyLane names the wires left of the first column only
                text.set_visible(False)
        for artist in (*ax.lines, *ax.patches, *ax.texts):
            artist.set_clip_on(True)
        plt.setp([*ax.lines, *ax.patches], linewidth=1.1)
        ax.add_patch(Rectangle((start - 2, -2), 1.35, q + 3, fc="white", ec="none", zorder=9))
        for wire in range(q):
            ax.text(start - 0.8, wire, str(wire), ha="right", va="center", size=9, zorder=10)
        ax.text(start - 0.4, -0.75, f"block {row + 1}", size=9, weight="bold")
        if row < 2:
            half = ("first", "second")[row]
            ax.text(start + block - 0.4, -0.75, f"encoding, {half} half of the patch", size=9, weight="bold")
        else:
            boxes = {"a trainable angle": TRAINABLE, "an angle of the patch": PIXEL, "X and Z are measured": "white"}
            keys = [Rectangle((0, 0), 1, 1, fc=tint, ec=INK) for tint in boxes.values()]
            ax.legend(keys, boxes, loc="center", fontsize=9)
        ax.set(xlim=(start - 1.3, start + block + encoding - 0.5), ylim=(q - 0.4, -1.2))
    return fig


def _colour_gates(ax: Axes, cfg: ModelConfig) -> None:
    """Colours the gates of a drawn circuit and writes the pixel's number into those that encode one."""
    boxes = sorted((p for p in ax.patches if isinstance(p, FancyBboxPatch)), key=lambda p: p.get_x())
    labels = {tuple(np.round(t.get_position(), 1)): t for t in ax.texts}
    for wire in range(cfg.n_qubits):
        on_wire = [p for p in boxes if round(p.get_y() + p.get_height() / 2) == wire]
        rotations = [g for g in gates(cfg) if g.source and g.wires == (wire,)]
        # The last box of a wire may be its measurement, which is no gate.
        for box, gate in zip(on_wire, rotations, strict=False):
            box.set(facecolor=TRAINABLE if gate.source == "parameter" else PIXEL, edgecolor=INK)
            centre = (box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2)
            subscript = f"\n$x_{{{gate.index + 1}}}$" if gate.source == "pixel" else ""
            labels[tuple(np.round(centre, 1))].set(text=gate.name + subscript, size=SMALL, color="black")


def block_structure(cfg: ModelConfig) -> Figure:
    """Draws the circuit as blocks: three trainable, two that encode half a patch each; one layer of each below.

    Args:
        cfg: the model.

    Returns:
        The figure.
    """
    q, d = cfg.n_qubits, cfg.depth
    half = q * q // 2
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 5.4), height_ratios=(1.25, 1))
    stages = [
        (f"block 1\n{d} layers\n{2 * d * q} angles", TRAINABLE),
        (f"encode\n$x_1$ to $x_{{{half}}}$\n{q * q} angles", PIXEL),
        (f"block 2\n{d} layers\n{2 * d * q} angles", TRAINABLE),
        (f"encode\n$x_{{{half + 1}}}$ to $x_{{{q * q}}}$\n{q * q} angles", PIXEL),
        (f"block 3\n{d} layers\n{2 * d * q} angles", TRAINABLE),
    ]
    _wires(top, [rf"$|0\rangle_{wire}$" for wire in range(q)], 11.2)
    for i, (text, tint) in enumerate(stages):
        _box(top, 0.3 + 2.2 * i, -0.45, 1.75, q - 0.1, text, tint, 9)
    for wire in range(cfg.n_classes - cfg.n_classes // 2):
        _box(top, 11.2, wire - 0.36, 1.3, 0.72, rf"$X_{{{wire}}},\ Z_{{{wire}}}$", "white", SMALL)
    top.set(xlim=(-1.0, 12.8), ylim=(q - 0.3, -0.9))
    top.set_title("The whole circuit", loc="left")

    _wires(bottom, ["wire 0", "wire 1", "wire 2"], 12.4)
    bottom.plot([0, 12.4], [3, 3], color=INK, lw=0.8, ls=":", zorder=0)
    for wire in range(3):
        _box(bottom, 0.3, wire - 0.32, 0.75, 0.64, "RX", TRAINABLE, SMALL)
        _box(bottom, 1.25, wire - 0.32, 0.75, 0.64, "RY", TRAINABLE, SMALL)
        for ring in (2.5 + 0.45 * wire, 10.3 + 0.45 * wire):
            bottom.plot([ring, ring], [wire, wire + 1], "o-", color=INK, ms=4, lw=1.2)
        for j, axes in enumerate(("YXY", "XYX")):
            for i, axis in enumerate(axes):
                left = 5.0 + 2.35 * j + 0.75 * i
                number = wire * (q // 2) + j + 1
                text = f"R{axis}" + (f"\n$x_{{{number}}}$" if i == 1 else "")
                _box(bottom, left, wire - 0.4, 0.68, 0.8, text, PIXEL if i == 1 else TRAINABLE, SMALL)
        bottom.add_patch(Rectangle((9.65, wire - 0.1), 0.45, 0.2, fc="white", ec="none"))
        bottom.text(9.87, wire, "…", ha="center", va="center", size=10)
    for x, text in ((0.3, "one layer of a block"), (5.0, "encoding: each pixel between two trainable angles")):
        bottom.text(x, -0.6, text, ha="left", va="bottom", size=9)
    bottom.axvspan(4.3, 4.8, color="white", zorder=5)
    bottom.set(xlim=(-1.0, 12.8), ylim=(3.3, -1.1))
    bottom.set_title("Its parts, on the first wires", loc="left")
    bottom.axis("off")
    top.axis("off")
    return fig


def _wires(ax: Axes, names: list[str], right: float) -> None:
    for wire, name in enumerate(names):
        ax.plot([0, right], [wire, wire], color=INK, lw=0.8, zorder=0)
        ax.text(-0.1, wire, name, ha="right", va="center", size=SMALL)


def _box(ax: Axes, x: float, y: float, width: float, height: float, text: str, tint: str, size: float) -> None:
    ax.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.1", fc=tint, ec=INK, lw=0.8)
    )
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size, color="black")


def forward_pass(
    cfg: ModelConfig, image: np.ndarray, expectations: np.ndarray, logits: np.ndarray, label: int
) -> Figure:
    """Draws one forward pass: angles with patches, expectation values per patch and their mean, softmax.

    Args:
        cfg: the model.
        image: (side, side) angles in rad.
        expectations: (n, C) of every circuit.
        logits: (C,).
        label: the right class.

    Returns:
        The figure.
    """
    n, classes = expectations.shape
    fig, ((a, b), (c, d)) = plt.subplots(2, 2, figsize=(WIDTH, 6.2))
    fig.get_layout_engine().set(hspace=0.05, wspace=0.06)
    shown = a.imshow(image, cmap="Greys", vmin=0, vmax=2 * np.pi / cfg.n_qubits)
    for i, (row, column) in enumerate((r, s) for r in cfg.offsets for s in cfg.offsets):
        line = {"ec": colour(n), "lw": 2.2 if i == 0 else 1.0, "fill": False}
        a.add_patch(Rectangle((column - 0.5, row - 0.5), cfg.n_qubits, cfg.n_qubits, **line))
    a.set(title="1  angles and patches", xticks=(), yticks=())
    fig.colorbar(shown, ax=a, label="angle (rad)", shrink=0.8)

    mean = expectations.mean(0)
    table = np.vstack([expectations, mean])
    limit = float(np.abs(expectations).max())
    shown = b.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    half = classes // 2
    names = [f"$X_{k}$" for k in range(half)] + [f"$Z_{k}$" for k in range(half)]
    b.axhline(n - 0.5, color="white", lw=6)
    b.set(title="2  expectation values", ylabel="patch", xticks=range(classes))
    b.set_xticklabels(names, size=SMALL)
    rows = [i for i in range(n) if n <= 10 or i % 3 == 0]
    b.set_yticks([*rows, n], [*(str(i + 1) for i in rows), "mean"])
    fig.colorbar(shown, ax=b, shrink=0.85)

    tints = [colour(n) if k == label else FIXED for k in range(classes)]
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    guess = int(weights.argmax())
    for ax, heights in ((c, logits), (d, weights)):
        ax.bar(range(classes), heights, color=tints, edgecolor=INK, lw=0.6)
        ax.axhline(0, color=INK, lw=0.8)
        ax.set(xlabel="class", xticks=range(classes))
    for k in sorted({label, guess}):
        small = weights[k] < 0.1  # its number would stand in the bars beside it
        text = f"{weights[k]:.2f}" if weights[k] > 0.005 else f"{weights[k]:.0e}"
        line = {"arrowprops": {"arrowstyle": "-", "color": INK, "lw": 0.8}} if small else {}
        place = {"textcoords": "offset points", "ha": "center", "size": 9}
        d.annotate(text, (k, weights[k]), (0, 48 if small else 3), **place, **line)
    c.set(title="3  logits", ylabel="$z_k$")
    d.set(title=f"4  softmax, loss {-np.log(weights[label]):.2f} nats", ylabel=r"$\pi_k$", ylim=(0, 1))
    d.get_xticklabels()[label].set(color=colour(n), weight="bold")
    c.get_xticklabels()[label].set(color=colour(n), weight="bold")
    return fig


def overview(image: np.ndarray, published: pd.DataFrame) -> Figure:
    """Draws the book in one picture: nine patches on a digit, and the published largest eigenvalues against n.

    Args:
        image: (14, 14), any unit.
        published: columns n_patches, depth, lambda_max (loss per rad^2), one row per published run.

    Returns:
        The figure.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=(1, 1.35))
    _image(left, image)
    _outline_patches(left, ModelConfig(n_patches=9))
    left.set_title("one image, n = 9 patches, 9 circuits")
    lowest = 0.0
    for depth, line in published.sort_values(["depth", "n_patches"]).groupby("depth"):
        right.plot(line.n_patches, line.lambda_max, color="#999999", lw=1, zorder=1, label=f"d = {depth}")
        for n, value in zip(line.n_patches, line.lambda_max, strict=True):
            right.plot(n, value, "D", ms=7, color=colour(n), mec="white", zorder=2)
        lowest = max(1.3 * lowest, line.lambda_max.iloc[-1])  # keeps the names of the lines apart
        right.text(16.9, lowest, f"d = {depth}", va="center", size=9)
    n, height = np.array([4, 16]), published.lambda_max.max() * 1.25
    right.plot(n, height * 4 / n, "--", color=INK, lw=1.2, label=r"$\propto 1/n$")
    right.annotate(r"$\propto 1/n$", (9, height * 4 / 9), (6, 4), textcoords="offset points", color=INK)
    right.set(xscale="log", yscale="log", xlabel="number of patches $n$", xlim=(3.6, 22))
    right.set_ylabel(r"largest Hessian eigenvalue $\lambda_{\max}$")
    right.set_xticks([4, 9, 16], ["4", "9", "16"])
    right.set_yticks([3, 10, 30], ["3", "10", "30"])
    right.xaxis.set_minor_formatter(NullFormatter())
    right.yaxis.set_minor_formatter(NullFormatter())
    right.set_title("published minima, one run per point")
    return fig
