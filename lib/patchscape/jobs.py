"""Runs one job of a grid: training, then everything measured at its minima. Killed at any moment, it continues.

Two files come out, `<name>.safetensors` and `<name>-curvature.safetensors`. What is unfinished lies in the folder
`unfinished` beside them and is rewritten after every epoch and after every measured point.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from patchscape import data, landscape, measurement, model, results, training
from patchscape.config import RunConfig
from patchscape.grids import Job

SAME_LOSS = 1e-4  # ours: relative; float32 sums in another order differ by less
SAME_TOP = 2e-3  # ours: relative; twice the residual that the stored value may have
_PRINCIPAL = 10  # ours: leading PCA ratios that are kept


def paths(job: Job, folder: str | Path) -> tuple[Path, Path]:
    """Returns the job's run file and its curvature file."""
    run_file = Path(folder) / f"{job.name}.safetensors"
    return run_file, beside(run_file)


def beside(run_file: Path) -> Path:
    """Returns the name of the curvature file that belongs to a run file."""
    return run_file.with_name(f"{run_file.stem}-curvature.safetensors")


def state(job: Job, folder: str | Path) -> str:
    """Returns how far a job is: "missing", "started", "trained", "done", or why a file of it is refused."""
    run_file, curvature_file = paths(job, folder)
    try:
        if curvature_file.exists() and run_file.exists():
            read_pair(run_file)
            return "done"
        if run_file.exists():
            results.read(run_file)
            return "trained"
    except ValueError as error:
        return str(error)
    return "started" if _unfinished(run_file).exists() else "missing"


def read_pair(run_file: Path) -> tuple[results.Record, results.Record | None]:
    """Reads a run file and, if it is there, the curvature file that belongs to it.

    Args:
        run_file: as `paths` names it.

    Returns:
        Both records.

    Raises:
        ValueError: if a file is damaged or the second belongs to another run file.
    """
    record = results.read(run_file)
    path = beside(run_file)
    if not path.exists():
        return record, None
    found = results.read(path)
    if found.meta["run_file"] != results.checksum(record.arrays, record.meta):
        raise ValueError(f"{path} belongs to another run file: delete it and rerun its job.")
    return record, found


def train(job: Job, folder: str | Path, *, progress: bool = False, redo: bool = False) -> Path:
    """Trains a job and writes its run file; does nothing if a sound one is there.

    Args:
        job: the job.
        folder: of result files.
        progress: show a progress bar.
        redo: put a damaged file, or a checkpoint of other code, aside and start anew.

    Returns:
        The run file.

    Raises:
        ValueError: if a file is damaged.
    """
    path, _ = paths(job, folder)
    with _alone(path):
        if _sound(path, redo):
            return path
        checkpoint = _unfinished(path)
        if redo:
            checkpoint.unlink(missing_ok=True)
        trained = training.train(
            job.run,
            data.load_run(job.run),
            seeds=job.seeds,
            checkpoint=checkpoint,
            keep_trajectory=True,
            progress=progress,
        )
        training.store(path, job.run, trained, extra=_principal(trained), keep_trajectory=job.level == "top")
        checkpoint.unlink(missing_ok=True)
    return path


def measure(job: Job, folder: str | Path, *, redo: bool = False) -> Path:
    """Measures the curvature at the minima of a trained job and writes it; does nothing if that is done.

    Args:
        job: the job.
        folder: of result files.
        redo: put a damaged file aside and start anew.

    Returns:
        The curvature file.

    Raises:
        ValueError: if a file is damaged or the job is not trained.
    """
    run_file, path = paths(job, folder)
    with _alone(path):
        if not run_file.exists():
            raise ValueError(f"{run_file} is missing: train the job first (`patchscape job GRID {job.name} train`).")
        record = results.read(run_file)
        identity = {"run_file": results.checksum(record.arrays, record.meta), "level": job.level}
        if _sound(path, redo, identity["run_file"]):
            return path
        unfinished = _unfinished(path)
        if redo:
            unfinished.unlink(missing_ok=True)
        found, wall = [], 0.0
        if unfinished.exists():
            saved = results.read(unfinished)
            if saved.meta["identity"] == identity:
                found, wall = _unstack(saved.arrays), saved.meta["wall_s"]
        prepared = measurement.prepare(job.run)
        for number in range(len(found), len(job.seeds)):
            start = time.perf_counter()
            found.append(measurement.at(prepared, minimum(record, number), job.level))
            wall += time.perf_counter() - start
            if number + 1 < len(job.seeds):
                results.write(unfinished, _stack(found), {"identity": identity, "wall_s": wall})
        meta = {
            "run": job.run.model_dump(mode="json"),
            "seeds": list(job.seeds),
            "level": job.level,
            "run_file": identity["run_file"],
            "wall_s": wall,
            "provenance": results.provenance(),
        }
        results.write(path, _stack(found), meta)
        unfinished.unlink(missing_ok=True)
    return path


def complete(job: Job, folder: str | Path) -> Path:
    """Adds to the curvature file of a job what older code did not measure.

    Losses and accuracies at the minima, traces of G, and what T4 and T5 expect.

    Args:
        job: the job.
        folder: of result files.

    Returns:
        The curvature file, rewritten whole if anything was missing; its metadata list under `added` what was measured
        later, and by which code.

    Raises:
        ValueError: if the job is not done or a file is damaged.
    """
    run_file, path = paths(job, folder)
    with _alone(path):
        if not run_file.exists() or not path.exists():
            raise ValueError(f"{path} is missing: run the job first (`patchscape job GRID {job.name}`).")
        record, found = read_pair(run_file)
        missing = measurement.LATER - set(found.arrays)
        if not missing:
            return path
        start, prepared = time.perf_counter(), measurement.prepare(job.run)
        minima = (minimum(record, number) for number in range(len(job.seeds)))
        new = _stack([measurement.only(prepared, params, missing) for params in minima])
        added = {"columns": sorted(new), "wall_s": time.perf_counter() - start, "provenance": results.provenance()}
        results.write(path, found.arrays | new, found.meta | {"added": [*found.meta.get("added", []), added]})
    return path


def minimum(record: results.Record, number: int) -> model.Params:
    """Parameters of one seed's minimum in a run file.

    Args:
        record: of the run file.
        number: position of the seed.

    Returns:
        {"phi", "bias"}, the latter with a shared bias only.

    Raises:
        ValueError: if the file has no such seed.
    """
    if not 0 <= number < len(record.meta["seeds"]):
        raise ValueError(f"number={number}: the run file has seeds {record.meta['seeds']}, numbered from 0.")
    prefix = "minimum/"
    return {key[len(prefix) :]: value[number] for key, value in record.arrays.items() if key.startswith(prefix)}


def verify(run_file: str | Path, number: int = 0) -> dict[str, float]:
    """Recomputes loss and largest Hessian eigenvalue at a stored minimum.

    Args:
        run_file: a run file that has its curvature file beside it.
        number: position of the seed.

    Returns:
        train_loss and lambda_max (stored and again), and their relative differences.

    Raises:
        ValueError: if a file is damaged, or there is no stored curvature, or it is of older code and not completed.
    """
    record, found = read_pair(Path(run_file))
    if found is None:
        raise ValueError(f"{run_file} has no curvature file beside it: run its job first.")
    if "train_loss" not in found.arrays:
        raise ValueError(f"{beside(Path(run_file))} has no losses: add them (`patchscape job GRID NAME complete`).")
    again = measurement.again(_prepared(RunConfig(**record.meta["run"])), minimum(record, number))
    compared: dict[str, float] = {}
    for name, value in again.items():
        stored = float(found.arrays[name][number])
        compared |= {name: stored, f"{name}_again": value, f"{name}_difference": abs(value / stored - 1)}
    return compared


@lru_cache(maxsize=1)  # the minima of one file share images and compiled programs
def _prepared(run: RunConfig) -> measurement.Prepared:
    return measurement.prepare(run)


def _principal(trained: training.Trained) -> dict[str, np.ndarray]:
    """PCA of every trajectory: ratios, coordinates in the plane, distances from it; NaN for a run that diverged."""
    found: dict[str, list] = {"pca_ratios": [], "pca_coordinates": [], "pca_distances": []}
    for path, epoch in zip(trained.trajectory, trained.minimum_epoch, strict=True):
        path = path.reshape(len(path), -1).astype(np.float64)
        ratios, coordinates, distances = np.full(_PRINCIPAL, np.nan), np.full((len(path), 2), np.nan), np.nan
        if len(path) >= 3 and np.all(np.isfinite(path)):
            plane = landscape.pca_plane(path, int(epoch) + 1)
            variance = np.linalg.svd(path - path.mean(0), compute_uv=False) ** 2
            ratios = np.resize(np.r_[variance / variance.sum(), np.zeros(_PRINCIPAL)], _PRINCIPAL)
            coordinates = plane.coordinates
            distances = np.linalg.norm(path - plane.origin - coordinates @ plane.directions, axis=1)
        found["pca_ratios"].append(ratios)
        found["pca_coordinates"].append(coordinates)
        found["pca_distances"].append(np.broadcast_to(distances, len(path)))
    return {name: np.stack(value) for name, value in found.items()}


def _stack(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of several minima, leading axis the seed; where a minimum has none, NaN."""
    like = {name: np.asarray(value, float) for columns in found for name, value in columns.items()}
    nothing = {name: np.full(value.shape, np.nan) for name, value in like.items()}
    return {name: np.stack([np.asarray(c.get(name, nothing[name]), float) for c in found]) for name in like}


def _unstack(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    count = len(next(iter(arrays.values()), []))
    return [{name: value[i] for name, value in arrays.items()} for i in range(count)]


def _unfinished(path: Path) -> Path:
    return path.parent / "unfinished" / path.name


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the lock of a result file; the system releases it when the process ends, however it ends.

    Waits for another process that holds it: it finishes the work, or it ends early and its checkpoint is taken up.
    """
    held = FileLock(_unfinished(path).with_suffix(".lock"))
    try:
        _unfinished(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            print(f"patchscape: another process is working on {path}: waiting for it.", file=sys.stderr, flush=True)
            held.acquire()
    except OSError as error:
        raise type(error)(f"{path} could not be written ({error.strerror}).") from error
    try:
        yield
    finally:
        held.release()


def _sound(path: Path, redo: bool, run_file: str | None = None) -> bool:
    """Says whether a result is there and whole; with `redo` a damaged one is put aside as <name>.damaged.

    Returns:
        Whether there is nothing left to do.

    Raises:
        ValueError: if it is damaged, or belongs to another run file, and `redo` is not given.
    """
    if not path.exists():
        return False
    try:
        record = results.read(path)
        if run_file is not None and record.meta["run_file"] != run_file:
            raise ValueError(f"{path} belongs to another run file: delete it and rerun its job.")
    except ValueError:
        if not redo:
            raise
        path.replace(path.with_suffix(".damaged"))
        return False
    return not redo
