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
from tqdm.auto import tqdm

from patchscape import (
    checkpoints,
    curvature,
    data,
    full_data,
    landscape,
    measurement,
    model,
    points,
    results,
    training,
)
from patchscape.config import RunConfig
from patchscape.grids import LARGE, Job
from patchscape.recorded import recorded

SAME_LOSS = 1e-4  # ours: relative; float32 sums in another order differ by less
SAME_TOP = 2e-3  # ours: relative; twice the residual that the stored value may have
_NEEDED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "minimum_epoch")  # of every run file
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


def read_run(path: str | Path) -> tuple[RunConfig, results.Record]:
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
    record = results.read(path)
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


def read_pair(run_file: Path) -> tuple[results.Record, results.Record | None]:
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
    found = results.read(path)
    if found.meta.get("run_file") != results.checksum(record.arrays, record.meta):
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
            checkpoints.remove(checkpoint)
        trained = training.train(
            job.run,
            data.load_run(job.run),
            seeds=job.seeds,
            checkpoint=checkpoint,
            keep_trajectory=True,
            progress=progress,
        )
        extra = _principal(trained, plane=job.level in LARGE)
        if job.keep_path:
            extra |= {f"final/{name}": value for name, value in trained.final.items()}
        training.store(path, job.run, trained, extra=extra, keep_trajectory=job.keep_path)
        checkpoints.remove(checkpoint)
    return path


def measure(job: Job, folder: str | Path, *, progress: bool = False, redo: bool = False) -> Path:
    """Measures the curvature at the minima of a trained job and writes it; does nothing if that is done.

    Args:
        job: the job.
        folder: of result files.
        progress: show a progress bar.
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
        prepared = measurement.prepare(job.run, images_of(record))
        for number in tqdm(range(len(found), len(job.seeds)), disable=not progress, unit="minimum", desc=job.name):
            start = time.perf_counter()
            point, products = minimum(record, number), _products(path, number)
            found.append(measurement.at(prepared, point, job.level, _recorded(products, identity["run_file"])))
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
        _remove_products(path)
    return path


def complete(job: Job, folder: str | Path, *, progress: bool = False) -> Path:
    """Adds to the curvature file of a job what older code, or a lower level, did not measure.

    Losses and accuracies at the minima, traces of G, what T4 and T5 expect, and for level "leading" the spectrum.

    Args:
        job: the job.
        folder: of result files.
        progress: show a progress bar.

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
        missing = measurement.wanted(job.level) - set(found.arrays)
        if not missing:
            return path
        start, new = time.perf_counter(), []
        prepared = measurement.prepare(job.run, images_of(record))
        for number in tqdm(range(len(job.seeds)), disable=not progress, unit="minimum", desc=job.name):
            record_as = _recorded(_products(path, number), found.meta["run_file"])
            new.append(measurement.only(prepared, minimum(record, number), missing, record_as))
        new = _stack(new)
        added = {"columns": sorted(new), "wall_s": time.perf_counter() - start, "provenance": results.provenance()}
        results.write(path, found.arrays | new, found.meta | {"added": [*found.meta.get("added", []), added]})
        _remove_products(path)
    return path


def images_of(record: results.Record, images: data.ImageData | None = None) -> data.ImageData:
    """Returns the images that a stored run was trained on.

    Args:
        record: of the run file.
        images: these, if they are the user's own; None loads those that `data.load_run` knows.

    Returns:
        The data set. Files of older code have no fingerprint to compare it with: their configuration says what it is.

    Raises:
        ValueError: if the images cannot be loaded, or are not those that the run was trained on.
    """
    run, fingerprint = RunConfig(**record.meta["run"]), record.meta.get("images")
    if images is None:
        return data.load_run(run, fingerprint)
    data.check(run, images, fingerprint)
    return images


def eigenpairs(
    run_file: str | Path,
    number: int = 0,
    k: int = 1,
    *,
    images: data.ImageData | None = None,
    tol: float = points.TOLERANCE,
    chunk: int = full_data.CHUNK,
) -> curvature.Eigenpairs:
    """Computes the largest Hessian eigenvalues over all training images at a stored minimum.

    Args:
        run_file: as `training.store` writes it.
        number: position of the seed.
        k: number of eigenpairs.
        images: the ones that the run was trained on, if they are the user's own.
        tol: allowed residual relative to the largest eigenvalue in size.
        chunk: images at once; sets the memory, not the result.

    Returns:
        Eigenpairs with vectors (k, P), bias first; eigenvalues in nats per rad^2.

    Raises:
        ValueError: if the file is damaged or no run file, has no such seed, or the images are others.
    """
    record = results.read(run_file)
    params = minimum(record, number)
    images = images_of(record, images)
    cfg = RunConfig(**record.meta["run"]).model
    loss = full_data.FullDataLoss(cfg, images.train_angles, images.train_labels, chunk)
    return curvature.eigenpairs(loss.at(full_data.flatten(params)).hessian, loss.size, k, seed=0, tol=tol)


def minimum(record: results.Record, number: int) -> model.Params:
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
    params = minimum(record, number)
    if found is None:
        raise ValueError(f"{run_file} has no curvature file beside it: `patchscape measure {run_file}` makes it.")
    if "train_loss" not in found.arrays:
        raise ValueError(f"{beside(Path(run_file))} has no losses: add them (`patchscape job GRID NAME complete`).")
    prepared = _prepared(RunConfig(**record.meta["run"]), record.meta.get("images"))
    again = measurement.again(prepared, params)
    compared: dict[str, float] = {}
    for name, value in again.items():
        stored = float(found.arrays[name][number])
        compared |= {name: stored, f"{name}_again": value, f"{name}_difference": abs(value / stored - 1)}
    return compared


@lru_cache(maxsize=1)  # the minima of one file share images and compiled programs
def _prepared(run: RunConfig, fingerprint: str | None) -> measurement.Prepared:
    return measurement.prepare(run, data.load_run(run, fingerprint))


def _principal(trained: training.Trained, *, plane: bool) -> dict[str, np.ndarray]:
    """PCA of every trajectory: ratios, coordinates, distances, and with `plane` directions; NaN if the run diverged."""
    if trained.trajectory is None:
        return {"pca_ratios": np.full((len(trained.seeds), _PRINCIPAL), np.nan)}
    found: dict[str, list] = {name: [] for name in ("ratios", "coordinates", "distances", "directions")}
    for path, epoch in zip(trained.trajectory, trained.minimum_epoch, strict=True):
        path = path.reshape(len(path), -1).astype(np.float64)
        ratios, distances = np.full(_PRINCIPAL, np.nan), np.full(len(path), np.nan)
        coordinates, directions = np.full((len(path), 2), np.nan), np.full((2, path.shape[1]), np.nan)
        if len(path) >= 3 and np.all(np.isfinite(path)):
            origin, directions, coordinates, _ = landscape.pca_plane(path, int(epoch) + 1)
            variance = np.linalg.svd(path - path.mean(0), compute_uv=False) ** 2
            ratios = np.resize(np.r_[variance / variance.sum(), np.zeros(_PRINCIPAL)], _PRINCIPAL)
            distances = np.linalg.norm(path - origin - coordinates @ directions, axis=1)
        for name, value in zip(found, (ratios, coordinates, distances, directions.astype(np.float32)), strict=True):
            found[name].append(value)
    return {f"pca_{name}": np.stack(value) for name, value in found.items() if plane or name != "directions"}


def _stack(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of several minima, leading axis the seed; where a minimum has none, NaN."""
    like = {name: np.asarray(value, float) for columns in found for name, value in columns.items()}
    nothing = {name: np.full(value.shape, np.nan) for name, value in like.items()}
    return {name: np.stack([np.asarray(c.get(name, nothing[name]), float) for c in found]) for name in like}


def _unstack(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    count = len(next(iter(arrays.values()), []))
    return [{name: value[i] for name, value in arrays.items()} for i in range(count)]


def _products(path: Path, number: int) -> Path:
    """Start of the names of the files that keep the products of one seed."""
    return _unfinished(path).with_suffix(f".{number}")


def _recorded(products: Path, run_file: str) -> measurement.Record:
    def record(name: str, matvec: measurement.Matvec) -> measurement.Matvec:
        return recorded(matvec, products.with_name(f"{products.name}-{name}.safetensors"), run_file)

    return record


def _remove_products(path: Path) -> None:
    for kept in _unfinished(path).parent.glob(f"{path.stem}.*-*.safetensors"):
        kept.unlink()


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
