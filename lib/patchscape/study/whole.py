"""All eigenvalues of the Gauss-Newton matrix and of the Hessian over a whole data set, for thousands of parameters.

`exact` holds the root X of G = X^T X, a row for every image and class: too much for 60,000 images. Here G is added up
from a few images at a time. R = H - G needs second derivatives, thirty times the work, and is weighted by what the
model has wrong for each image: images that it has learned hardly count, and the last of them are left out.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from patchscape.circuit.derivatives import circuit_derivatives, circuit_jacobian
from patchscape.config import ModelConfig, RunConfig
from patchscape.curvature import exact, full_data
from patchscape.learning import model
from patchscape.numerics import spectra
from patchscape.store import files, records
from patchscape.study import jobs

IMAGES = 200  # ours: images at once; sets the memory
SECOND = 1000  # ours: images between two times that R is kept
WRONG = 10_000  # ours: images that R is summed over
STEPS, STARTS = 30, 3  # ours: of the quadratures that are compared with the exact spectra

Keep = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


class Residuals(NamedTuple):
    """Which images R is summed over.

    Attributes:
        order: (M,) numbers of the images, those with the largest residuals first.
        share: their share of the sum of |softmax(z) - e_y| over all images and classes, in [0, 1].
    """

    order: np.ndarray
    share: float


def make(run_file: Path, out: Path, number: int = 0, *, wrong: int = WRONG, progress: bool = False) -> Path:
    """Computes all eigenvalues of G, of G on phi and of H at a stored minimum, and writes them as they come.

    Killed, it continues with what it has kept of the matrices. Two calls for one file take turns.

    Args:
        run_file: of a trained job.
        out: folder for the file, and for what is unfinished.
        number: position of the seed.
        wrong: images that R is summed over.
        progress: show a progress bar.

    Returns:
        The file; see `data/results/README.md`. One that has all this for as many images is left alone.

    Raises:
        ValueError: if the file is there and holds something else, such as the spectrum of another seed.
    """
    record = records.read(run_file)
    run, params = RunConfig(**record.meta["run"]), files.minimum(record, number)
    identity, seeds = records.checksum(record.arrays, record.meta), [record.meta["seeds"][number]]
    path = Path(out) / run_file.name
    with jobs.alone(path):
        start = time.perf_counter()
        if path.exists():
            arrays, there = records.read(path)
            if (there.get("run_file"), there["seeds"]) != (identity, seeds):
                raise ValueError(
                    f"{path} is no spectrum of seed {seeds[0]} of this run: choose another folder (--out)."
                )
            if "all_hessian" in arrays and arrays["residual_images"][0] >= wrong:
                return path
        angles, labels, *_ = jobs.images_of(record)
        probabilities = full_data.FullDataLoss(run.model, angles, labels).probabilities(model.flatten(params))
        folder = Path(out) / "unfinished" / "large" / f"{run_file.stem}-{identity[:12]}-{number}"
        keep = kept_in(folder)
        chosen = most_wrong(probabilities, labels, wrong)
        made: dict[str, Any] = {"residual_images": len(chosen.order), "residual_share": chosen.share}

        def add(name: str, matrix: np.ndarray) -> None:
            made[f"all_{name}"] = np.linalg.eigvalsh(matrix)[::-1]
            product = lambda v: matrix @ v  # noqa: E731
            values, weights = spectra.quadrature(product, len(matrix), steps=STEPS, starts=STARTS)
            made.update({f"{name}_values": values, f"{name}_weights": weights})
            meta = {
                "run": record.meta["run"],
                "seeds": seeds,
                "run_file": identity,
                "wall_s": time.perf_counter() - start,
                "provenance": records.provenance(),
            }
            files.write("spectrum", path, {key: np.asarray(value)[None] for key, value in made.items()}, meta)

        g = keep("gauss_newton", lambda: gauss_newton(run.model, params, angles, probabilities, progress=progress))
        phi = run.model.layout.phi
        add("gauss_newton", g)
        add("gauss_newton_phi", g[phi, phi])
        r = residual(run.model, params, angles, labels, probabilities, chosen.order, keep, progress=progress)
        add("hessian", g + r)
        shutil.rmtree(folder)
    return path


def most_wrong(probabilities: np.ndarray, labels: np.ndarray, count: int) -> Residuals:
    """Chooses the images that R is summed over.

    Args:
        probabilities: (N, C).
        labels: (N,).
        count: M, number of images.

    Returns:
        The images with the largest residuals.
    """
    size = np.abs(_residuals(probabilities, labels)).sum(1)
    order = np.argsort(-size, kind="stable")[:count]
    return Residuals(order, float(size[order].sum() / size.sum()))


def gauss_newton(
    cfg: ModelConfig, params: model.Params, angles: np.ndarray, probabilities: np.ndarray, *, progress: bool = False
) -> np.ndarray:
    """Adds up the Gauss-Newton matrix of the mean cross-entropy.

    Args:
        cfg: the model.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's.
        progress: show a progress bar.

    Returns:
        G (P, P), float64, from single-precision products, in the order of `ModelConfig.layout`.
    """
    own, size = exact.own_parameters(cfg), cfg.n_params
    jacobians = [circuit_jacobian(cfg, np.asarray(phi)) for phi in params["phi"]]
    patches = np.asarray(model.shifted_patches(cfg, params, angles))
    total = np.zeros((size, size))
    for start in tqdm(range(0, len(angles), IMAGES), disable=not progress, desc="G", unit="chunk"):
        part = slice(start, start + IMAGES)
        of_logits = np.zeros((len(probabilities[part]), cfg.n_classes, size), np.float32)
        for columns, jacobian, x in zip(own, jacobians, patches, strict=True):
            of_logits[..., columns] += cfg.factor * jacobian(x[part])[..., : len(columns)]
        root = exact.root(probabilities[part]).astype(np.float32) @ of_logits
        root = root.reshape(-1, size)
        total += root.T @ root
    return total / len(angles)


def residual(
    cfg: ModelConfig,
    params: model.Params,
    angles: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    images: np.ndarray,
    keep: Keep = lambda name, compute: compute(),
    *,
    progress: bool = False,
) -> np.ndarray:
    """Adds up R = H - G, the part of the Hessian from the second derivatives of the circuits.

    Args:
        cfg: the model.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        labels: (N,).
        probabilities: (N, C), the model's.
        images: (M,) numbers of those that are summed over; the mean is still over all N.
        keep: (name, function) -> its value, which may be kept and found again in a later call.
        progress: show a progress bar.

    Returns:
        R (P, P), float64, in the order of `gauss_newton`.
    """
    own, size = exact.own_parameters(cfg), cfg.n_params
    weights = cfg.factor / len(labels) * _residuals(probabilities, labels)[images]
    patches = np.asarray(model.shifted_patches(cfg, params, angles[images]))
    total = np.zeros((size, size))
    parts = [(p, start) for p in range(cfg.n_patches) for start in range(0, len(images), SECOND)]
    for p, start in tqdm(parts, disable=not progress, desc="R", unit="chunk"):
        part = slice(start, start + SECOND)

        def of_part(p: int = p, part: slice = part) -> np.ndarray:
            phi = np.asarray(params["phi"][p])
            return circuit_derivatives(cfg, phi, patches[p, part], weights[part].astype(np.float32))[1]

        block = keep(f"{p}-{start}", of_part)
        total[np.ix_(own[p], own[p])] += block[: len(own[p]), : len(own[p])]
    return total


def kept_in(folder: Path) -> Keep:
    """Returns a `keep` that writes arrays to files of a folder."""

    def keep(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        path = folder / f"{name}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part.npy")
            np.save(unfinished, compute())
            unfinished.replace(path)
        return np.load(path)

    return keep


def _residuals(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """softmax(z) - e_y (N, C); exact where the model is sure."""
    r = probabilities.copy()
    rows = np.arange(len(labels))
    r[rows, labels] = 0
    r[rows, labels] = -r.sum(1)
    return r
