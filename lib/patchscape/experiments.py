"""Experiments that several chapters share: train many seeds, then measure the curvature at their minima."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree

from patchscape import (
    bounds,
    config,
    data,
    estimates,
    exact,
    grids,
    jobs,
    memory,
    model,
    points,
    spectra,
    statistics,
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
    at, rows = _derivatives(cfg, images), []
    for number in range(len(minima["phi"])):
        columns, _ = points.spectrum(cfg, *at({name: value[number] for name, value in minima.items()}), top=1)
        rows.append({name: float(value) for name, value in columns.items() if np.ndim(value) == 0})
    table = pd.DataFrame(rows)
    allowed = points.TOLERANCE * table.lambda_max
    return table.assign(
        converged=table.lambda_max_residual <= allowed, converged_min=table.lambda_min_residual <= allowed
    )


def _derivatives(
    cfg: ModelConfig, images: data.ImageData
) -> Callable[[model.Params], tuple[np.ndarray, points.Matvec]]:
    """Parameters -> the gradient there, and the product with the Hessian; if all images fit, from one program."""
    if len(images.train_labels) > points.CHUNK:
        loss = points.FullDataLoss(cfg, images.train_angles, images.train_labels, points.CHUNK)
        return lambda params: loss.at(points.flatten(params))[:2]
    _, unravel = ravel_pytree(model.init(cfg, 0))
    angles, labels = jnp.asarray(images.train_angles), jnp.asarray(images.train_labels)
    gradient = jax.grad(lambda flat: model.loss(cfg, unravel(flat), angles, labels))
    both = jax.jit(lambda flat, v: jax.jvp(gradient, (flat,), (v,)))  # to compile two would take twice the time

    def at(params: model.Params) -> tuple[np.ndarray, points.Matvec]:
        flat = jnp.asarray(points.flatten(params))
        product = lambda v: np.asarray(both(flat, jnp.asarray(v, flat.dtype))[1], np.float64)  # noqa: E731
        return np.asarray(both(flat, jnp.zeros_like(flat))[0], np.float64), product

    return at


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


def hessian_sweep(runs: Sequence[RunConfig], seeds: Sequence[int]) -> pd.DataFrame:
    """Trains every configuration with every seed and measures the curvature at each minimum.

    Args:
        runs: configurations; all of one data set.
        seeds: one training run each.

    Returns:
        The columns of `train_and_measure` and `scaled` = lambda_max n / (1 - exp(-loss)), one row per configuration and
        seed.
    """
    tables = []
    for run in runs:
        tables.append(train_and_measure(run, data.load_run(run), seeds))
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
        "class_means": np.stack([own[labels == c].mean(0) for c in range(run.model.n_classes)], axis=1),
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


def stored_spectra(grid: str) -> tuple[dict[str, dict[str, np.ndarray]], pd.DataFrame]:
    """Reads the leading eigenvalues of a grid's minima and counts the outliers of every run.

    Args:
        grid: name of the grid.

    Returns:
        By title, "n = 4, d = 2": `eigenvalues`, `refined_eigenvalues`, `class_mean_overlap`, `gradient_overlap` (S, k)
        and `vector_shares` (S, k, n + 1) of the converged ranks, as far as they are stored; and a table with one row
        per run and point (`where` is "checkpoint" or "refined"): n_patches, depth, classes, seed, outliers, gap.
    """
    items = [item for item in stored.read(grid) if item.curvature is not None]
    items.sort(key=lambda item: (item.run.model.n_patches, item.run.model.depth))
    title = lambda model: f"n = {model.n_patches}, d = {model.depth}"  # noqa: E731
    return {title(item.run.model): _leading(item) for item in items}, _counts(items)


def spectra_by_classes() -> tuple[dict[int, dict[str, np.ndarray]], pd.DataFrame]:
    """Reads the stored runs that differ from the grid's baseline (n = 4, depth 6) in the number of classes only.

    Returns:
        As `stored_spectra`, by number of classes.
    """
    items = [
        item
        for grid in ("laptop", "controls")
        for item in stored.read(grid)
        if item.run == grids.laptop(n_classes=item.run.model.n_classes) and item.curvature is not None
    ]
    return {item.run.model.n_classes: _leading(item) for item in items}, _counts(items)


def kinds_of_runs(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Sorts the stored 8-qubit runs by what differs from the grid, for the scaling law.

    Args:
        table: from `stored.runs`, of the grids laptop and controls.

    Returns:
        Rows of `stored.with_law` by kind, kinds that are not stored left out; and all rows that the law is fitted to:
        more than one patch and the paper's logits, at any depth and learning rate.
    """
    every = stored.with_law(table.dropna(subset=["lambda_max"]))
    of_the_law = {
        "grid": stored.vary(every, "n_patches", "depth").query("n_patches > 1"),
        "other learning rates": stored.vary(every, "depth", "learning_rate").query("learning_rate != 0.02"),
    }
    others = {
        "no weight decay": stored.vary(every, "n_patches", weight_decay=0.0),
        "no shared bias": stored.vary(every, "n_patches", shared_bias=False),
        "other windows": stored.vary(every, "stride").dropna(subset=["stride"]),
        "$c = 25\\,n$": stored.vary(every, "n_patches", "scale").query("scale != 100"),
        "sum": stored.vary(every, "n_patches", aggregation="sum"),
        "two to eight classes": stored.vary(every, "n_classes").query("n_classes < 10"),
        "one circuit": stored.vary(every, "depth", n_patches=1),
    }
    return {name: rows for name, rows in (of_the_law | others).items() if len(rows)}, pd.concat(of_the_law.values())


def matched_losses(law: pd.DataFrame, within: float = 1.5) -> pd.DataFrame:
    """Compares configurations of different n or depth that end, with learning rates of their own, at nearly equal loss.

    Args:
        law: rows as from `kinds_of_runs`.
        within: largest ratio of the geometric mean loss factors 1 - exp(-L) of two configurations.

    Returns:
        One row per pair, the one with more angles per patch first: first and second (n, depth, learning rate), and the
        ratios of the first to the second: loss_factor and lambda_max (`statistics.Estimate`, paired by seed) and
        angles_per_patch (m / n).
    """
    size = ["n_patches", "depth", "learning_rate"]
    groups = {key: rows for key, rows in law.groupby(size)}
    levels = {key: np.log(rows.loss_factor).mean() for key, rows in groups.items()}
    share = {key: (rows.angles / rows.n_patches).iloc[0] for key, rows in groups.items()}
    found = []
    for pair in itertools.combinations(groups, 2):
        first, second = sorted(pair, key=share.get, reverse=True)
        if first[:2] == second[:2] or abs(levels[first] - levels[second]) > np.log(within):
            continue
        both = pd.concat([groups[first], groups[second]])
        is_first = pd.Series(np.arange(len(both)) < len(groups[first]), both.index)
        row = {"first": first, "second": second, "angles_per_patch": share[first] / share[second]}
        ratios = {name: statistics.ratio(both, name, is_first, ~is_first) for name in ("loss_factor", "lambda_max")}
        found.append(row | ratios)
    return pd.DataFrame(found)


def whole_spectra() -> dict[str, np.ndarray]:
    """Reads all eigenvalues of the stored 8-qubit minima with n = 4, depth 6 and no weight decay.

    Returns:
        "H", "G" and "R", (S, P) each, in decreasing order, nats per rad^2.

    Raises:
        ValueError: if they are not stored.
    """
    (job,) = (job for job in grids.jobs("controls").values() if "no weight decay" in job.studies)
    names = {"H": "all_eigenvalues", "G": "all_gauss_newton", "R": "all_residual"}
    for item in stored.read("controls"):
        if item.run == job.run and item.curvature is not None:
            return {part: item.curvature.arrays[name] for part, name in names.items()}
    raise ValueError(f"the spectra of {job.name} are not stored: run `patchscape job controls {job.name}`.")


def _leading(item: stored.Stored) -> dict[str, np.ndarray]:
    names = ("eigenvalues", "refined_eigenvalues", "class_mean_overlap", "gradient_overlap", "vector_shares")
    arrays = item.curvature.arrays
    return {name: arrays[name][:, : points.LEADING] for name in names if name in arrays}


def expected_spectra(grid: str) -> dict[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Reads the leading eigenvalues of a grid's minima and those that the estimate T5 expects.

    Args:
        grid: name of the grid.

    Returns:
        By number of patches and depth: measured (of H) and expected (of G, a shared pixel counting as one more angle
        of every circuit), (S, 12) each, as shares of the trace that T4 expects.
    """
    found: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for item in sorted(stored.read(grid), key=lambda item: (item.run.model.n_patches, item.run.model.depth)):
        if item.curvature is None or "expected_gauss_newton" not in item.curvature.arrays:
            continue
        cfg, arrays = item.run.model, item.curvature.arrays
        trace = estimates.trace(cfg, arrays["impurity"])[:, None]
        measured = arrays["eigenvalues"] / (trace * estimates.with_pixels(cfg))
        expected = arrays["expected_gauss_newton"] / trace
        found.setdefault(cfg.n_patches, {})[cfg.depth] = tuple(v[:, : points.LEADING] for v in (measured, expected))
    return found


def similarities(grid: str, depth: int) -> dict[int, np.ndarray]:
    """Says how alike two training images are, on average, to each circuit of the first seed's minimum.

    Args:
        grid: name of the grid.
        depth: layers per block.

    Returns:
        By number of patches, (n,): the mean of `estimates.similarity` over pairs of different images.
    """
    found = {}
    for item in stored.read(grid):
        cfg = item.run.model
        if cfg.depth != depth:
            continue
        params, images = jobs.minimum(item.record, 0), data.load_run(item.run)
        count = len(images.train_angles)
        sums = [alike.sum() for alike in estimates.similarities(cfg, params, images.train_angles)]
        found[cfg.n_patches] = (np.array(sums) - count) / (count * (count - 1))
    return dict(sorted(found.items()))


def _counts(items: Sequence[stored.Stored]) -> pd.DataFrame:
    """Outliers of every run, among the converged ranks but no more than twice the number of classes."""
    rows = []
    for item in items:
        cfg, kept = item.run.model, _leading(item)
        candidates = min(points.LEADING - 1, 2 * cfg.n_classes)
        for name, where in (("eigenvalues", "checkpoint"), ("refined_eigenvalues", "refined")):
            for seed, values in zip(item.record.meta["seeds"], kept.get(name, ()), strict=False):
                count = spectra.count_outliers(values, candidates=candidates)
                row = {"n_patches": cfg.n_patches, "depth": cfg.depth, "classes": cfg.n_classes, "seed": seed}
                rows.append(row | {"where": where, "outliers": count, "gap": spectra.gap_ratio(values, count)})
    return pd.DataFrame(rows)
