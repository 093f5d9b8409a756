"""Curvature at equal losses: a design in which patches, depth, learning rate and loss vary apart from each other.

At the minima of a grid the loss follows from the configuration, so that a fit cannot tell them apart. Here every run is
looked at where its training loss passes a few preset values, the same for all. One file per configuration.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchscape.config import RunConfig
from patchscape.curvature import full_data, measures
from patchscape.learning import data, model, training
from patchscape.store import files, grids, records
from patchscape.study import jobs

LOSSES = (1.0, 0.45, 0.2)  # ours: nats; the slowest configuration reaches the last one
RATES = (1e-2, 2e-2, 4e-2)  # ours: around the laptop grid's rate
SEEDS = tuple(range(5))  # ours
EPOCHS = 60  # ours: most of them; a run ends when all its seeds have passed the last loss


class Passing(NamedTuple):
    """Where a run passes a preset loss.

    Attributes:
        epoch: from 0; the end of it. -1: the run does not get there.
        loss: over all training images there, in nats.
        params: there; None if the run does not get there.
    """

    epoch: int
    loss: float
    params: model.Params | None


def runs() -> Iterator[RunConfig]:
    """Returns the configurations of the design: the laptop grid's, with one patch left out, for each learning rate."""
    for n, depth, rate in product(grids.PATCHES, grids.DEPTHS, RATES):
        protocol = grids.LAPTOP.model_copy(update={"learning_rate": rate, "epochs": EPOCHS})
        yield grids.laptop(n, depth, train=protocol)


def passings(
    run: RunConfig, images: data.ImageData, seeds: Sequence[int], losses: Sequence[float]
) -> list[list[Passing]]:
    """Trains a configuration until all seeds have passed all losses, or its epochs are over.

    Args:
        run: the configuration.
        images: its data set.
        seeds: one run each.
        losses: in nats, falling.

    Returns:
        For each seed and loss: of the first epoch that ends at or below it and the one before, the one whose loss is
        nearer to it in logarithm.
    """
    found: list[list[Passing]] = [[] for _ in seeds]
    before: list[Passing | None] = [None] * len(found)

    def look(epoch: int, params: model.Params, curves: Mapping[str, np.ndarray]) -> bool:
        for i, (own, loss) in enumerate(zip(found, curves["train_loss"].tolist(), strict=True)):
            here = Passing(epoch, loss, {name: np.asarray(value)[i] for name, value in params.items()})
            while len(own) < len(losses) and loss <= (wanted := losses[len(own)]):
                near = [here if one is None else one for one in (before[i], here)]
                own.append(min(near, key=lambda one: abs(np.log(one.loss / wanted))))
            before[i] = here
        return all(len(own) == len(losses) for own in found)

    training.train(run, images, seeds=seeds, after_epoch=look)
    never = Passing(-1, np.nan, None)
    return [own + [never] * (len(losses) - len(own)) for own in found]


def at(loss: full_data.FullDataLoss, images: data.ImageData, params: model.Params) -> dict[str, float]:
    """Measures the curvature at one point.

    Args:
        loss: over all training images.
        images: the data set.
        params: as from `model.init`.

    Returns:
        Columns lambda_max and lambda_max_phi with residuals, impurity, expected_lambda_max and expected_phi, as
        data/results/README.md explains them.
    """
    cfg, flat = loss.cfg, model.flatten(params)
    point = loss.at(flat)
    whole, _ = measures.spectrum(cfg, point.gradient, point.hessian, top=1, bottom=0)
    phi = measures.without_bias(cfg, point, names=["lambda_max_phi"])
    expected = measures.expected(cfg, params, images.train_angles, loss.probabilities(flat))
    return phi | {
        "lambda_max": whole["lambda_max"],
        "lambda_max_residual": whole["lambda_max_residual"],
        "impurity": expected["impurity"],
        "expected_lambda_max": expected["expected_all"][0],
        "expected_phi": expected["expected_phi"][0],
    }


def make(run: RunConfig, out: str | Path, *, seeds: Sequence[int] = SEEDS, losses: Sequence[float] = LOSSES) -> Path:
    """Trains and measures one configuration and stores what is found, unless it is stored.

    Args:
        run: the configuration; its seed is the first one.
        out: folder of the files.
        seeds: one run each.
        losses: in nats, falling.

    Returns:
        The file.

    Raises:
        ValueError: if the file is damaged, or was made with other losses.
    """
    target, losses = Path(out) / f"{run.name(seeds)}.safetensors", [float(loss) for loss in losses]
    with jobs.alone(target):
        if target.exists():
            if (stored := records.read(target).meta["losses"]) != losses:
                raise ValueError(f"{target} has losses={stored}, not {losses}: delete it and make it anew.")
            return target
        start, images = time.perf_counter(), data.load_run(run)
        rows, loss = [], full_data.FullDataLoss(run.model, images.train_angles, images.train_labels)
        for own in passings(run, images, seeds, losses):
            here = [{} if there.params is None else at(loss, images, there.params) for there in own]
            names = dict.fromkeys(name for columns in here for name in columns)
            columns = {name: [values.get(name, np.nan) for values in here] for name in names}
            rows.append(columns | {"epoch": [there.epoch for there in own], "train_loss": [t.loss for t in own]})
        never = [np.nan] * len(losses)
        arrays = {name: np.array([row.get(name, never) for row in rows]) for row in rows for name in row}
        meta = {
            "run": run.model_dump(mode="json"),
            "seeds": list(seeds),
            "losses": losses,
            "wall_s": time.perf_counter() - start,
            "images": images.fingerprint,
            "provenance": records.provenance(),
        }
        files.write("matched", target, arrays, meta)
    return target
