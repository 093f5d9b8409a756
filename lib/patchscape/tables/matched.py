"""Curvature of runs where they pass preset losses."""

from pathlib import Path

import pandas as pd

from patchscape import law
from patchscape.config import RunConfig
from patchscape.store import files, records


def table(folder: str | Path | None = None) -> pd.DataFrame:
    """Reads what is stored.

    Args:
        folder: where to look; default is data/results/matched.

    Returns:
        One row per run and preset loss: n_patches, depth, angles (m), learning_rate, seed, preset and train_loss
        (nats), loss_factor (1 - exp(-train_loss)), and the columns of the files, NaN where the run does not get to the
        loss. Empty if nothing is stored.

    Raises:
        ValueError: if a file is damaged.
    """
    where, rows = files.folder_of("matched") if folder is None else Path(folder), []
    for path in sorted(where.glob("*.safetensors")):
        arrays, meta = records.read(path)
        run = RunConfig(**meta["run"])
        of_run = {
            "n_patches": run.model.n_patches,
            "depth": run.model.depth,
            "angles": run.model.n_params_per_qnn,
            "learning_rate": run.train.learning_rate,
        }
        for i, seed in enumerate(meta["seeds"]):
            for j, preset in enumerate(meta["losses"]):
                here = {name: value[i, j].item() for name, value in arrays.items()}
                rows.append(of_run | {"seed": seed, "preset": preset} | here)
    found = pd.DataFrame(rows)
    return found.assign(loss_factor=law.loss_factor(found.train_loss)) if rows else found
