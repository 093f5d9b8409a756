"""Experiments that several chapters share: train many seeds, then measure the curvature at their minima."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from patchscape import config, law, runtime, tables
from patchscape.config import ModelConfig, RunConfig
from patchscape.curvature import bounds, exact, full_data, measures
from patchscape.learning import data, model, training
from patchscape.study import redrawn


def curvature_at_minima(cfg: ModelConfig, images: data.ImageData, minima: dict[str, np.ndarray]) -> pd.DataFrame:
    """Largest and smallest Hessian eigenvalue and gradient norm at minima, over all training images.

    The Hessian is that of the cross-entropy without weight decay, with respect to phi and bias.

    Args:
        cfg: the model.
        images: the data set.
        minima: parameters with a leading axis of runs, as `training.Trained.minimum`.

    Returns:
        One row per run: lambda_max and lambda_min with their residuals ||H v - lambda v|| (nats per rad^2), the flags
        `converged` and `converged_min` (residual at most `measures.TOLERANCE` times lambda_max), n_products,
        gradient_norm (nats per rad).
    """
    at, rows = full_data.derivatives(cfg, images), []
    for number in range(len(minima["phi"])):
        columns, _ = measures.spectrum(cfg, *at({name: value[number] for name, value in minima.items()}), top=1)
        rows.append({name: float(value) for name, value in columns.items() if np.ndim(value) == 0})
    return _with_converged(pd.DataFrame(rows))


def _with_converged(table: pd.DataFrame) -> pd.DataFrame:
    allowed = measures.TOLERANCE * table.lambda_max
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
    found = tables.runs.of_chapter(run, seeds)
    if found is None or "trajectory" not in found.record.arrays:
        return training.train(run, images, seeds=seeds, keep_trajectory=True), False
    data.check(run, images, found.record.meta["images"])  # refuses others
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
    found = []
    for run in runs:
        kept = tables.runs.of_chapter(run, seeds)
        if kept is not None and kept.curvature is not None:
            found.append(_with_converged(tables.runs.rows("chapters", kept)).assign(stored=True))
            continue
        found.append(train_and_measure(run, data.load_run(run), seeds).assign(stored=False))
        runtime.finished()  # another configuration needs programs of its own
    return tables.runs.with_scaled(pd.concat(found, ignore_index=True))


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
        One row per run and point (`where` is "start" or "trained") with the scalar fields of `bounds.Terms`, at the
        trained ones also redrawn_coherence, with blocks drawn anew and the predictions kept; and the block norms (n, n)
        of the first seed's trained point for each n.
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
            rows[-1]["redrawn_coherence"] = _redrawn_coherence(cfg, last, *few, seed)
            if i == 0:
                norms[n] = terms.block_norms
        training.release()
    return pd.DataFrame(rows), norms


def _redrawn_coherence(
    cfg: ModelConfig, params: model.Params, angles: np.ndarray, labels: np.ndarray, seed: int
) -> float:
    """The coherence with blocks drawn once anew, from a generator with the given seed; predictions as they are."""
    phi = redrawn.with_new_blocks(cfg, np.asarray(params["phi"]), np.random.default_rng(seed))
    logits = jax.jit(model.logits, static_argnums=0)(cfg, params, jnp.asarray(angles))  # one program, not hundreds
    probabilities = np.asarray(jax.nn.softmax(logits), float)
    found = exact.decompose(cfg, {**params, "phi": phi}, angles, labels, norms=False)
    rows = np.matmul(exact.root(probabilities), found.logit_gradients[..., cfg.layout.phi])
    blocks = rows.reshape(-1, *phi.shape).swapaxes(0, 1)
    largest = [np.linalg.norm(block, 2) ** 2 for block in (rows.reshape(-1, phi.size), *blocks)]
    return float(law.coherence(largest[0], np.array(largest[1:])))
