"""Runs of the patch models beyond the paper's, as chapter 9 reads them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from patchscape import law
from patchscape.store import files, records

COLUMNS = ("n_patches", "angles", "noise", "seed", "train_loss", "accuracy", "lambda_max", "residual")


def path(kind: str, aggregation: str, folder: str | Path | None = None) -> Path:
    """Returns the file of one kind of model; the default folder is data/results/beyond."""
    where = files.folder_of("beyond") if folder is None else Path(folder)
    return where / f"{kind}-{aggregation}.safetensors"


def _read(file: Path) -> tuple[Mapping[str, Any], pd.DataFrame]:
    arrays, meta = records.read(file)
    table = pd.DataFrame({name: arrays[name] for name in COLUMNS})
    return meta["settings"], table.assign(per_loss=table.lambda_max / law.loss_factor(table.train_loss))


def table(folder: str | Path | None = None) -> pd.DataFrame:
    """Reads every stored run.

    Args:
        folder: where to look; default is data/results/beyond.

    Returns:
        One row per run: kind (of the function of a patch), aggregation, n_patches, angles (of one function), noise,
        seed, train_loss (nats), accuracy, lambda_max and its residual (nats per rad^2; of the kind `tanh` per squared
        unit of its weights) and per_loss = lambda_max / (1 - exp(-train_loss)). Empty if nothing is stored.

    Raises:
        ValueError: if a file is damaged.
    """

    def named() -> Iterator[pd.DataFrame]:
        for file in sorted(path("*", "*", folder).parent.glob("*.safetensors")):
            settings, rows = _read(file)
            yield rows.assign(kind=settings["kind"], aggregation=settings["model"]["aggregation"])

    found = list(named())
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def matching(
    settings: Mapping[str, Any], *, patches: Sequence[int], noise: Sequence[float], seeds: Sequence[int]
) -> pd.DataFrame | None:
    """Looks up runs of one kind of model.

    Args:
        settings: kind, model, learning_rate, steps and images, as the file has them.
        patches: numbers of patches.
        noise: strengths.
        seeds: of the start.

    Returns:
        The columns of a file and per_loss, one row per number of patches, strength and seed, in this order; None if
        the file is not there, has other settings, or lacks one of the runs.

    Raises:
        ValueError: if the file is damaged.
    """
    file = path(settings["kind"], settings["model"]["aggregation"])
    if not file.exists():
        return None
    found, rows = _read(file)
    wanted = pd.MultiIndex.from_product([patches, noise, seeds], names=["n_patches", "noise", "seed"])
    rows = rows.set_index(wanted.names)
    if found != settings or not wanted.isin(rows.index).all():
        return None
    return rows.loc[wanted].reset_index()


def end(settings: Mapping[str, Any]) -> np.ndarray | None:
    """Looks up where the first run of the largest model of one kind ends.

    Args:
        settings: as of `matching`.

    Returns:
        (n, m) angles in rad; None if the file is not there, has other settings, or does not keep them.

    Raises:
        ValueError: if the file is damaged.
    """
    file = path(settings["kind"], settings["model"]["aggregation"])
    if not file.exists():
        return None
    arrays, meta = records.read(file)
    return arrays.get("phi") if meta["settings"] == settings else None
