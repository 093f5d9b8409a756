"""Experiments that several chapters share: train many seeds, then measure the curvature at their minima."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from patchscape import (
    bounds,
    config,
    data,
    exact,
    full_data,
    jobs,
    memory,
    model,
    points,
    stored,
    training,
)
from patchscape.config import ModelConfig, RunConfig


def curvature_at_minima(cfg: ModelConfig, images: data.ImageData, minima: dict[str, np.ndarray]) -> pd.DataFrame:
    """Largest and smallest Hessian eigenvalue and gradient norm at minima, over all training images.

    The Hessian is that of the cross-entropy without weight decay, with respect to phi and bias.

    Args:
        cfg: the model.
        images: the data set.
        minima: parameters with a leading axis of runs, as `training.Trained.minimum`.

    Returns:
        One row per run: lambda_max and lambda_min with their residuals ||H v - lambda v|| (nats per rad^2), the flags
        `converged` and `converged_min` (residual at most `points.TOLERANCE` times lambda_max), n_products,
        gradient_norm (nats per rad).
    """
    at, rows = full_data.derivatives(cfg, images), []
    for number in range(len(minima["phi"])):
        columns, _ = points.spectrum(cfg, *at({name: value[number] for name, value in minima.items()}), top=1)
        rows.append({name: float(value) for name, value in columns.items() if np.ndim(value) == 0})
    return _with_converged(pd.DataFrame(rows))


def _with_converged(table: pd.DataFrame) -> pd.DataFrame:
    allowed = points.TOLERANCE * table.lambda_max
    return table.assign(
        converged=table.lambda_max_residual <= allowed, converged_min=table.lambda_min_residual <= allowed
    )


def minima_table(run: RunConfig, trained: training.Trained) -> pd.DataFrame:
    """One row per seed: where the minimum lies and how good it is.

    Args:
        run: the configuration.
        trained: from `training.train`.

    Returns:
        Columns n_patches, depth, learning_rate, n_params, angles (of one circuit), seed, epoch, train_loss and
        test_loss (nats), train_accuracy, test_accuracy, and ensemble_test_loss and ensemble_test_accuracy of the
        snapshot ensemble of the same run.
    """
    at = np.arange(len(trained.seeds)), trained.minimum_epoch
    columns = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    return pd.DataFrame(
        {
            "n_patches": run.model.n_patches,
            "depth": run.model.depth,
            "learning_rate": run.train.learning_rate,
            "n_params": run.model.n_params,
            "angles": run.model.n_params_per_qnn,
            "seed": trained.seeds,
            "epoch": trained.minimum_epoch,
            **{name: getattr(trained, name)[at] for name in columns},
            "ensemble_test_loss": trained.ensemble_test_loss,
            "ensemble_test_accuracy": trained.ensemble_test_accuracy,
        }
    )


def train_and_measure(run: RunConfig, images: data.ImageData, seeds: Sequence[int]) -> pd.DataFrame:
    """Trains one configuration with every seed and measures the curvature at each minimum.

    Args:
        run: the configuration.
        images: the data set.
        seeds: one training run each.

    Returns:
        The columns of `minima_table` and of `curvature_at_minima`, one row per seed.
    """
    trained = training.train(run, images, seeds=seeds)
    training.release()
    return pd.concat([minima_table(run, trained), curvature_at_minima(run.model, images, trained.minimum)], axis=1)


def train_or_read(run: RunConfig, images: data.ImageData, seeds: Sequence[int]) -> tuple[training.Trained, bool]:
    """Reads the runs of one configuration from the grid `chapters`, or trains them if they are not stored there.

    Args:
        run: the configuration.
        images: the data set.
        seeds: one training run each.

    Returns:
        The trained runs, with their trajectory, and whether they were stored.

    Raises:
        ValueError: if a file is damaged, or belongs to other images.
    """
    found = stored.of_chapter(run, seeds)
    if found is None or "trajectory" not in found.record.arrays:
        return training.train(run, images, seeds=seeds, keep_trajectory=True), False
    jobs.images_of(found.record, images)  # refuses others
    return training.restore(found.record), True


def hessian_sweep(runs: Sequence[RunConfig], seeds: Sequence[int]) -> pd.DataFrame:
    """The curvature at the minima of every configuration with every seed, read from the grid `chapters` or computed.

    Args:
        runs: configurations; all of one data set.
        seeds: one training run each.

    Returns:
        The columns of `train_and_measure`, `scaled` = lambda_max n / (1 - exp(-loss)), and `stored`, whether the row
        was read; one row per configuration and seed.

    Raises:
        ValueError: if a file is damaged.
    """
    tables = []
    for run in runs:
        found = stored.of_chapter(run, seeds)
        if found is not None and found.curvature is not None:
            tables.append(_with_converged(stored.table("chapters", found)).assign(stored=True))
            continue
        tables.append(train_and_measure(run, data.load_run(run), seeds).assign(stored=False))
        memory.release()  # another configuration needs programs of its own
    return stored.with_scaled(pd.concat(tables, ignore_index=True))


def bound_sweep(
    patches: Sequence[int],
    depth: int,
    seeds: Sequence[int],
    *,
    n_qubits: int,
    n_classes: int,
    epochs: int,
    n_images: int,
) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:
    """Evaluates every term of the bounds on small models at the start and after training, on the 8 x 8 digits.

    Args:
        patches: numbers of patches.
        depth: layers per block.
        seeds: one run each.
        n_qubits: wires of a circuit.
        n_classes: the first classes of the data set.
        epochs: passes over the training images.
        n_images: the bounds and lambda_max refer to the loss over the first so many training images.

    Returns:
        One row per run and point (`where` is "start" or "trained") with the scalar fields of `bounds.Terms`, and
        the block norms (n, n) of the first seed's trained point for each n.
    """
    rows, norms = [], {}
    for n in patches:
        cfg = ModelConfig(n_patches=n, depth=depth, n_qubits=n_qubits, image_side=8, n_classes=n_classes)
        protocol = config.TrainConfig(learning_rate=2e-2, epochs=epochs, batch_size=100)
        run = RunConfig(model=cfg, train=protocol, dataset="digits", seed=seeds[0])
        images = data.load_run(run)
        few = images.train_angles[:n_images], images.train_labels[:n_images]
        trained = training.train(run, images, seeds=seeds)
        for i, seed in enumerate(seeds):
            last = jax.tree.map(lambda a: jnp.asarray(a[i]), trained.final)  # noqa: B023
            for where, params in (("start", model.init(cfg, seed)), ("trained", last)):
                terms = bounds.evaluate(cfg, params, *few)
                scalars = {k: v for k, v in terms._asdict().items() if np.ndim(v) == 0}
                rows.append({"n_patches": n, "m": cfg.n_params_per_qnn, "seed": seed, "where": where, **scalars})
                rows[-1]["largest_block"] = terms.hessian_blocks.max()
            if i == 0:
                norms[n] = terms.block_norms
        training.release()
    return pd.DataFrame(rows), norms


def exact_spectrum(run: RunConfig, n_images: int) -> dict[str, Any]:
    """Trains one small run and takes its Hessian apart, exactly.

    Args:
        run: the configuration; its seed is used.
        n_images: the Hessian is that of the loss over the first so many training images.

    Returns:
        The eigenvalues of H, G and R ("H", "G", "R", in decreasing order), "vectors" (P, P) of H as columns in the
        same order, "gauss_newton" G, "class_means" (P, C) class-mean gradients of the own-class logits, "gradient"
        norm, "loss", "flat" number of eigenvalues of H below 1e-9 of the largest in size.
    """
    images = data.load_run(run)
    trained = training.train(run, images)
    params = jax.tree.map(lambda a: jnp.asarray(a[0]), trained.minimum)
    labels = images.train_labels[:n_images]
    parts = exact.decompose(run.model, params, images.train_angles[:n_images], labels)
    g = parts.root.T @ parts.root
    r = parts.residual
    values, vectors = np.linalg.eigh(g + r)
    own = parts.logit_gradients[np.arange(len(labels)), labels]
    return {
        "H": values[::-1],
        "G": np.linalg.eigvalsh(g)[::-1],
        "R": np.linalg.eigvalsh(r)[::-1],
        "vectors": vectors[:, ::-1],
        "gauss_newton": g,
        "class_means": np.stack([own[labels == c].mean(0) for c in np.unique(labels)], axis=1),
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
    basis, _ = np.linalg.qr(spectrum["class_means"])
    v = spectrum["vectors"][:, :count]
    return pd.DataFrame(
        {
            "rank": np.arange(1, count + 1),
            "class_means": np.sum((basis.T @ v) ** 2, axis=0),
            "gauss_newton": np.sum(v * (spectrum["gauss_newton"] @ v), axis=0) / spectrum["H"][:count],
        }
    )
