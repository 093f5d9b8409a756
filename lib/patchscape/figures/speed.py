"""Figures of the chapter on the simulator's speed."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from patchscape.figures.style import INK

_ONCE, _EACH = "#56b4e9", "#e69f00"
# Colours and markers of simulators, in the order in which a table names them.
_LOOKS = [("#0072b2", "o"), ("#e69f00", "s"), ("#d55e00", "^"), ("#009e73", "v"), ("#cc79a7", "D")]


def block_idea() -> Figure:
    """Draws the parts of the circuit by what they depend on.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(7, 2.2))
    parts = [
        ("block 1\non $|0\\rangle$", "one vector", _ONCE, 1.5),
        ("encoding 1", "rotations", _EACH, 1.4),
        ("block 2", "$2^q\\times2^q$ matrix", _ONCE, 2.2),
        ("encoding 2", "rotations", _EACH, 1.4),
        ("block 3", "$2^q\\times2^q$ matrix", _ONCE, 2.2),
        ("measure", "$C$ numbers", _EACH, 1.1),
    ]
    left = 0.0
    for name, kind, face, width in parts:
        box = FancyBboxPatch(
            (left, 0.35), width, 1, boxstyle="round,pad=0,rounding_size=0.1", facecolor=face, alpha=0.8
        )
        ax.add_patch(box)
        ax.text(left + width / 2, 0.85, name, ha="center", va="center", fontsize=10, color="black")
        ax.text(left + width / 2, 0.18, kind, ha="center", va="center", fontsize=8)
        left += width + 0.15
    ax.plot([], [], "s", color=_ONCE, label="once for all images")
    ax.plot([], [], "s", color=_EACH, label="for every image, and the product with each matrix")
    ax.legend(loc="upper center", ncols=2, fontsize=8, bbox_to_anchor=(0.5, 1.2))
    ax.set(xlim=(-0.1, left), ylim=(0, 1.6))
    ax.axis("off")
    return fig


def time_against(table: pd.DataFrame, fixed: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draws the time of a gradient per image against depth, number of images and number of qubits.

    Args:
        table: rows with qubits, depth, images, simulator (its name; at most five) and gradient (seconds for all
            images). A simulator that was measured at one size only is left out of a panel.
        fixed: for each of "depth", "images" and "qubits", the values of the other two.

    Returns:
        The figure.
    """
    labels = {"depth": "layers per block $d$", "images": "images at once", "qubits": "qubits"}
    per_image = table.assign(time=1e3 * table.gradient / table.images)
    looks = dict(zip(table.simulator.unique(), _LOOKS, strict=False))
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.4), sharey=True)
    for ax, (axis, others) in zip(axes, fixed.items(), strict=True):
        rows = per_image[np.logical_and.reduce([per_image[name] == value for name, value in others.items()])]
        for name, (colour, marker) in looks.items():
            line = rows[rows.simulator == name].sort_values(axis)
            if len(line) > 1:
                ax.plot(line[axis], line.time, marker=marker, color=colour, label=name)
        ticks = sorted(rows[axis].unique())
        if len(ticks) > 5:  # only as many as have room
            ticks = [tick for tick in ticks if np.log10(tick) % 1 == 0]
        ax.set(yscale="log", xscale="linear" if axis == "qubits" else "log", xlabel=labels[axis])
        ax.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
        ax.tick_params(axis="x", which="minor", bottom=False)
    axes[0].set_ylabel("gradient, ms per image")
    found = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(found.values(), found.keys(), loc="outside upper center", ncols=3, fontsize=8)
    return fig


def cost_model(table: pd.DataFrame, rate: float) -> Figure:
    """Draws measured forward times over depth beside what the operations would take at the speed of matrix products.

    Args:
        table: from `speed.forward_times`.
        rate: operations per second.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(5.5, 3.4))
    images, build = 1e3 * table["images"] / rate, 1e3 * table.build / rate
    ax.stackplot(
        table.depth, images, build, labels=["products with images", "building the blocks"], colors=[_EACH, _ONCE]
    )
    ax.plot(table.depth, 1e3 * table.seconds, "o-", color=INK, label="measured")
    ax.set(xlabel="layers per block $d$", ylabel="forward pass (ms)", ylim=(0, None))
    ax.legend(fontsize=8)
    return fig


def eigenvalue_stability(table: pd.DataFrame, exact: float) -> Figure:
    """Draws the largest Hessian eigenvalue at one minimum against number of images and against Lanczos steps.

    Args:
        table: rows of `kind` "images" (with images), "lanczos" (with steps) and "power" (with steps and limit), all
            with value and residual in nats per rad^2.
        exact: the eigenvalue over all images, from the dense matrix.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.2))
    by_images, by_step = (table[table.kind == kind] for kind in ("images", "lanczos"))
    power = table[table.kind == "power"]
    counts = sorted(by_images.images.unique())
    axes[0].errorbar(by_images.images, by_images.value, yerr=by_images.residual, fmt="o", color="#0072b2", ms=4)
    axes[0].set(xscale="log", xlabel="images", ylabel=r"$\lambda_{\max}$ (nats/rad$^2$)")
    axes[0].set_xticks(counts, [f"{count:.0f}" for count in counts])
    axes[0].tick_params(axis="x", which="minor", bottom=False)
    for ax, quantity in ((axes[1], "value"), (axes[2], "residual")):
        for seed, rows in by_step.groupby("seed"):
            label = "Lanczos" if seed == by_step.seed.min() else None
            ax.plot(rows.steps, rows[quantity], color="#0072b2", lw=0.8, label=label)
        for (limit, rows), marker in zip(power.groupby("limit"), "xD", strict=False):
            ax.plot(rows.steps, rows[quantity], marker, color="#d55e00", ms=5, label=f"power, to {limit:.0e}")
    axes[1].set(xscale="log", xlabel="products with all images", ylabel=r"$\lambda_{\max}$ (nats/rad$^2$)")
    axes[2].set(xscale="log", yscale="log", xlabel="products with all images", ylabel="residual (nats/rad$^2$)")
    for ax in axes[:2]:
        ax.axhline(exact, color=INK, lw=0.8, ls=":")
    axes[1].legend(fontsize=8)
    return fig
