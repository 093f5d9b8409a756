"""Tables of the stored results."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from patchscape import law
from patchscape.config import RunConfig
from patchscape.store import files, grids, records
from patchscape.store.files import OWN, folder_of

FACTORS = ("of_loss", "of_derivatives", "of_bias", "of_spectrum", "of_residual")
E2_WRITTEN = "2026-11-22T00:28:00Z"  # when a commit wrote the estimate down: of later runs it is a prediction
ENSEMBLE = ("ensemble_test_loss", "ensemble_test_accuracy")


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
    record: records.Record
    curvature: records.Record | None


def read(grid: str, folder: str | Path | None = None) -> Iterator[Stored]:
    """Reads every job of a grid's folder that has a run file.

    Args:
        grid: name of the grid, "replay", or `OWN`.
        folder: where to look; default is `files.folder_of(grid)`.

    Yields:
        One item per configuration, in the order of the file names, n = 4 before n = 16.

    Raises:
        ValueError: if there is no such grid, a file is damaged, or a curvature file belongs to another run.
    """
    if grid not in (*grids.names(), "replay", OWN):
        raise ValueError(f"no grid '{grid}': choose one of {', '.join((*grids.names(), OWN))}.")
    where = folder_of(grid) if folder is None else Path(folder)
    numbers_in_order = lambda path: [(len(word), word) for word in path.stem.split("-")]  # noqa: E731
    for path in sorted(where.glob("*.safetensors"), key=numbers_in_order):
        if not path.stem.endswith("-curvature"):
            record, curvature = files.read_pair(path)
            yield Stored(path, RunConfig(**record.meta["run"]), record, curvature)


def table(names: Sequence[str] | None = None, folder: str | Path | None = None) -> pd.DataFrame:
    """Returns one row per stored run, diverged ones too: configuration, minimum, curvature, provenance.

    `data/results/README.md` explains the columns. Arrays longer than one number are left out; `read` has them.

    Args:
        names: of grids; None is those of the study (`grids.study`).
        folder: where to look instead of `folder_of`; then give one grid.

    Returns:
        The table; empty if nothing is stored.
    """
    names = grids.study() if names is None else names
    found = [rows(grid, item) for grid in names for item in read(grid, folder)]
    return with_scaled(pd.concat(found, ignore_index=True)) if found else pd.DataFrame()


def rows(grid: str, item: Stored) -> pd.DataFrame:
    """Returns one row per seed of one configuration, as `table` has them."""
    return pd.DataFrame([_row(grid, item, number) for number in range(len(item.record.meta["seeds"]))])


def of_chapter(run: RunConfig, seeds: Sequence[int]) -> Stored | None:
    """Looks up what a chapter would train: the configuration, by its digest, with the same seeds.

    Args:
        run: the configuration; its own seed does not count.
        seeds: one training run each.

    Returns:
        The stored runs, with what was measured at their minima; None if they are not stored.

    Raises:
        ValueError: if a file is damaged.
    """
    run = run.model_copy(update={"seed": seeds[0]})
    path = folder_of("chapters") / f"{run.name(seeds)}.safetensors"
    if not path.exists():
        return None
    record, curvature = files.read_pair(path)
    return Stored(path, run, record, curvature)


def _row(grid: str, stored: Stored, number: int) -> dict[str, Any]:
    run, arrays, meta = stored.run, stored.record.arrays, stored.record.meta
    epoch = int(arrays["minimum_epoch"][number])
    cfg, protocol = run.model, run.train
    row: dict[str, Any] = {"grid": grid, "job": stored.path.stem, "seed": meta["seeds"][number], "dataset": run.dataset}
    row |= {name: getattr(run, name) for name in ("data_classes", "n_train", "n_test")}
    row |= {**cfg.model_dump(), **protocol.model_dump()}
    row |= {"angles": cfg.n_params_per_qnn, "n_params": cfg.n_params, "max_coverage": cfg.max_coverage}
    row |= {"factor": cfg.factor}
    row |= {"epoch": epoch, "diverged": not np.all(np.isfinite(arrays["train_loss"][number]))}
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        row[name] = float(arrays[name][number, epoch]) if epoch >= 0 else np.nan
    row |= {name: float(arrays[name][number]) for name in ENSEMBLE if name in arrays}
    row |= {f"pca_{i + 1}": float(arrays["pca_ratios"][number, i]) for i in range(2) if "pca_ratios" in arrays}
    row |= {"training_s": meta["wall_s"] / len(meta["seeds"]), "code": meta["provenance"]["code"]}
    row |= {"device": meta["provenance"]["device"]["kind"], "created": meta["provenance"]["created"]}
    if stored.curvature is not None:
        found = _named({name: value[number] for name, value in stored.curvature.arrays.items()})
        row |= {name: float(value) for name, value in found.items() if np.ndim(value) == 0}
        if "eigenvalues" in found:
            row["outlier_sum"] = float(found["eigenvalues"][: run.classes - 1].sum())
        if "expected_all" in found:
            row["expected_lambda_max"] = float(found["expected_all"][0])
        if "gauss_newton_blocks" in found:
            blocks, rest = found["gauss_newton_blocks"], found["residual_blocks"]
            row["coherence"] = law.coherence(row["gauss_newton_phi"], blocks)
            row["weyl"] = row["gauss_newton_phi"] + rest.max()
            if "expected_phi" in found:
                row["expected_phi"] = float(found["expected_phi"][0])
                trace = law.trace(row["impurity"], cfg.n_patches, cfg.factor, cfg.n_params_per_qnn, cfg.n_qubits)
                row["expected_upper"] = law.chernoff(row["expected_phi"], blocks.max(), trace / row["expected_phi"])
            row["t1"], row["t1_uniform"] = law.t1(blocks, rest), law.t1_uniform(blocks, rest)
            weights = row["train_loss"], cfg.n_patches, cfg.factor
            row["t2_a_priori"] = law.t2_a_priori(*weights, cfg.n_params_per_qnn, cfg.n_classes)
        row |= {"curvature_s": stored.curvature.meta["wall_s"] / len(meta["seeds"])}
        row |= {"curvature_code": stored.curvature.meta["provenance"]["code"]}
    return row


def _named(found: dict[str, Any]) -> dict[str, Any]:
    """Names the residual of lambda_max for what it is: older code stored that of Lanczos' recurrence."""
    for where in ("", "refined_"):
        name = f"{where}lambda_max_residual"
        if name in found and found[name] == found.get(f"{where}eigenvalue_residuals", [np.nan])[0]:
            found[f"{name}_of_lanczos"] = found.pop(name)
    return found


def with_scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Adds `scaled`, from `law.scaled`, if lambda_max is there."""
    if "lambda_max" not in table:
        return table
    return table.assign(scaled=law.scaled(table.lambda_max, table.n_patches, table.train_loss))


def with_law(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the terms of the scaling law, the leading part of the bound T2 without its constant.

    Args:
        table: columns n_patches, angles, factor (weight of one circuit in the logits), train_loss, lambda_max.

    Returns:
        The table with loss_factor = 1 - exp(-train_loss), law = angles n factor^2 loss_factor, which is c^2 m / n times
        the loss factor for a mean over patches, and kappa = lambda_max / law (nats per rad^2).
    """
    expected = law.scaling(table.train_loss, table.n_patches, table.factor, table.angles)
    return table.assign(loss_factor=law.loss_factor(table.train_loss), law=expected, kappa=table.lambda_max / expected)


def with_factors(table: pd.DataFrame) -> pd.DataFrame:
    """Takes the constant of the scaling law apart, into what the estimate E1 expects and the factors that remain.

    Args:
        table: from `with_law`, with n_qubits and the columns of a curvature file.

    Returns:
        The rows with a stored trace, and typical_trace (what E1 expects the trace of G on phi to be, nats per rad^2)
        and the factors, whose product is kappa / (2 s^2) with s^2 = `law.typical_square`:
        of_loss = impurity / (2 loss_factor), of_derivatives = trace / typical_trace, of_bias = trace on all parameters
        / trace on phi, of_spectrum = lambda_max(G) / trace on all parameters, of_residual = lambda_max(H) /
        lambda_max(G); the last two NaN where lambda_max(G) is not stored.
    """
    if "impurity" not in table:
        return table.iloc[:0]
    rows = table.dropna(subset=["impurity"])
    top = rows.get("gauss_newton", pd.Series(np.nan, rows.index))  # the paper's grid does not have it
    typical = law.trace(rows.impurity, rows.n_patches, rows.factor, rows.angles, rows.n_qubits)
    trace = rows.gauss_newton_trace_phi + rows.gauss_newton_trace_bias
    return rows.assign(
        typical_trace=typical,
        of_loss=rows.impurity / (2 * rows.loss_factor),
        of_derivatives=rows.gauss_newton_trace_phi / typical,
        of_bias=trace / rows.gauss_newton_trace_phi,
        of_spectrum=top / trace,
        of_residual=rows.lambda_max / top,
    )


def vary(table: pd.DataFrame, *free: str, **fixed: object) -> pd.DataFrame:
    """Selects the runs that differ from the baseline of the laptop grid in the named fields only.

    Args:
        table: from `table`.
        *free: fields of the configuration that may take any stored value.
        **fixed: fields that shall have another value than in the baseline (n = 4, depth 6).

    Returns:
        The rows.
    """
    baseline = grids.laptop()
    wanted = {name: getattr(baseline, name) for name in ("dataset", "data_classes", "n_train")}
    wanted |= baseline.model.model_dump() | baseline.train.model_dump() | fixed
    keep = np.ones(len(table), bool)
    for name, value in wanted.items():
        if name not in free:
            column = table[name]
            keep &= (column.isna() if value is None else column == value).to_numpy(bool)
    return table[keep]


def kinds_of_runs(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Sorts the stored 8-qubit runs by what differs from the grid, for the scaling law.

    Args:
        table: from `table`, of the grids laptop and controls.

    Returns:
        Rows of `with_law` by kind, kinds that are not stored left out; and all rows that the law is fitted to:
        more than one patch and the paper's logits, at any depth and learning rate.
    """
    every = with_law(table.dropna(subset=["lambda_max"]))
    of_the_law = {
        "grid": vary(every, "n_patches", "depth").query("n_patches > 1"),
        "other learning rates": vary(every, "depth", "learning_rate").query("learning_rate != 0.02"),
    }
    others = {
        "no weight decay": vary(every, "n_patches", weight_decay=0.0),
        "no shared bias": vary(every, "n_patches", shared_bias=False),
        "other windows": vary(every, "stride").dropna(subset=["stride"]),
        "$c = 25\\,n$": vary(every, "n_patches", "scale").query("scale != 100"),
        "sum": vary(every, "n_patches", aggregation="sum"),
        "two to eight classes": vary(every, "n_classes").query("n_classes < 10"),
        "ten outputs, fewer classes": vary(every, "data_classes").dropna(subset=["data_classes"]),
        "one circuit": vary(every, "depth", n_patches=1),
    }
    return {name: rows for name, rows in (of_the_law | others).items() if len(rows)}, pd.concat(of_the_law.values())
