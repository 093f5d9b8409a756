"""Tables of the stored results, and of the published numbers that they are compared with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from patchscape import config, data, estimates, grids, jobs, results
from patchscape.config import RunConfig

FACTORS = ("of_loss", "of_derivatives", "of_bias", "of_spectrum", "of_residual")
_ENSEMBLE = ("ensemble_test_loss", "ensemble_test_accuracy")


class Stored(NamedTuple):
    """One configuration with all its seeds, as it is stored.

    Attributes:
        path: the run file.
        run: the configuration, with the first seed.
        record: curves, minima and provenance; arrays have a leading axis of seeds.
        curvature: what was measured at the minima, or None.
    """

    path: Path
    run: RunConfig
    record: results.Record
    curvature: results.Record | None


def read(grid: str, folder: str | Path | None = None) -> Iterator[Stored]:
    """Reads every job of a grid's folder that has a run file.

    Args:
        grid: name of the grid, or "replay".
        folder: where to look; default is data/results/GRID.

    Yields:
        One item per configuration, in the order of the file names, n = 4 before n = 16.

    Raises:
        ValueError: if there is no such grid, a file is damaged, or a curvature file belongs to another run.
    """
    if grid not in (*grids.names(), "replay"):
        raise ValueError(f"no grid '{grid}': choose one of {', '.join(grids.names())}.")
    where = data.folder() / "results" / grid if folder is None else Path(folder)
    numbers_in_order = lambda path: [(len(word), word) for word in path.stem.split("-")]  # noqa: E731
    for path in sorted(where.glob("*.safetensors"), key=numbers_in_order):
        if not path.stem.endswith("-curvature"):
            record, curvature = jobs.read_pair(path)
            yield Stored(path, RunConfig(**record.meta["run"]), record, curvature)


def runs(names: Sequence[str] | None = None, folder: str | Path | None = None) -> pd.DataFrame:
    """Returns one row per stored run, diverged ones too: configuration, minimum, curvature, provenance.

    `data/results/README.md` explains the columns. Arrays longer than one number are left out; `read` has them.

    Args:
        names: of grids; None is all of them.
        folder: where to look instead of data/results/GRID; then give one grid.

    Returns:
        The table; empty if nothing is stored.
    """
    rows = []
    for grid in grids.names() if names is None else names:
        for stored in read(grid, folder):
            rows += [_row(grid, stored, number) for number in range(len(stored.record.meta["seeds"]))]
    table = pd.DataFrame(rows)
    return table if table.empty else with_scaled(table)


def _row(grid: str, stored: Stored, number: int) -> dict[str, Any]:
    run, arrays, meta = stored.run, stored.record.arrays, stored.record.meta
    epoch = int(arrays["minimum_epoch"][number])
    cfg, protocol = run.model, run.train
    row: dict[str, Any] = {"grid": grid, "job": stored.path.stem, "seed": meta["seeds"][number], "dataset": run.dataset}
    row |= {"n_train": run.n_train, "n_test": run.n_test, **cfg.model_dump(), **protocol.model_dump()}
    row |= {"angles": cfg.n_params_per_qnn, "n_params": cfg.n_params, "max_coverage": cfg.max_coverage}
    row |= {"factor": cfg.factor}
    row |= {"epoch": epoch, "diverged": not np.all(np.isfinite(arrays["train_loss"][number]))}
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        row[name] = float(arrays[name][number, epoch]) if epoch >= 0 else np.nan
    row |= {name: float(arrays[name][number]) for name in _ENSEMBLE if name in arrays}
    row |= {f"pca_{i + 1}": float(arrays["pca_ratios"][number, i]) for i in range(2) if "pca_ratios" in arrays}
    row |= {"training_s": meta["wall_s"] / len(meta["seeds"]), "code": meta["provenance"]["code"]}
    row |= {"device": meta["provenance"]["device"]["kind"], "created": meta["provenance"]["created"]}
    if stored.curvature is not None:
        found = {name: value[number] for name, value in stored.curvature.arrays.items()}
        row |= {name: float(value) for name, value in found.items() if np.ndim(value) == 0}
        if "eigenvalues" in found:
            row["outlier_sum"] = float(found["eigenvalues"][: cfg.n_classes - 1].sum())
        if "expected_gauss_newton" in found:
            row["expected_lambda_max"] = float(found["expected_gauss_newton"][0]) * estimates.with_pixels(cfg)
        if "gauss_newton_blocks" in found:
            blocks = found["gauss_newton_blocks"]
            row["coherence"] = row["gauss_newton_phi"] / blocks.sum()
            rest = found["residual_blocks"].max()
            row["weyl"] = row["gauss_newton_phi"] + rest
            row["t1"] = blocks.sum() + rest
            row["t1_uniform"] = cfg.n_patches * blocks.max() + rest
            level = -2 * np.expm1(-row["train_loss"]) * cfg.n_params_per_qnn
            row["t2_a_priori"] = level * (cfg.n_patches * cfg.factor**2 * cfg.n_classes + cfg.factor)
        row |= {"curvature_s": stored.curvature.meta["wall_s"] / len(meta["seeds"])}
        row |= {"curvature_code": stored.curvature.meta["provenance"]["code"]}
    return row


def with_scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Adds lambda_max n / (1 - exp(-train_loss)), which the bound T2 predicts to depend on neither n nor the loss."""
    if "lambda_max" not in table:
        return table
    return table.assign(scaled=table.lambda_max * table.n_patches / -np.expm1(-table.train_loss))


def with_law(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the terms of the scaling law, the leading part of the bound T2 without its constant.

    Args:
        table: columns n_patches, angles, factor (weight of one circuit in the logits), train_loss, lambda_max.

    Returns:
        The table with loss_factor = 1 - exp(-train_loss), law = angles n factor^2 loss_factor, which is c^2 m / n times
        the loss factor for a mean over patches, and kappa = lambda_max / law (nats per rad^2).
    """
    loss_factor = -np.expm1(-table.train_loss)
    law = table.angles * table.n_patches * table.factor**2 * loss_factor
    return table.assign(loss_factor=loss_factor, law=law, kappa=table.lambda_max / law)


def with_factors(table: pd.DataFrame) -> pd.DataFrame:
    """Takes the constant of the scaling law apart, into what the estimate T4 expects and the factors that remain.

    Args:
        table: from `with_law`, with n_qubits and the columns of a curvature file.

    Returns:
        The rows with a stored trace, and typical_trace (what T4 expects the trace of G on phi to be, nats per rad^2)
        and the factors, whose product is kappa / (2 s^2) with s^2 = `estimates.typical_square`:
        of_loss = impurity / (2 loss_factor), of_derivatives = trace / typical_trace, of_bias = trace on all parameters
        / trace on phi, of_spectrum = lambda_max(G) / trace on all parameters, of_residual = lambda_max(H) /
        lambda_max(G); the last two NaN where lambda_max(G) is not stored.
    """
    if "impurity" not in table:
        return table.iloc[:0]
    rows = table.dropna(subset=["impurity"])
    top = rows.get("gauss_newton", pd.Series(np.nan, rows.index))  # the paper's grid does not have it
    typical = rows.law / rows.loss_factor * rows.impurity * rows.n_qubits.map(estimates.typical_square)
    trace = rows.gauss_newton_trace_phi + rows.gauss_newton_trace_bias
    return rows.assign(
        typical_trace=typical,
        of_loss=rows.impurity / (2 * rows.loss_factor),
        of_derivatives=rows.gauss_newton_trace_phi / typical,
        of_bias=trace / rows.gauss_newton_trace_phi,
        of_spectrum=top / trace,
        of_residual=rows.lambda_max / top,
    )


def published_eigenvalues() -> pd.DataFrame:
    """Reads the twelve published eigenvalues, one run with seed 1001 each.

    Returns:
        Columns n_patches, depth, lambda_max (nats per rad^2), epoch, train_loss (nats), angles, factor, learning_rate,
        scaled.
    """
    table = pd.read_csv(data.folder() / "published" / "eigenvalues.csv").rename(
        columns={"train_loss_full": "train_loss"}
    )
    points = [config.paper(n, d) for n, d in zip(table.n_patches, table.depth, strict=True)]
    table["angles"] = [run.model.n_params_per_qnn for run in points]
    table["factor"] = [run.model.factor for run in points]
    table["learning_rate"] = [run.train.learning_rate for run in points]
    return with_scaled(table)[
        ["n_patches", "depth", "learning_rate", "angles", "factor", "lambda_max", "epoch", "train_loss", "scaled"]
    ]


def replays() -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], pd.DataFrame]:
    """Reads the stored replays of the published first epoch and pairs them with the published losses.

    Returns:
        Losses by title, "n = 4, d = 50" -> (published, replayed), nats; and a table with one row per replay and the
        columns n_patches, depth, largest_difference (relative), code, device, created. Both may be empty.
    """
    log = pd.read_csv(data.folder() / "published" / "training_log_epoch0.csv")
    pairs, rows = {}, []
    for stored in read("replay"):
        run, made = stored.run, stored.record.meta["provenance"]
        n, d = run.model.n_patches, run.model.depth
        published = log[(log.n_patches == n) & (log.depth == d)].train_loss.to_numpy()
        # Only the author's own seed, data and learning rate are a replay.
        same = run.model_copy(update={"train": config.paper(n, d).train}) == config.paper(n, d)
        if not same or not len(published) or run.train.learning_rate != config.PAPER_LEARNING_RATES[d]:
            continue
        replayed = stored.record.arrays["batch_loss"][0, 0, : len(published)].astype(float)
        pairs[f"n = {n}, d = {d}"] = (published, replayed)
        row = {"n_patches": n, "depth": d, "largest_difference": np.max(np.abs(replayed / published - 1))}
        rows.append(row | {"code": made["code"], "device": made["device"]["kind"], "created": made["created"]})
    columns = ["n_patches", "depth", "largest_difference", "code", "device", "created"]
    return pairs, pd.DataFrame(rows, columns=columns)


def paper_runs() -> pd.DataFrame:
    """Reads the stored runs of the paper's protocol and pairs them with the published ones.

    Returns:
        Two rows per run of the author's seed, `source` "published" and "ours", one per other seed: n_patches, depth,
        seed, epoch, train_loss, test_loss (nats), test_accuracy, ensemble_test_loss (nats) and ensemble_test_accuracy
        of the snapshot ensemble (NaN if not stored), lambda_max and its residual (nats per rad^2, NaN if not stored),
        pca_1 and pca_2 (shares of variance), wall times of training and of the eigenvalue (seconds, NaN if unknown),
        code. May be empty.
    """
    folder = data.folder() / "published"
    published = pd.read_csv(folder / "minima.csv").merge(
        pd.read_csv(folder / "eigenvalues.csv")[["n_patches", "depth", "lambda_max", "elapsed_s"]],
        on=["n_patches", "depth"],
    )
    ensembles = pd.read_csv(folder / "ensemble.csv").set_index(["n_patches", "depth"])
    ratios = pd.read_csv(folder / "pca.csv").set_index(["n_patches", "depth"])
    rows = []
    for ours in runs(["paper"]).to_dict("records"):
        size = {name: ours[name] for name in ("n_patches", "depth", "seed")}
        same = (published.n_patches == size["n_patches"]) & (published.depth == size["depth"])
        for theirs in published[same].itertuples() if size["seed"] == config.PAPER_SEED else ():
            row = {"epoch": theirs.epoch, "train_loss": theirs.train_loss, "test_loss": theirs.test_loss}
            row |= {"test_accuracy": theirs.test_acc, "lambda_max": theirs.lambda_max, "hessian_s": theirs.elapsed_s}
            of_ensemble = ensembles.loc[size["n_patches"], size["depth"]][["test_loss", "test_acc"]]
            row |= dict(zip(_ENSEMBLE, of_ensemble, strict=True))
            row |= dict(zip(("pca_1", "pca_2"), ratios.loc[size["n_patches"], size["depth"]][_RATIOS], strict=True))
            rows.append(size | {"source": "published"} | row)
        names = {"curvature_s": "hessian_s", "lambda_max_residual": "residual", "n_products": "products"}
        rows.append(size | {"source": "ours"} | {names.get(key, key): ours[key] for key in _OURS if key in ours})
    return pd.DataFrame(rows)


_RATIOS = ["evr_pc1", "evr_pc2"]
_OURS = (
    *("epoch", "train_loss", "test_loss", "test_accuracy", "lambda_max", "lambda_max_residual", "gradient_norm"),
    *_ENSEMBLE,
    *("n_products", "pca_1", "pca_2", "training_s", "curvature_s", "code"),
)


def paper_curves() -> dict[str, tuple[np.ndarray, np.ndarray, int | None]]:
    """Reads the training curves of the stored runs of the paper's protocol, beside the published ones.

    Returns:
        By title, "n = 4, d = 50": mean batch loss of every epoch (nats), published and ours, and the first epoch in
        which they differ by more than 1 percent (None if there is none). Only the author's seed is compared.
    """
    published = pd.read_csv(data.folder() / "published" / "training_curves.csv")
    out = {}
    for stored in read("paper"):
        n, d = stored.run.model.n_patches, stored.run.model.depth
        theirs = published[(published.n_patches == n) & (published.depth == d)].train_loss_mean60.to_numpy()
        if stored.run.seed != config.PAPER_SEED or not len(theirs):
            continue
        ours = stored.record.arrays["batch_loss"][0].astype(float).mean(1)[: len(theirs)]
        apart = np.flatnonzero(np.abs(ours / theirs[: len(ours)] - 1) > 0.01)
        out[f"n = {n}, d = {d}"] = (theirs, ours, int(apart[0]) if len(apart) else None)
    return out


def vary(table: pd.DataFrame, *free: str, **fixed: object) -> pd.DataFrame:
    """Selects the runs that differ from the baseline of the laptop grid in the named fields only.

    Args:
        table: from `runs`.
        *free: fields of the configuration that may take any stored value.
        **fixed: fields that shall have another value than in the baseline (n = 4, depth 6).

    Returns:
        The rows.
    """
    baseline = grids.laptop()
    wanted = {"dataset": baseline.dataset, "n_train": baseline.n_train}
    wanted |= baseline.model.model_dump() | baseline.train.model_dump() | fixed
    keep = np.ones(len(table), bool)
    for name, value in wanted.items():
        if name not in free:
            column = table[name]
            keep &= (column.isna() if value is None else column == value).to_numpy(bool)
    return table[keep]
