"""The published numbers, and the stored runs that repeat the paper's own, side by side."""

import numpy as np
import pandas as pd

from patchscape import config
from patchscape.store import files
from patchscape.tables import runs

LEDGER = ("seeds", "top", "spectrum", "density", "whole")  # what can be stored of a point
_RATIOS = ["evr_pc1", "evr_pc2"]
_OURS = (
    *("epoch", "train_loss", "test_loss", "test_accuracy", "lambda_max", "gradient_norm"),
    *runs.ENSEMBLE,
    *("n_products", "pca_1", "pca_2", "training_s", "curvature_s", "code"),
)


def read(name: str) -> pd.DataFrame:
    """Reads a table of published numbers, data/published/NAME.csv; `data/README.md` says where each is from."""
    return pd.read_csv(files.data_folder() / "published" / f"{name}.csv")


def eigenvalues() -> pd.DataFrame:
    """Reads the twelve published eigenvalues, one run with seed 1001 each.

    Returns:
        Columns n_patches, depth, lambda_max (nats per rad^2), epoch, train_loss (nats), angles, factor, learning_rate,
        scaled.
    """
    table = read("eigenvalues").rename(columns={"train_loss_full": "train_loss"})
    points = [config.paper(n, d) for n, d in zip(table.n_patches, table.depth, strict=True)]
    table["angles"] = [run.model.n_params_per_qnn for run in points]
    table["factor"] = [run.model.factor for run in points]
    table["learning_rate"] = [run.train.learning_rate for run in points]
    return runs.with_scaled(table)[
        ["n_patches", "depth", "learning_rate", "angles", "factor", "lambda_max", "epoch", "train_loss", "scaled"]
    ]


def replays() -> tuple[dict[tuple[int, int], tuple[np.ndarray, np.ndarray]], pd.DataFrame]:
    """Reads the stored replays of the published first epoch and pairs them with the published losses.

    Returns:
        (n_patches, depth) -> losses (published, replayed), nats; and a table with one row per replay and the
        columns n_patches, depth, largest_difference (relative), code, device, created. Both may be empty.
    """
    log = read("training_log_epoch0")
    pairs, rows = {}, []
    for item in runs.read("replay"):
        run, made = item.run, item.record.meta["provenance"]
        n, d = run.model.n_patches, run.model.depth
        published = log[(log.n_patches == n) & (log.depth == d)].train_loss.to_numpy()
        # Only the author's own seed, data and learning rate are a replay.
        same = run.model_copy(update={"train": config.paper(n, d).train}) == config.paper(n, d)
        if not same or not len(published) or run.train.learning_rate != config.PAPER_LEARNING_RATES[d]:
            continue
        replayed = item.record.arrays["batch_loss"][0, 0, : len(published)].astype(float)
        pairs[n, d] = (published, replayed)
        row = {"n_patches": n, "depth": d, "largest_difference": np.max(np.abs(replayed / published - 1))}
        rows.append(row | {"code": made["code"], "device": made["device"]["kind"], "created": made["created"]})
    columns = ["n_patches", "depth", "largest_difference", "code", "device", "created"]
    return pairs, pd.DataFrame(rows, columns=columns)


def side_by_side() -> pd.DataFrame:
    """Reads the stored runs of the paper's protocol and pairs them with the published ones.

    Returns:
        Two rows per run of the author's seed, `source` "published" and "ours", one per other seed: n_patches, depth,
        seed, epoch, train_loss, test_loss (nats), test_accuracy, ensemble_test_loss (nats) and ensemble_test_accuracy
        of the snapshot ensemble (NaN if not stored), lambda_max (nats per rad^2, NaN if not stored), pca_1 and pca_2
        (shares of variance), wall times of training and of the eigenvalue (seconds, NaN if unknown), code.
        May be empty.
    """
    published = read("minima").merge(
        read("eigenvalues")[["n_patches", "depth", "lambda_max", "elapsed_s"]],
        on=["n_patches", "depth"],
    )
    ensembles = read("ensemble").set_index(["n_patches", "depth"])
    ratios = read("pca").set_index(["n_patches", "depth"])
    rows = []
    for ours in runs.table(["paper"]).to_dict("records"):
        size = {name: ours[name] for name in ("n_patches", "depth", "seed")}
        same = (published.n_patches == size["n_patches"]) & (published.depth == size["depth"])
        for theirs in published[same].itertuples() if size["seed"] == config.PAPER_SEED else ():
            row = {"epoch": theirs.epoch, "train_loss": theirs.train_loss, "test_loss": theirs.test_loss}
            row |= {"test_accuracy": theirs.test_acc, "lambda_max": theirs.lambda_max, "hessian_s": theirs.elapsed_s}
            of_ensemble = ensembles.loc[size["n_patches"], size["depth"]][["test_loss", "test_acc"]]
            row |= dict(zip(runs.ENSEMBLE, of_ensemble, strict=True))
            row |= dict(zip(("pca_1", "pca_2"), ratios.loc[size["n_patches"], size["depth"]][_RATIOS], strict=True))
            rows.append(size | {"source": "published"} | row)
        names = {"curvature_s": "hessian_s", "n_products": "products"}
        rows.append(size | {"source": "ours"} | {names.get(key, key): ours[key] for key in _OURS if key in ours})
    return pd.DataFrame(rows)


def comparison() -> pd.DataFrame:
    """Sets every number of the published runs beside that of ours with the same seed.

    Returns:
        One row for each of our runs, index (n_patches, depth); columns (quantity, source) with source "published" and
        "ours": epoch, train_loss, test_loss (nats), test_accuracy, ensemble_test_loss (nats), ensemble_test_accuracy,
        pca_1, pca_2, lambda_max (nats per rad^2); and ("same epochs", "ours"), for how many epochs the training curves
        agree to 1 percent. NaN where nothing is published or stored.
    """
    table = side_by_side()
    same = table[table.seed == config.PAPER_SEED].set_index(["n_patches", "depth", "source"])
    names = ["epoch", "train_loss", "test_loss", "test_accuracy", *runs.ENSEMBLE, "pca_1", "pca_2", "lambda_max"]
    wide = same.reindex(columns=names).unstack("source").reindex(columns=["published", "ours"], level=1)
    leaves = {size: len(ours) if apart is None else apart for size, (_, ours, apart) in curves().items()}
    wide["same epochs", "ours"] = [leaves[size] for size in wide.index]
    return wide


def curves() -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, int | None]]:
    """Reads the training curves of the stored runs of the paper's protocol, beside the published ones.

    Returns:
        By (n_patches, depth): mean batch loss of every epoch (nats), published and ours, and the first epoch in
        which they differ by more than 1 percent (None if there is none). Only the author's seed is compared.
    """
    published = read("training_curves")
    out = {}
    for item in runs.read("paper"):
        n, d = item.run.model.n_patches, item.run.model.depth
        theirs = published[(published.n_patches == n) & (published.depth == d)].train_loss_mean60.to_numpy()
        if item.run.seed != config.PAPER_SEED or not len(theirs):
            continue
        ours = item.record.arrays["batch_loss"][0].astype(float).mean(1)[: len(theirs)]
        apart = np.flatnonzero(np.abs(ours / theirs[: len(ours)] - 1) > 0.01)
        out[n, d] = (theirs, ours, int(apart[0]) if len(apart) else None)
    return out


def ledger() -> pd.DataFrame:
    """Lists the twelve published points, with what of ours is stored there and what it took.

    Returns:
        One row each: n_patches, depth; seeds (number of training runs); top, spectrum, density and whole, for how many
        of them lambda_max, the leading eigenvalues, the spectral density and every eigenvalue are stored; hours (wall
        time of all training and curvature files together, one core each).
    """
    points = eigenvalues()[["n_patches", "depth"]]
    rows = {size: dict.fromkeys((*LEDGER, "hours"), 0) for size in points.itertuples(index=False, name=None)}
    for item in runs.read("paper"):
        row = rows[item.run.model.n_patches, item.run.model.depth]
        arrays = item.curvature.arrays if item.curvature else {}
        seeds = len(item.record.meta["seeds"])
        whole = (files.folder_of("spectra") / item.path.name).exists()
        kept = (True, "lambda_max" in arrays, "class_mean_overlap" in arrays, "density_hessian_values" in arrays, whole)
        for name, there in zip(LEDGER, kept, strict=True):
            row[name] += seeds * there
        row["hours"] += sum(part.meta["wall_s"] for part in (item.record, item.curvature) if part) / 3600
    return pd.DataFrame([{"n_patches": n, "depth": d} | row for (n, d), row in rows.items()])
