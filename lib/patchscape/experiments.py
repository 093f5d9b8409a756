"""Experiments that several chapters share: train many seeds, then measure the curvature at their minima."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree

from patchscape import bounds, config, curvature, data, model, results, training
from patchscape.config import ModelConfig, RunConfig

CHUNK = 500  # ours: images per chunk of a Hessian product
TOLERANCE = 1e-3  # author's code: PyHessian's tolerance; here on the residual
TOLERANCE_LOW = 3e-3  # ours: residual of the smallest eigenvalue, relative to the largest


class FullDataLoss:
    """The mean loss over a whole data set: gradient and Hessian products in the memory of one chunk of images.

    Everything is compiled once, whatever the parameters. Vectors are flat (P,), in the order of `ravel_pytree`.

    Args:
        cfg: the model.
        angles: (N, side, side) in rad.
        labels: (N,).
        chunk: images at once; sets the memory, not the result.
        devices: where to put the images, an equal share of every chunk on each; None is JAX's default device. With
            several processes (`jax.distributed.initialize`), pass `jax.devices()` on all of them.

    Raises:
        ValueError: if the devices cannot share a chunk equally.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        angles: np.ndarray,
        labels: np.ndarray,
        chunk: int = CHUNK,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        chunks = data.chunks(angles, labels, chunk)
        if devices is None:
            chunks = jax.tree.map(jnp.asarray, chunks)
        elif len(chunks[1][0]) % len(devices):
            raise ValueError(
                f"chunk={len(chunks[1][0])} images cannot be shared by {len(devices)} devices: choose a multiple."
            )
        else:
            images = jax.sharding.Mesh(np.asarray(devices), ("images",))
            split = jax.sharding.NamedSharding(images, jax.sharding.PartitionSpec(None, "images"))
            chunks = jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, split, a.__getitem__), chunks)
        dtype = jnp.result_type(float)
        start, unravel = ravel_pytree(jax.tree.map(lambda a: a.astype(dtype), model.init(cfg, 0)))
        at, product, gradient = curvature.finite_sum_hessian(
            lambda p: model.prepare(cfg, p), lambda shared, chunk: model.chunk_loss(cfg, shared, chunk)
        )
        self._chunks = chunks
        self.size = start.size
        self._at = jax.jit(lambda p, chunks: at(unravel(p), chunks))
        self._product = jax.jit(lambda point, v, chunks: ravel_pytree(product(point, unravel(v), chunks))[0])
        self._gradient = jax.jit(lambda point: ravel_pytree(gradient(point))[0])

    def at(self, params: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
        """Takes the loss at a point; what does not depend on a vector is computed here, once.

        Args:
            params: (P,) in rad.

        Returns:
            The Hessian product, (P,) -> (P,) in float64, and the gradient (P,) in nats per rad.
        """
        dtype = jnp.result_type(float)
        point = self._at(jnp.asarray(params, dtype), self._chunks)

        def product(v: np.ndarray) -> np.ndarray:
            return np.asarray(self._product(point, jnp.asarray(v, dtype), self._chunks), np.float64)

        return product, np.asarray(self._gradient(point), np.float64)


def curvature_at_minima(cfg: ModelConfig, images: data.ImageData, minima: dict[str, np.ndarray]) -> pd.DataFrame:
    """Largest and smallest Hessian eigenvalue and gradient norm at minima, over all training images.

    The Hessian is that of the cross-entropy without weight decay, with respect to phi and bias.

    Args:
        cfg: the model.
        images: the data set.
        minima: parameters with a leading axis of runs, as `training.Trained.minimum`.

    Returns:
        One row per run: lambda_max, lambda_min and the residuals ||H v - lambda v|| (nats per rad^2), the flags
        `converged` and `converged_min`, n_matvecs, gradient_norm (nats per rad).
    """
    loss, rows = FullDataLoss(cfg, images.train_angles, images.train_labels), []
    for number in range(len(minima["phi"])):
        point, _ = ravel_pytree({name: jnp.asarray(value[number]) for name, value in minima.items()})
        matvec, gradient = loss.at(point)
        top = curvature.eigenpairs(matvec, point.size, 1, seed=0, tol=TOLERANCE)
        # Shifted by lambda_max, so that the residual of the lower end is judged on the scale of the whole spectrum.
        shift = float(top.values[0]) if len(top.values) else 0.0
        shifted = lambda v, m=matvec, s=shift: m(v) - s * v  # noqa: E731
        low = curvature.eigenpairs(shifted, point.size, 1, seed=0, tol=TOLERANCE_LOW, which="SA")
        low = low._replace(values=low.values + shift)
        rows.append(
            {
                **_named(top, "max", "residual", "converged"),
                **_named(low, "min", "residual_min", "converged_min"),
                "n_matvecs": top.n_matvecs + low.n_matvecs,
                "gradient_norm": float(np.linalg.norm(gradient)),
            }
        )
    return pd.DataFrame(rows)


def _named(found: curvature.Eigenpairs, end: str, residual: str, converged: str) -> dict[str, Any]:
    """One eigenpair as columns; an eigenvalue that was not found at all is NaN."""
    value, rest = (found.values[0], found.residuals[0]) if len(found.values) else (np.nan, np.nan)
    return {f"lambda_{end}": float(value), residual: float(rest), converged: found.converged}


def minima_table(run: RunConfig, trained: training.Trained) -> pd.DataFrame:
    """One row per seed: where the minimum lies and how good it is.

    Args:
        run: the configuration.
        trained: from `training.train`.

    Returns:
        Columns n_patches, depth, learning_rate, n_params, angles (of one circuit), seed, epoch, train_loss and
        test_loss (nats), train_accuracy, test_accuracy.
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
        }
    )


def hessian_sweep(runs: Sequence[RunConfig], seeds: Sequence[int]) -> pd.DataFrame:
    """Trains every configuration with every seed and measures the curvature at each minimum.

    Args:
        runs: configurations; all of one data set.
        seeds: one training run each.

    Returns:
        The columns of `minima_table` and of `curvature_at_minima`, and `scaled` = lambda_max n / (1 - exp(-loss)),
        one row per configuration and seed.
    """
    tables = []
    for run in runs:
        images = data.load_run(run)
        trained = training.train(run, images, seeds=seeds)
        curved = curvature_at_minima(run.model, images, trained.minimum)
        tables.append(pd.concat([minima_table(run, trained), curved], axis=1))
    return with_scaled(pd.concat(tables, ignore_index=True))


def with_scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Adds lambda_max n / (1 - exp(-train_loss)), which the bound T2 predicts to depend on neither n nor the loss."""
    return table.assign(scaled=table.lambda_max * table.n_patches / -np.expm1(-table.train_loss))


def published_eigenvalues() -> pd.DataFrame:
    """Reads the twelve published eigenvalues, one run with seed 1001 each.

    Returns:
        Columns n_patches, depth, lambda_max (nats per rad^2), epoch, train_loss (nats), angles, learning_rate, scaled.
    """
    table = pd.read_csv(data.folder() / "published" / "eigenvalues.csv").rename(
        columns={"train_loss_full": "train_loss"}
    )
    runs = [config.paper(n, d) for n, d in zip(table.n_patches, table.depth, strict=True)]
    table["angles"] = [run.model.n_params_per_qnn for run in runs]
    table["learning_rate"] = [run.train.learning_rate for run in runs]
    return with_scaled(table)[
        ["n_patches", "depth", "learning_rate", "angles", "lambda_max", "epoch", "train_loss", "scaled"]
    ]


def _stored_runs(folder: str) -> Iterator[tuple[Path, results.Record, RunConfig]]:
    """Every run file of a folder of data/results, with its configuration."""
    for path in sorted((data.folder() / "results" / folder).glob("*.safetensors")):
        record = results.read(path)
        if "minimum_epoch" in record.meta:  # a file of eigenvalues has none
            yield path, record, RunConfig(**record.meta["run"])


def stored_replays() -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], pd.DataFrame]:
    """Reads the stored replays of the published first epoch and pairs them with the published losses.

    Returns:
        Losses by title, "n = 4, d = 50" -> (published, replayed), nats; and a table with one row per replay and the
        columns n_patches, depth, largest_difference (relative), code, device, created. Both may be empty.
    """
    log = pd.read_csv(data.folder() / "published" / "training_log_epoch0.csv")
    pairs, rows = {}, []
    for _, record, run in _stored_runs("replay"):
        n, d = run.model.n_patches, run.model.depth
        published = log[(log.n_patches == n) & (log.depth == d)].train_loss.to_numpy()
        # Only the author's own seed, data and learning rate are a replay.
        same = run.model_copy(update={"train": config.paper(n, d).train}) == config.paper(n, d)
        if not same or not len(published) or run.train.learning_rate != config.PAPER_LEARNING_RATES[d]:
            continue
        replayed = record.arrays["batch_loss"][0][: len(published)].astype(float)
        made = record.meta["provenance"]
        pairs[f"n = {n}, d = {d}"] = (published, replayed)
        row = {"n_patches": n, "depth": d, "largest_difference": np.max(np.abs(replayed / published - 1))}
        rows.append(row | {"code": made["code"], "device": made["device"]["kind"], "created": made["created"]})
    columns = ["n_patches", "depth", "largest_difference", "code", "device", "created"]
    return pairs, pd.DataFrame(rows, columns=columns)


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
    parts = bounds.decompose(run.model, params, images.train_angles[:n_images], labels)
    g = parts.root.T @ parts.root
    values, vectors = np.linalg.eigh(g + parts.residual)
    own = parts.logit_gradients[np.arange(len(labels)), labels]
    return {
        "H": values[::-1],
        "G": np.linalg.eigvalsh(g)[::-1],
        "R": np.linalg.eigvalsh(parts.residual)[::-1],
        "vectors": vectors[:, ::-1],
        "gauss_newton": g,
        "class_means": np.stack([own[labels == c].mean(0) for c in range(run.model.n_classes)], axis=1),
        "gradient": float(np.linalg.norm(parts.gradient)),
        "loss": parts.loss,
        "flat": int(np.sum(np.abs(values) < 1e-9 * np.abs(values).max())),
    }


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


def stored_paper_runs() -> pd.DataFrame:
    """Reads the stored runs of the paper's protocol and pairs them with the published ones.

    Returns:
        Two rows per run, `source` "published" and "ours": n_patches, depth, seed, epoch, train_loss, test_loss (nats),
        test_accuracy, lambda_max (nats per rad^2, NaN if not stored), wall times of training and of the eigenvalue
        (seconds, NaN if unknown), code. May be empty.

    Raises:
        ValueError: if a stored eigenvalue belongs to another run.
    """
    folder = data.folder() / "published"
    minima, eigenvalues = pd.read_csv(folder / "minima.csv"), pd.read_csv(folder / "eigenvalues.csv")
    published = minima.merge(eigenvalues[["n_patches", "depth", "lambda_max", "elapsed_s"]], on=["n_patches", "depth"])
    rows = []
    for path, record, run in _stored_runs("paper"):
        at = record.meta["minimum_epoch"]
        size = {"n_patches": run.model.n_patches, "depth": run.model.depth, "seed": run.seed}
        same = (published.n_patches == size["n_patches"]) & (published.depth == size["depth"])
        for theirs in published[same].itertuples():
            row = {"epoch": theirs.epoch, "train_loss": theirs.train_loss, "test_loss": theirs.test_loss}
            row |= {"test_accuracy": theirs.test_acc, "lambda_max": theirs.lambda_max, "hessian_s": theirs.elapsed_s}
            rows.append(size | {"source": "published"} | row)
        row = {name: float(record.arrays[name][at]) for name in ("train_loss", "test_loss", "test_accuracy")}
        row |= {"epoch": at, "training_s": record.meta["wall_s"], "code": record.meta["provenance"]["code"]}
        beside = path.with_name(f"{path.stem}-curvature.safetensors")
        if beside.exists():
            found = results.read(beside)
            if found.meta["run_file"] != results.checksum(record.arrays, record.meta):
                raise ValueError(f"{beside} belongs to another run file: rerun `patchscape curvature --store {path}`.")
            row |= {"lambda_max": float(found.arrays["values"][0]), "residual": float(found.arrays["residuals"][0])}
            row |= {"hessian_s": found.meta["wall_s"], "products": found.meta["n_matvecs"]}
            row |= {"gradient_norm": found.meta["gradient_norm"]}
        rows.append(size | {"source": "ours"} | row)
    return pd.DataFrame(rows)


def stored_paper_curves() -> dict[str, tuple[np.ndarray, np.ndarray, int | None]]:
    """Reads the training curves of the stored runs of the paper's protocol, beside the published ones.

    Returns:
        By title, "n = 4, d = 50": mean batch loss of every epoch (nats), published and ours, and the first epoch in
        which they differ by more than 1 percent (None if there is none). Only the author's seed is compared.
    """
    published = pd.read_csv(data.folder() / "published" / "training_curves.csv")
    out = {}
    for _, record, run in _stored_runs("paper"):
        n, d = run.model.n_patches, run.model.depth
        theirs = published[(published.n_patches == n) & (published.depth == d)].train_loss_mean60.to_numpy()
        if run.seed != config.PAPER_SEED or not len(theirs):
            continue
        ours = record.arrays["batch_loss"].astype(float).mean(1)[: len(theirs)]
        apart = np.flatnonzero(np.abs(ours / theirs[: len(ours)] - 1) > 0.01)
        out[f"n = {n}, d = {d}"] = (theirs, ours, int(apart[0]) if len(apart) else None)
    return out
