"""The experiment in the page: small circuits that a reader's own browser trains and takes the curvature of.

Like the explorer it is a fragment of HTML that needs nothing beside it. What the circuit is comes from here, so that
the script (`assets/experiment_core.js`) has no ansatz, no protocol and no image of its own.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Protocol

import numpy as np

from patchscape.circuit import ansatz
from patchscape.config import ModelConfig, RunConfig, TrainConfig
from patchscape.figures.style import colour

PATCHES, DEPTHS = (1, 4, 9), (1, 2)
PIXEL_MAX = 16  # of scikit-learn's digits
# ours: what a browser trains in seconds
RUN = RunConfig(
    model=ModelConfig(n_qubits=4, image_side=8, n_classes=4, n_patches=4, depth=1),
    train=TrainConfig(learning_rate=2e-2, epochs=30, batch_size=50),
    dataset="digits",
    n_train=300,
    n_test=100,
    seed=0,
)
# What the three buttons train: keywords of `configured`.
TRIES = {
    "mean": {"depth": 1, "aggregation": "mean", "scale": 100.0},
    "sum": {"depth": 1, "aggregation": "sum", "scale": 25.0},  # the same model as the mean for n = 4
    "depth": {"depth": 2, "aggregation": "mean", "scale": 100.0},
}


class Images(Protocol):
    """Angles in rad and labels of training and test images, as `patchscape.learning.data.ImageData` holds them."""

    train_angles: np.ndarray
    train_labels: np.ndarray
    test_angles: np.ndarray
    test_labels: np.ndarray


def configured(n_patches: int, depth: int, **changes: Any) -> RunConfig:
    """Returns the run that the page makes of a choice, for the library.

    Args:
        n_patches: 1, 4 or 9.
        depth: layers per block.
        **changes: aggregation, scale or seed.

    Returns:
        The configuration.
    """
    run = RUN.model_dump()
    seed = changes.pop("seed", RUN.seed)
    model = run["model"] | {"n_patches": n_patches, "depth": depth} | changes
    return RunConfig(**run | {"model": ModelConfig(**model), "train": RUN.train, "seed": seed})


def collect(images: Images) -> dict[str, Any]:
    """Gathers what the script needs: images, protocol, gates, outputs and places of patches.

    Args:
        images: of `RUN`, from `data.load_run(experiment.RUN)`.

    Returns:
        Plain JSON data; pixels as text, one digit to the base 17 for each, images one after the other.

    Raises:
        ValueError: if the angles are not those of such images.
    """
    cfg = RUN.model
    circuits = {d: cfg.model_copy(update={"depth": d}) for d in DEPTHS}
    return {
        "side": cfg.image_side,
        "qubits": cfg.n_qubits,
        "classes": cfg.n_classes,
        "largest": PIXEL_MAX,
        "protocol": RUN.train.model_dump(),
        "train": _images(images.train_angles, images.train_labels),
        "test": _images(images.test_angles, images.test_labels),
        "circuits": {d: {"angles": c.n_params_per_qnn, "gates": _gates(c)} for d, c in circuits.items()},
        "outputs": ansatz.observables(cfg),
        "offsets": {n: configured(n, DEPTHS[0]).model.offsets for n in PATCHES},
        "tries": TRIES,
        "colours": {n: colour(n) for n in PATCHES},
    }


def fragment(data: Mapping[str, Any]) -> str:
    """Returns the experiment as HTML to be put into a page.

    Args:
        data: from `collect`.

    Returns:
        Markup, style, data and scripts.
    """
    assets = files("patchscape.book") / "assets"
    read = lambda name: (assets / name).read_text(encoding="utf-8")  # noqa: E731
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return (
        f"<style>\n{read('explorer.css')}{read('experiment.css')}</style>\n{read('experiment.html')}"
        f'<script type="application/json" id="experiment-data">{text}</script>\n'
        f"<script>\n{read('plots.js')}{read('experiment_core.js')}{read('experiment.js')}</script>\n"
    )


def _images(angles: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    pixels = np.asarray(angles, float) * (RUN.model.n_qubits * PIXEL_MAX / (2 * np.pi))
    whole = np.rint(pixels).astype(int)
    if np.abs(pixels - whole).max() > 1e-4 or not 0 <= whole.min() <= whole.max() <= PIXEL_MAX:
        raise ValueError(
            f"the angles are not those of pixels from 0 to {PIXEL_MAX} for {RUN.model.n_qubits} qubits: give "
            "`data.load_run(experiment.RUN)`."
        )
    digits = np.array(list("0123456789abcdefg"))
    return {"pixels": "".join(digits[whole.ravel()]), "labels": np.asarray(labels).tolist()}


def _gates(cfg: ModelConfig) -> list[dict[str, Any]]:
    """The gates of a circuit in time order, the CZ gates of a ring as one."""
    found: list[dict[str, Any]] = []
    for gate in ansatz.gates(cfg):
        if gate.name == "CZ":
            if gate.wires[0] == 0:  # the first of its ring
                found.append({"ring": True})
        else:
            found.append({"axis": gate.name[1], "wire": gate.wires[0], str(gate.source): gate.index})
    return found
