"""Where results lie, which files belong together, and whether they are whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchscape import runtime
from patchscape.config import RunConfig
from patchscape.store import columns, records
from patchscape.store.grids import Job

OWN = "runs"  # the folder that `patchscape train` writes to, below the working folder; never part of the book
_NEEDED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "minimum_epoch")  # of every run file


def data_folder() -> Path:
    """Returns the project's data folder, or the one that the environment variable PATCHSCAPE_DATA names.

    Returns:
        A folder that is there.

    Raises:
        ValueError: if there is none.
    """
    named = os.environ.get("PATCHSCAPE_DATA")
    where = Path(named) if named else runtime.root() / "data"
    if not where.is_dir():
        raise ValueError(
            f"the data folder {where} is not there: name the project's data folder in PATCHSCAPE_DATA, "
            "or unset it in a clone of the project."
        )
    return where


def folder_of(grid: str) -> Path:
    """Returns the folder of a grid's result files, data/results/GRID; `OWN` lies in the working folder."""
    return Path(OWN) if grid == OWN else data_folder() / "results" / grid


def paths(job: Job, folder: str | Path) -> tuple[Path, Path]:
    """Returns the job's run file and its curvature file."""
    run_file = Path(folder) / f"{job.name}.safetensors"
    return run_file, beside(run_file)


def beside(run_file: Path) -> Path:
    """Returns the name of the curvature file that belongs to a run file."""
    return run_file.with_name(f"{run_file.stem}-curvature.safetensors")


def unfinished(path: Path) -> Path:
    """Returns where a result file lies while it is not finished."""
    return path.parent / "unfinished" / path.name


def state(job: Job, folder: str | Path) -> str:
    """Returns how far a job is: "missing", "started", "trained", "done", or why a file of it is refused."""
    run_file, curvature_file = paths(job, folder)
    try:
        if curvature_file.exists() and run_file.exists():
            read_pair(run_file)
            return "done"
        if run_file.exists():
            records.read(run_file)
            return "trained"
    except ValueError as error:
        return str(error)
    return "started" if unfinished(run_file).exists() else "missing"


def read_run(path: str | Path) -> tuple[RunConfig, records.Record]:
    """Reads a run file that a user names.

    Args:
        path: the file.

    Returns:
        Its configuration, with the first seed, and what it holds.

    Raises:
        ValueError: if it is another kind of file, or damaged.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a run file: give a .safetensors file of `patchscape train` or of a grid.")
    record = records.read(path)
    if "run_file" in record.meta:
        raise ValueError(f"{path} holds what was measured at the minima of a run file: give that run file instead.")
    if "seeds" not in record.meta:
        raise ValueError(f"{path} is not the file of a finished run: let its training end first.")
    try:
        run, count = RunConfig(**record.meta["run"]), len(record.meta["seeds"])
        size = (count, run.model.n_patches, run.model.n_params_per_qnn)
        fits = record.arrays["minimum/phi"].shape == size and all(len(record.arrays[name]) == count for name in _NEEDED)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no run file that this version can read ({error}): train it again.") from error
    if not fits:
        raise ValueError(f"{path} does not hold what its configuration and its {count} seeds say: train it again.")
    return run, record


def job_of(path: Path) -> Job:
    """Returns the job of a run file that a user names: one for which the largest eigenvalue is measured.

    Args:
        path: the file.

    Returns:
        The job; no grid has to have it.

    Raises:
        ValueError: if the file is no run file, is damaged, or is not called as its run is.
    """
    run, record = read_run(path)
    job = Job(run, tuple(record.meta["seeds"]), "top", ())
    if path.stem != job.name:
        raise ValueError(f"{path} does not have the name of its run: rename it to {job.name}.safetensors.")
    return job


def read_pair(run_file: Path) -> tuple[records.Record, records.Record | None]:
    """Reads a run file and, if it is there, the curvature file that belongs to it.

    Args:
        run_file: as `paths` names it.

    Returns:
        Both records.

    Raises:
        ValueError: if a file is damaged or the second belongs to another run file.
    """
    _, record = read_run(run_file)
    path = beside(run_file)
    if not path.exists():
        return record, None
    found = records.read(path)
    if found.meta.get("run_file") != records.checksum(record.arrays, record.meta):
        raise ValueError(f"{path} belongs to another run file: delete it and rerun its job.")
    return record, found


def write(kind: columns.Kind, path: str | Path, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes a result file, if its arrays are as `columns` describes them.

    Args:
        kind: of result file.
        path: the file, ending in .safetensors.
        arrays: by name, with a leading axis of seeds.
        meta: plain JSON data; of all kinds but "beyond" with the configuration `run` and the `seeds`.

    Raises:
        ValueError: if a column is unknown or has another shape; nothing is written then.
        OSError: if the file cannot be written.
    """
    columns.check(kind, arrays, meta)
    records.write(path, arrays, meta)


def minimum(record: records.Record, number: int) -> dict[str, np.ndarray]:
    """Parameters of one seed's minimum in a run file.

    Args:
        record: of the run file.
        number: position of the seed.

    Returns:
        {"phi", "bias"}, the latter with a shared bias only.

    Raises:
        ValueError: if the file has no minima or no such seed.
    """
    if "minimum/phi" not in record.arrays:
        raise ValueError("this file holds no minima: give the run file that `patchscape train` or a job has written.")
    if not 0 <= number < len(record.meta["seeds"]):
        raise ValueError(f"number={number}: the run file has seeds {record.meta['seeds']}, numbered from 0.")
    prefix = "minimum/"
    return {key[len(prefix) :]: value[number] for key, value in record.arrays.items() if key.startswith(prefix)}
