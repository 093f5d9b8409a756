"""Runs one job of a grid: training, then everything measured at its minima. Killed at any moment, it continues.

Two files come out, `<name>.safetensors` and `<name>-curvature.safetensors`. What is unfinished lies in the folder
`unfinished` beside them and is rewritten after every epoch and after every measured point.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from patchscape.config import RunConfig
from patchscape.curvature import full_data, measures
from patchscape.learning import checkpoints, data, model, training
from patchscape.numerics import planes, spectra
from patchscape.store import files, records
from patchscape.store.grids import LARGE, Job
from patchscape.study import levels
from patchscape.study.recorded import recorded

_PRINCIPAL = 10  # ours: leading PCA ratios that are kept


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
    path, _ = files.paths(job, folder)
    with alone(path):
        if _sound(path, redo):
            return path
        if redo:
            checkpoints.remove(files.unfinished(path))
        trained = _trained(path, job.run, data.load_run(job.run), job.seeds, keep_trajectory=True, progress=progress)
        extra = _principal(trained, plane=job.level in LARGE)
        if job.keep_path:
            extra |= {f"final/{name}": value for name, value in trained.final.items()}
        training.store(path, job.run, trained, extra=extra, keep_trajectory=job.keep_path)
        checkpoints.remove(files.unfinished(path))
    return path


def train_own(
    run: RunConfig, seeds: Sequence[int], folder: str | Path, *, trajectory: bool = False, progress: bool = False
) -> tuple[Path, training.Trained]:
    """Trains a configuration that no grid need have and writes its run file, in place of one that is there.

    Args:
        run: the configuration.
        seeds: one training run each, all in one file.
        folder: of run files.
        trajectory: also store phi after every epoch.
        progress: show a progress bar.

    Returns:
        The run file, and what it holds.

    Raises:
        ValueError: if the configuration, a seed or a checkpoint does not fit.
    """
    path = Path(folder) / f"{run.name(seeds)}.safetensors"
    images = data.load_run(run)
    training.checked(run, images, seeds)  # before there is a lock
    with alone(path):
        trained = _trained(path, run, images, seeds, keep_trajectory=trajectory, progress=progress)
        training.store(path, run, trained)
        checkpoints.remove(files.unfinished(path))
    return path, trained


def _trained(
    path: Path,
    run: RunConfig,
    images: data.ImageData,
    seeds: Sequence[int],
    *,
    keep_trajectory: bool = False,
    progress: bool = False,
) -> training.Trained:
    """Trains, or goes on from the checkpoint of the run file."""
    checkpoint = files.unfinished(path)
    return training.train(
        run, images, seeds=seeds, checkpoint=checkpoint, keep_trajectory=keep_trajectory, progress=progress
    )


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
    run_file, path = files.paths(job, folder)
    with alone(path):
        if not run_file.exists():
            raise ValueError(f"{run_file} is missing: train the job first (`patchscape job GRID {job.name} train`).")
        record = records.read(run_file)
        identity = {"run_file": records.checksum(record.arrays, record.meta), "level": job.level}
        if _sound(path, redo, identity["run_file"]):
            return path
        unfinished = files.unfinished(path)
        if redo:
            unfinished.unlink(missing_ok=True)
        found, wall = [], 0.0
        if unfinished.exists():
            saved = records.read(unfinished)
            if saved.meta["identity"] == identity:
                found, wall = _unstack(saved.arrays), saved.meta["wall_s"]
        prepared = levels.prepare(job.run, images_of(record))
        for number in tqdm(range(len(found), len(job.seeds)), disable=not progress, unit="minimum", desc=job.name):
            start = time.perf_counter()
            point, kept = files.minimum(record, number), _products(path, number)
            found.append(levels.at(prepared, point, job.level, _recorded(kept, identity["run_file"])))
            wall += time.perf_counter() - start
            if number + 1 < len(job.seeds):
                records.write(unfinished, _stack(found), {"identity": identity, "wall_s": wall})
        meta = {
            "run": job.run.model_dump(mode="json"),
            "seeds": list(job.seeds),
            "level": job.level,
            "run_file": identity["run_file"],
            "wall_s": wall,
            "provenance": records.provenance(),
        }
        files.write("curvature", path, _stack(found), meta)
        unfinished.unlink(missing_ok=True)
        _remove_products(path)
    return path


def complete(job: Job, folder: str | Path, *, progress: bool = False) -> Path:
    """Adds to the curvature file of a job what older code, or a lower level, did not measure.

    Losses and accuracies at the minima, traces of G, what E1 and E2 expect, and for level "leading" the spectrum.

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
    run_file, path = files.paths(job, folder)
    with alone(path):
        if not run_file.exists() or not path.exists():
            raise ValueError(f"{path} is missing: run the job first (`patchscape job GRID {job.name}`).")
        record, found = files.read_pair(run_file)
        assert found is not None  # the file is there
        missing = levels.wanted(job.level) - set(found.arrays)
        if not missing:
            return path
        start, new = time.perf_counter(), []
        prepared = levels.prepare(job.run, images_of(record))
        for number in tqdm(range(len(job.seeds)), disable=not progress, unit="minimum", desc=job.name):
            record_as = _recorded(_products(path, number), found.meta["run_file"])
            new.append(levels.only(prepared, files.minimum(record, number), missing, record_as))
        columns = {name: value for name, value in _stack(new).items() if name not in found.arrays}
        added = {"columns": sorted(columns), "wall_s": time.perf_counter() - start, "provenance": records.provenance()}
        meta = found.meta | {"added": [*found.meta.get("added", []), added]}
        files.write("curvature", path, found.arrays | columns, meta)
        _remove_products(path)
    return path


def images_of(record: records.Record, images: data.ImageData | None = None) -> data.ImageData:
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
    run_file: str | Path | records.Record,
    number: int = 0,
    k: int = 1,
    *,
    images: data.ImageData | None = None,
    tol: float = measures.TOLERANCE,
    chunk: int = full_data.CHUNK,
) -> spectra.Eigenpairs:
    """Computes the largest Hessian eigenvalues over all training images at a stored minimum.

    Args:
        run_file: as `training.store` writes it, or what was read of it.
        number: position of the seed.
        k: number of eigenpairs.
        images: the ones that the run was trained on, if they are the user's own.
        tol: allowed residual relative to the largest eigenvalue in size.
        chunk: images at once; sets the memory, not the result.

    Returns:
        Eigenpairs with vectors (k, P), in the order of `ModelConfig.layout`; eigenvalues in nats per rad^2.

    Raises:
        ValueError: if the file is damaged or no run file, has no such seed, or the images are others.
    """
    record = run_file if isinstance(run_file, records.Record) else records.read(run_file)
    params = files.minimum(record, number)
    images = images_of(record, images)
    cfg = RunConfig(**record.meta["run"]).model
    loss = full_data.FullDataLoss(cfg, images.train_angles, images.train_labels, chunk)
    return spectra.eigenpairs(loss.at(model.flatten(params)).hessian, loss.size, k, seed=0, tol=tol)


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
            origin, directions, coordinates, _ = planes.pca_plane(path, int(epoch) + 1)
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
    return files.unfinished(path).with_suffix(f".{number}")


def _recorded(start: Path, run_file: str) -> levels.Record:
    def record(name: str, matvec: levels.Matvec) -> levels.Matvec:
        return recorded(matvec, start.with_name(f"{start.name}-{name}.safetensors"), run_file)

    return record


def _remove_products(path: Path) -> None:
    for kept in files.unfinished(path).parent.glob(f"{path.stem}.*-*.safetensors"):
        kept.unlink()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds the lock of a result file; the system releases it when the process ends, however it ends.

    Waits for another process that holds it: it finishes the work, or it ends early and its checkpoint is taken up.

    Args:
        path: of the result file.

    Yields:
        Nothing, while the lock is held.

    Raises:
        OSError: if the folder cannot be written.
    """
    held = FileLock(files.unfinished(path).with_suffix(".lock"))
    try:
        files.unfinished(path).parent.mkdir(parents=True, exist_ok=True)
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
        record = records.read(path)
        if run_file is not None and record.meta["run_file"] != run_file:
            raise ValueError(f"{path} belongs to another run file: delete it and rerun its job.")
    except ValueError:
        if not redo:
            raise
        path.replace(path.with_suffix(".damaged"))
        return False
    return not redo
