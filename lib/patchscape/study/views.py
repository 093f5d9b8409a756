"""Stored pictures of the loss around a minimum: planes and lines, the same windows for every configuration.

A run file keeps minima but no paths, so a seed is trained again and everything that needs its path is computed on the
way. It comes out the same up to rounding: trained alone, its sums may be rounded in another order than beside others.
What is left of the difference is stored. One file per job, one entry per seed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from patchscape.config import RunConfig
from patchscape.curvature import full_data, measures
from patchscape.learning import data, model, training
from patchscape.numerics import planes
from patchscape.store import columns, files, records
from patchscape.store.grids import Job
from patchscape.study import by_seed, jobs, verification

MARGIN = 5.0  # author's code: rad beyond the path on every side
WIDE = ((-15.0, 5.0), (-10.0, 10.0))  # ours: rad, holds the whole path of every configuration of the laptop grid
NEAR = 2.0  # ours: rad to each side of the minimum, plane of the path
EIGEN = 1.0  # ours: rad to each side, plane of the two top eigenvectors
RANDOM = 0.5  # ours: to each side, in lengths of the angles
RANDOM_SEEDS = (0, 1)  # ours


def make(job: Job, run_folder: str | Path, out: str | Path, seeds: Sequence[int] = (0,)) -> Path:
    """Computes the landscapes of some seeds of a trained job and stores them; seeds that are stored are left alone.

    Args:
        job: the job.
        run_folder: where its run file is.
        out: folder of the files of landscapes.
        seeds: which seeds to look at.

    Returns:
        The file, rewritten whole after every seed.

    Raises:
        ValueError: if the job has not been trained or has no such seed, a file is damaged, or training the seed again
            does not give the stored minimum.
    """
    return by_seed.extend("landscape", job, run_folder, out, seeds, lambda record: partial(_views, job.run, record))


def oriented(plane: planes.Plane) -> planes.Plane:
    """Turns the directions of a path's plane so that the path starts on the left and goes up where it bends most.

    Args:
        plane: from `planes.pca_plane`.

    Returns:
        The same plane with the signs of its directions chosen.
    """
    bend = plane.coordinates[np.abs(plane.coordinates[:, 1]).argmax(), 1]
    signs = np.array([-1.0 if plane.coordinates[0, 0] > 0 else 1.0, -1.0 if bend < 0 else 1.0])
    return plane._replace(directions=plane.directions * signs[:, None], coordinates=plane.coordinates * signs)


def shortest(change: np.ndarray) -> np.ndarray:
    """Returns changes of angles, in rad, modulo 2 pi in [-pi, pi)."""
    return (change + np.pi) % (2 * np.pi) - np.pi


def _views(run: RunConfig, record: records.Record, number: int) -> dict[str, np.ndarray]:
    """Arrays of one seed, as data/results/README.md explains them."""
    images = jobs.images_of(record)
    minima = [np.asarray(model.flatten(files.minimum(record, i)), float) for i in range(len(record.meta["seeds"]))]
    minimum = minima[number]
    epoch = int(record.arrays["minimum_epoch"][number])
    if epoch < 0:
        raise ValueError(f"number={number}: this run has no minimum (it diverged), so there is nothing to look at.")
    again = training.train(run, images, seeds=[record.meta["seeds"][number]], keep_trajectory=True)
    assert again.trajectory is not None  # it was asked for
    loss = _loss(run, images)
    walk = again.trajectory[0].reshape(run.train.epochs + 1, -1).astype(np.float64)
    at = run.model.layout
    with_bias = np.tile(minimum, (len(walk), 1))
    with_bias[:, at.phi] = walk
    _check_minimum(loss, epoch, with_bias[epoch + 1], minimum)
    plane = oriented(planes.pca_plane(with_bias, epoch + 1))
    out = _along_path(loss, with_bias, plane) | {
        "retrained_difference": np.abs(walk[epoch + 1] - minimum[at.phi]).max()
    }

    def grid(name: str, on: planes.Plane, first: np.ndarray, second: np.ndarray) -> None:
        out[f"{name}/axes"] = np.stack([first, second])
        out[f"{name}/loss"] = planes.grid_losses(loss, on, first, second)

    ends = plane.coordinates.min(0) - MARGIN, plane.coordinates.max(0) + MARGIN
    grid("pca_wide", plane, *(np.linspace(*window, columns.POINTS) for window in WIDE))
    grid("pca_near", plane, *[np.linspace(-NEAR, NEAR, columns.POINTS)] * 2)
    grid("pca_author", plane, *np.linspace(*ends, columns.POINTS).T)

    point = full_data.FullDataLoss(run.model, images.train_angles, images.train_labels).at(minimum)
    found, vectors = measures.spectrum(run.model, point.gradient, point.hessian, top=2, bottom=0)
    nothing = np.zeros((0, 2)), np.full(2, np.nan)
    grid("eigen", planes.Plane(minimum, vectors[:2], *nothing), *[np.linspace(-EIGEN, EIGEN, columns.POINTS)] * 2)
    out |= {"eigenvalues": found["eigenvalues"][:2], "slopes": vectors[:2] @ point.gradient}

    groups = np.full(len(minimum), -1)  # the bias is one more group
    for p, circuit in enumerate(at.circuits):
        groups[circuit] = p
    for seed in RANDOM_SEEDS:
        random = planes.random_plane(minimum, groups, seed)
        grid(f"random_{seed}", random, *[np.linspace(-RANDOM, RANDOM, columns.POINTS)] * 2)
        out[f"random_{seed}/lengths"] = np.linalg.norm(random.directions, axis=1)
    unit = random.directions[0] / np.linalg.norm(random.directions[0])
    for name, direction in zip(columns.LINES, (vectors[0], *plane.directions, unit), strict=True):
        out[f"line/{name}"] = _line(loss, minimum, direction, columns.LINE)

    start = np.asarray(model.flatten(model.init(run.model, record.meta["seeds"][number])))
    out["from_start"] = _line(loss, start, minimum - start, columns.FROM_START)
    others = [m - minimum for i, m in enumerate(minima) if i != number and np.all(np.isfinite(m))]
    out["between"] = np.array([_line(loss, minimum, change, columns.BETWEEN) for change in others])
    out["between_shortest"] = np.array([_line(loss, minimum, shortest(change), columns.BETWEEN) for change in others])
    out["wrapped"] = np.array([np.mean(np.abs(change) > np.pi) for change in others])
    out["apart"] = np.array([np.linalg.norm(shortest(change)) for change in others])
    return {name: np.asarray(value, np.float32) for name, value in out.items()}


def _check_minimum(loss: Callable, epoch: int, again: np.ndarray, stored: np.ndarray) -> None:
    """Refuses a path that misses the stored minimum; both losses are of today's code."""
    ours, theirs = planes.path_losses(loss, np.zeros_like(stored), np.stack([again, stored]), np.eye(2)).tolist()
    if not abs(ours / theirs - 1) <= verification.SAME_LOSS:
        raise ValueError(
            f"trained again, the loss at epoch {epoch} is {ours:.8g}, not {theirs:.8g} as at the stored minimum: use "
            f"the machine and the library versions that the run file names."
        )


def _loss(run: RunConfig, images: data.ImageData) -> Callable[[jax.Array], jax.Array]:
    """The loss over all training images as a function of flat parameters."""
    chunks = tuple(map(jnp.asarray, data.chunks(images.train_angles, images.train_labels, training.CHUNK)))
    return lambda flat: model.evaluate(run.model, model.unflatten(run.model, flat), chunks)[0]


def _line(loss: Callable, origin: np.ndarray, direction: np.ndarray, t: np.ndarray) -> np.ndarray:
    return planes.path_losses(loss, origin, direction[None], t[:, None])


def _along_path(loss: Callable, walk: np.ndarray, plane: planes.Plane) -> dict[str, np.ndarray]:
    """Where the path lies, and what its shadow on the plane shows of it."""
    shadow = plane.coordinates @ plane.directions
    whole = np.square(np.diff(walk, axis=0)).sum(1)
    inside = np.square(np.diff(plane.coordinates, axis=0)).sum(1)
    still = np.full(len(whole), np.nan)  # the learning rate is zero in some epochs
    return {
        "explained": plane.explained,
        "coordinates": plane.coordinates,
        "distance": np.linalg.norm(walk - plane.origin - shadow, axis=1),
        "step_outside": 1 - np.divide(inside, whole, out=still, where=whole > 0),
        "path_loss": planes.path_losses(loss, np.zeros_like(plane.origin), walk, np.eye(len(walk))),
        "projected_loss": planes.path_losses(loss, plane.origin, plane.directions, plane.coordinates),
    }
