"""Spectra at the stored minima: leading eigenvalues, whole spectra, and what is expected of random circuits."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from patchscape import law
from patchscape.config import PAPER_SEED, RunConfig
from patchscape.numerics import outliers
from patchscape.store import columns, files, grids, records
from patchscape.tables import runs


def by_size(grid: str) -> tuple[dict[tuple[int, int], dict[str, np.ndarray]], pd.DataFrame]:
    """Reads the leading eigenvalues of a grid's minima and counts the outliers of every run.

    Args:
        grid: name of the grid.

    Returns:
        By (n_patches, depth): `eigenvalues`, `refined_eigenvalues`, `class_mean_overlap`, `gradient_overlap` and
        `expected_phi` (S, k) and `vector_shares` (S, k, n + 1) of the converged ranks, as far as they are
        stored; and a table with one row per run and point (`where` is "checkpoint" or "refined"): n_patches, depth,
        classes (of the images), seed, lambda_max, outliers, gap.
    """
    items = [item for item in runs.read(grid) if item.curvature is not None]
    items.sort(key=lambda item: (item.run.model.n_patches, item.run.model.depth))
    return {(item.run.model.n_patches, item.run.model.depth): _leading(item) for item in items}, _counts(items)


def by_classes(outputs: int | None = None) -> tuple[dict[int, dict[str, np.ndarray]], pd.DataFrame]:
    """Reads the stored runs that differ from the grid's baseline (n = 4, depth 6) in the number of classes only.

    Args:
        outputs: number of outputs of the models, whatever the number of classes of the images; None: as many.

    Returns:
        As `by_size`, by number of classes of the images.
    """
    items = {}
    for grid in ("laptop", "controls"):
        for item in runs.read(grid):
            run, k = item.run, item.run.model.n_classes
            alike = run == grids.laptop(n_classes=k, data_classes=run.data_classes)
            if alike and k == (outputs or run.classes) and item.curvature is not None:
                items[run.classes] = item
    return {classes: _leading(item) for classes, item in items.items()}, _counts(items.values())


def whole() -> dict[str, np.ndarray]:
    """Reads all eigenvalues of the stored 8-qubit minima with n = 4, depth 6 and no weight decay.

    Returns:
        "H", "G" and "R", (S, P) each, in decreasing order, nats per rad^2.

    Raises:
        ValueError: if they are not stored.
    """
    (job,) = (job for job in grids.jobs("controls").values() if "no weight decay" in job.studies)
    names = {"H": "all_eigenvalues", "G": "all_gauss_newton", "R": "all_residual"}
    for item in runs.read("controls"):
        if item.run == job.run and item.curvature is not None:
            return {part: item.curvature.arrays[name] for part, name in names.items()}
    raise ValueError(f"the spectra of {job.name} are not stored: run `patchscape job controls {job.name}`.")


def at_paper_size() -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Reads the spectra at minima of the paper's size: the leading part and the density, and what is whole.

    Returns:
        By (n_patches, depth), in this order, arrays of the author's seed as `data/results/README.md` has them: where
        the leading eigenvalues were measured, what the curvature file has; where whole spectra are stored, these
        too, with `expected_phi`. May be empty.

    Raises:
        ValueError: if a file is damaged or belongs to another run file.
    """
    found = {}
    for item in runs.read("paper"):
        cfg = item.run.model
        if item.run.seed == PAPER_SEED and item.curvature is not None:
            arrays = {name: value[0] for name, value in item.curvature.arrays.items()}
            whole = _whole(item)
            if "class_mean_overlap" in arrays:
                found[cfg.n_patches, cfg.depth] = arrays | whole
            elif whole:
                found[cfg.n_patches, cfg.depth] = whole | {"expected_phi": arrays["expected_phi"]}
    return dict(sorted(found.items()))


def leading_part(spectra: Mapping[tuple[int, int], Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Sums up the leading part of each spectrum of `at_paper_size`.

    Args:
        spectra: by (n_patches, depth), those with leading eigenvalues.

    Returns:
        One row each: n_patches, depth; lambda_max and lambda_min (nats per rad^2); converged, how many of the largest
        eigenvalues have a residual below 1e-3 lambda_max; outliers and gap, by the rule of the widest gap among
        these; gap_9 and gap_10, the ratios after these ranks; share_9, the mean share of the eigenvectors 1 to 9 in the
        span of the class-mean gradients, share_10, and share_rest of those after; bias, the share of the first
        eigenvector on the bias.
    """
    rows = []
    for (n, d), found in spectra.items():
        values, share = found["eigenvalues"], found["class_mean_overlap"]
        good = int((found["eigenvalue_residuals"] < 1e-3 * values[0]).sum())
        count = outliers.count_outliers(values[:good], candidates=good - 1)
        row = {"n_patches": n, "depth": d, "lambda_max": values[0], "lambda_min": float(found["lambda_min"])}
        row |= {"converged": good, "outliers": count, "gap": outliers.gap_ratio(values, count)}
        row |= {f"gap_{rank}": outliers.gap_ratio(values, rank) for rank in (9, 10)}
        row |= {"share_9": share[:9].mean(), "share_10": share[9], "share_rest": share[10:].mean()}
        rows.append(row | {"bias": found["vector_shares"][0, -1]})
    return pd.DataFrame(rows)


def _whole(item: runs.Stored) -> dict[str, np.ndarray]:
    """The arrays of the file of whole spectra that belongs to a run; none if there is none."""
    path = files.folder_of("spectra") / item.path.name
    if not path.exists():
        return {}
    arrays, meta = records.read(path)
    if meta["run_file"] != records.checksum(item.record.arrays, item.record.meta):
        raise ValueError(f"{path} belongs to another run file: delete it and run `patchscape spectrum` again.")
    return {name: value[0] for name, value in arrays.items()}


def expected(grid: str) -> dict[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Reads the leading eigenvalues of a grid's minima and those that the estimate E2 expects.

    Args:
        grid: name of the grid.

    Returns:
        By number of patches and depth: measured (of H) and expected (of G), (S, 12) each, on all parameters, as shares
        of the trace that E1 expects, a shared pixel counting as one more angle of every circuit.
    """
    found: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for item in sorted(runs.read(grid), key=lambda item: (item.run.model.n_patches, item.run.model.depth)):
        if item.curvature is None or "expected_all" not in item.curvature.arrays:
            continue
        cfg, arrays = item.run.model, item.curvature.arrays
        m, q = cfg.n_params_per_qnn, cfg.n_qubits
        trace = law.trace(arrays["impurity"], cfg.n_patches, cfg.factor, m, q) * law.with_pixels(q, m, cfg.shared_bias)
        both = (arrays[name][:, : columns.LEADING] / trace[:, None] for name in ("eigenvalues", "expected_all"))
        found.setdefault(cfg.n_patches, {})[cfg.depth] = tuple(both)
    return found


def redrawn(folder: str | Path | None = None) -> pd.DataFrame:
    """Reads what was measured at stored minima with trained, initial and redrawn blocks.

    Args:
        folder: where to look; default is data/results/redrawn.

    Returns:
        One row per seed and draw: n_patches, depth, seed, blocks ("trained", "start" or "redrawn"), and of the
        Gauss-Newton matrix with the predictions of the trained model: lambda_max and lambda_max_phi (on all parameters
        and on phi), lambda_max_bias, trace_phi, trace_bias (nats per rad^2), coherence, outliers and gap (of the
        eigenvalues on all parameters); jacobian_cosine, kernel_alignment and distance (rad) from the trained
        blocks; and kept, the share of the impurity of all training images that the images used have. Empty if
        nothing is stored.

    Raises:
        ValueError: if a file is damaged.
    """
    where = files.folder_of("redrawn") if folder is None else Path(folder)
    rows = []
    for path in sorted(where.glob("*.safetensors")):
        arrays, meta = records.read(path)
        cfg = RunConfig(**meta["run"]).model
        kept = arrays.pop("impurity_kept", np.ones(len(meta["seeds"])))
        for i, seed in enumerate(meta["seeds"]):
            for draw, values in enumerate(arrays["eigenvalues"][i]):
                at = {name: value[i, draw] for name, value in arrays.items()}
                count = outliers.count_outliers(values[: columns.LEADING], candidates=columns.LEADING - 1)
                row = {"n_patches": cfg.n_patches, "depth": cfg.depth, "seed": seed, "kept": kept[i]}
                row |= {"blocks": (*columns.BLOCKS, "redrawn")[min(draw, len(columns.BLOCKS))]}
                row |= {"lambda_max": values[0], "lambda_max_phi": at["eigenvalues_phi"][0]}
                row |= {"lambda_max_bias": at["gauss_newton_bias"]}
                row |= {"coherence": law.coherence(at["eigenvalues_phi"][0], at["gauss_newton_blocks"])}
                row |= {"outliers": count, "gap": outliers.gap_ratio(values, count)}
                same = ("trace_phi", "trace_bias", "jacobian_cosine", "kernel_alignment", "distance")
                rows.append(row | {name: float(at[name]) for name in same})
    return pd.DataFrame(rows)


def against_redrawn(table: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """Compares trained blocks with the mean of those drawn anew at the same minimum.

    Args:
        table: from `redrawn`.
        quantities: columns of positive numbers.

    Returns:
        One row per seed and quantity: n_patches, depth, seed, quantity, ratio (trained to the geometric mean of the
        redrawn), low and high (the smallest and the largest redrawn one to that mean).
    """
    rows = []
    for (n, depth, seed), own in table.groupby(["n_patches", "depth", "seed"]):
        trained, null = own[own.blocks == "trained"], own[own.blocks == "redrawn"]
        for name in quantities:
            mean = np.exp(np.log(null[name]).mean())
            row = {"n_patches": n, "depth": depth, "seed": seed, "quantity": name}
            row |= {"ratio": trained[name].iloc[0] / mean}
            rows.append(row | {"low": null[name].min() / mean, "high": null[name].max() / mean})
    return pd.DataFrame(rows)


def _leading(item: runs.Stored) -> dict[str, np.ndarray]:
    of_vectors = ("class_mean_overlap", "gradient_overlap", "vector_shares")
    names = ("eigenvalues", "refined_eigenvalues", "expected_phi", *of_vectors)
    arrays = item.curvature.arrays
    return {name: arrays[name][:, : columns.LEADING] for name in names if name in arrays}


def _counts(items: Iterable[runs.Stored]) -> pd.DataFrame:
    """Outliers of every run, among the converged ranks but no more than twice the number of outputs."""
    rows = []
    for item in items:
        cfg, kept = item.run.model, _leading(item)
        candidates = min(columns.LEADING - 1, 2 * cfg.n_classes)
        for name, where in (("eigenvalues", "checkpoint"), ("refined_eigenvalues", "refined")):
            for seed, values in zip(item.record.meta["seeds"], kept.get(name, ()), strict=False):
                count = outliers.count_outliers(values, candidates=candidates)
                row = {"n_patches": cfg.n_patches, "depth": cfg.depth, "classes": item.run.classes, "seed": seed}
                row |= {"where": where, "lambda_max": values[0]}
                rows.append(row | {"outliers": count, "gap": outliers.gap_ratio(values, count)})
    return pd.DataFrame(rows)
