"""Stored minima, computed again: which there are, and whether loss and largest eigenvalue are still the same."""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from patchscape.config import RunConfig
from patchscape.learning import data
from patchscape.store import files, grids
from patchscape.study import levels

SAME_LOSS = 1e-4  # ours: relative; float32 sums in another order differ by less
SAME_TOP = 2e-3  # ours: relative; twice the residual that the stored value may have


class Verified(NamedTuple):
    """What is stored of a minimum, and what is computed of it now.

    Attributes:
        stored: train_loss in nats and lambda_max in nats per rad^2.
        again: both, computed now.
    """

    stored: dict[str, float]
    again: dict[str, float]

    @property
    def differences(self) -> dict[str, float]:
        """Of both, relative."""
        return {name: abs(value / self.stored[name] - 1) for name, value in self.again.items()}

    @property
    def same(self) -> bool:
        """Whether both agree, to `SAME_LOSS` and `SAME_TOP`."""
        return self.differences["train_loss"] <= SAME_LOSS and self.differences["lambda_max"] <= SAME_TOP


def minima(run_files: Sequence[Path] | None = None, sample: int | None = None, seed: int = 0) -> list[tuple[Path, int]]:
    """Lists stored minima that were measured.

    Args:
        run_files: where to look; None is every measured run of every grid, and the user's own in the folder `runs`.
        sample: so many of them, drawn at random; None is all.
        seed: of the draw.

    Returns:
        Run files and positions of seeds.

    Raises:
        ValueError: if there are none, or a file is no run file or has not been measured.
    """
    if not run_files:
        every = (path for name in (*grids.names(), files.OWN) for path in files.folder_of(name).glob("*.safetensors"))
        run_files = sorted(path for path in every if files.beside(path).exists())
    found = [(path, i) for path in run_files for i in range(len(files.read_run(path)[1].meta["seeds"]))]
    if not found:
        places = f"{files.data_folder() / 'results'} or {files.OWN}"
        raise ValueError(
            f"nothing to check: no run file in {places} has been measured (`patchscape measure FILE` does that)."
        )
    if unmeasured := [path for path in run_files if not files.beside(path).exists()]:
        raise ValueError(f"nothing to compare {unmeasured[0]} with: `patchscape measure {unmeasured[0]}` first.")
    return found if sample is None else random.Random(seed).sample(found, min(sample, len(found)))


def verify(run_file: str | Path, number: int = 0) -> Verified:
    """Recomputes loss and largest Hessian eigenvalue at a stored minimum.

    Args:
        run_file: a run file that has its curvature file beside it.
        number: position of the seed.

    Returns:
        Both, stored and again.

    Raises:
        ValueError: if a file is damaged, or there is no stored curvature, or it is of older code and not completed.
    """
    record, found = files.read_pair(Path(run_file))
    params = files.minimum(record, number)
    if found is None:
        raise ValueError(f"{run_file} has no curvature file beside it: `patchscape measure {run_file}` makes it.")
    if "train_loss" not in found.arrays:
        raise ValueError(
            f"{files.beside(Path(run_file))} has no losses: add them (`patchscape job GRID NAME complete`)."
        )
    prepared = _prepared(RunConfig(**record.meta["run"]), record.meta.get("images"))
    again = levels.again(prepared, params)
    return Verified({name: float(found.arrays[name][number]) for name in again}, again)


@lru_cache(maxsize=1)  # the minima of one file share images and compiled programs
def _prepared(run: RunConfig, fingerprint: str | None) -> levels.Prepared:
    return levels.prepare(run, data.load_run(run, fingerprint))
