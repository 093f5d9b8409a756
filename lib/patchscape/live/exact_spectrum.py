"""All eigenvalues of small models, trained on the spot, and what circuits make of the stored images."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from patchscape import tables
from patchscape.config import RunConfig
from patchscape.curvature import estimates, exact, measures
from patchscape.learning import data, training
from patchscape.store import files
from patchscape.study import jobs

PAIRED = 100  # ours: images whose pairs are compared


def exact_spectrum(run: RunConfig, n_images: int) -> dict[str, Any]:
    """Trains one small run and takes its Hessian apart, exactly.

    Args:
        run: the configuration; its seed is used.
        n_images: the Hessian is that of the loss over the first so many training images.

    Returns:
        The eigenvalues of H, G and R ("H", "G", "R", in decreasing order), "vectors" (P, P) of H as rows in the same
        order, "point" (`curvature.point.Point`), "gradient" norm, "loss", "flat" number of eigenvalues of H below
        1e-9 of the largest in size.
    """
    images = data.load_run(run)
    trained = training.train(run, images)
    params = jax.tree.map(lambda a: jnp.asarray(a[0]), trained.minimum)
    labels = images.train_labels[:n_images]
    parts = exact.decompose(run.model, params, images.train_angles[:n_images], labels)
    of = exact.matrices(parts)
    values, vectors = np.linalg.eigh(of["H"])
    return {
        "H": values[::-1],
        **{part: np.linalg.eigvalsh(of[part])[::-1] for part in ("G", "R")},
        "vectors": vectors.T[::-1],
        "point": exact.point(run.model, parts, labels),
        "gradient": float(np.linalg.norm(parts.gradient)),
        "loss": parts.loss,
        "flat": int(np.sum(np.abs(values) < 1e-9 * np.abs(values).max())),
    }


def exact_spectra(run: RunConfig, seeds: Sequence[int], n_images: int) -> list[dict[str, Any]]:
    """`exact_spectrum` of one configuration with several seeds.

    Args:
        run: the configuration.
        seeds: one training run each.
        n_images: as in `exact_spectrum`.

    Returns:
        One item per seed.
    """
    found = [exact_spectrum(run.model_copy(update={"seed": seed}), n_images) for seed in seeds]
    training.release()
    return found


def eigenvector_table(spectrum: dict[str, Any], count: int) -> pd.DataFrame:
    """Describes the leading eigenvectors of an exact spectrum.

    Args:
        spectrum: from `exact_spectrum`.
        count: number of eigenvectors.

    Returns:
        Columns rank, class_means (squared length of the projection onto the span of the class-mean gradients) and
        gauss_newton (share v G v / v H v of the eigenvalue).
    """
    in_means, share = measures.made_of(spectrum["point"], spectrum["H"][:count], spectrum["vectors"][:count])
    return pd.DataFrame({"rank": np.arange(1, count + 1), "class_means": in_means, "gauss_newton": share})


def similarities(grid: str, depth: int) -> dict[int, np.ndarray]:
    """Says how alike two training images are, on average, to each circuit of the first seed's minimum.

    Args:
        grid: name of the grid.
        depth: layers per block.

    Returns:
        By number of patches, (n,): mean of the `blocks` of `estimates.similarity` over pairs of the first `PAIRED`.
    """
    found = {}
    for item in tables.runs.read(grid):
        cfg = item.run.model
        if cfg.depth != depth:
            continue
        params, angles = files.minimum(item.record, 0), jobs.images_of(item.record).train_angles[:PAIRED]
        count = len(angles)
        sums = [alike.blocks.sum() for alike in estimates.similarities(cfg, params, angles)]
        found[cfg.n_patches] = (np.array(sums) - count) / (count * (count - 1))
    return dict(sorted(found.items()))
