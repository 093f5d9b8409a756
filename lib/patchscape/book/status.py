"""What the book stands on, as tables: stored results, time and memory of the chapters, the files behind each figure."""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from patchscape import runtime, tables
from patchscape.book.chapters import find_chapters
from patchscape.store import files, grids

_RUNS = {"paper", *(f"published/{name}.csv" for name in ("minima", "eigenvalues", "ensemble", "pca"))}
# What the readers called in chapters open: folders of data/results, or files below data.
_READERS = {
    "beyond.read_or_train": {"beyond"},
    "tables.beyond.table": {"beyond"},
    "tables.matched.table": {"matched"},
    "sweeps.hessian_sweep": {"chapters"},
    "sweeps.train_or_read": {"chapters"},
    "tables.published.eigenvalues": {"published/eigenvalues.csv"},
    "tables.published.replays": {"replay", "published/training_log_epoch0.csv"},
    "tables.published.side_by_side": _RUNS,
    "tables.published.comparison": _RUNS | {"published/training_curves.csv"},
    "tables.published.curves": {"paper", "published/training_curves.csv"},
    "speed.stored_benchmarks": {"results/benchmarks.json"},
    "tables.spectra.by_classes": {"laptop", "controls"},
    "tables.spectra.whole": {"controls"},
    "tables.spectra.at_paper_size": {"paper", "spectra"},
    "tables.published.ledger": {"paper", "spectra"},
    "tables.spectra.redrawn": {"redrawn"},
    "tables.landscapes.read": {"landscapes"},
}
# of the grids that they are given, or of all
_GRID_READERS = {
    "tables.runs.table",
    "tables.runs.read",
    "tables.spectra.by_size",
    "tables.spectra.expected",
    "exact_spectrum.similarities",
}
_MUTATORS = {"append", "extend", "update", "add"}


def chapters() -> pd.DataFrame:
    """Reads the stored measurement of the chapters (`make chapters`).

    Returns:
        One row per chapter: chapter, seconds (wall), cpu_s (processor seconds), peak_mb (MiB of the largest process,
        which is the notebook kernel), compilations (programs that JAX compiled) and compile_s (wall seconds of that;
        both NaN if not counted), gflop_per_s (1e9 operations per second of a single-precision matrix product just
        before, NaN if it was not timed), code, created. Empty if nothing is stored.
    """
    path = files.data_folder() / "results" / "chapters.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    columns = ["chapter", "seconds", "cpu_s", "peak_mb", "compilations", "compile_s", "gflop_per_s", "code", "created"]
    return pd.DataFrame(
        [
            {"chapter": name, **row, **{key: row["provenance"][key] for key in ("code", "created")}}
            for name, row in sorted(rows.items())
        ],
        columns=columns,
    )


def result_files() -> pd.DataFrame:
    """Reads the provenance of every stored run file and checks that all are whole.

    Returns:
        One row per file: grid, file, n_patches, depth, learning_rate, seeds (number of runs in it), diverged (number of
        them), hours (wall time of training and curvature together), size_mb, trained and measured (UTC; None if not
        measured), train_code and curvature_code (commits), device, python, jax (versions), sha256 (of the run file).

    Raises:
        ValueError: if a file is damaged.
    """
    rows = []
    for grid in (*grids.stored(), "replay"):
        for item in tables.runs.read(grid):
            meta, made = item.record.meta, item.record.meta["provenance"]
            measured = item.curvature.meta if item.curvature else None
            curve = item.record.arrays["train_loss"]
            row = {"grid": grid, "file": item.path.name, "n_patches": item.run.model.n_patches}
            row |= {"depth": item.run.model.depth, "learning_rate": item.run.train.learning_rate}
            row |= {"seeds": len(meta["seeds"]), "diverged": int((~pd.notna(curve)).any(axis=1).sum())}
            row |= {"hours": (meta["wall_s"] + (measured["wall_s"] if measured else 0)) / 3600}
            row |= {"size_mb": item.path.stat().st_size / 1e6, "trained": made["created"], "train_code": made["code"]}
            row |= {"measured": measured and measured["provenance"]["created"]}
            row |= {"curvature_code": measured and measured["provenance"]["code"]}
            row |= {"device": f"{made['device']['cores']} cores, {made['device']['kind']}", "python": made["python"]}
            row |= {"jax": made["libraries"]["jax"], "sha256": hashlib.sha256(item.path.read_bytes()).hexdigest()}
            rows.append(row)
    return pd.DataFrame(rows)


def other_files(runs: pd.DataFrame) -> pd.DataFrame:
    """Finds the stored results that are no run files: curvature, landscapes, measurements of other kinds.

    Args:
        runs: the run files, from `result_files`.

    Returns:
        One row per file: file (below data/results), size_mb, sha256 (of the file), in the order of their names.
    """
    folder = files.data_folder() / "results"
    known = set(runs.grid + "/" + runs.file)
    rows = []
    for path in sorted([*folder.rglob("*.safetensors"), *folder.glob("*.json")]):
        name = path.relative_to(folder).as_posix()
        if name not in known and "unfinished" not in path.parts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append({"file": name, "size_mb": path.stat().st_size / 1e6, "sha256": digest})
    return pd.DataFrame(rows, columns=["file", "size_mb", "sha256"])


def figures(folder: str | Path | None = None) -> pd.DataFrame:
    """Finds out from the code of the chapters which stored files each figure is drawn from.

    The code is read, not run: a name depends on the files that the statements which set it read, directly or through
    other names. A file that is read but does not reach the drawing may be named too; none is left out.

    Args:
        folder: of the chapters; default is the project's.

    Returns:
        One row per captioned figure, in the order of the book: figure (its label), caption (its first sentence),
        chapter, sources (tuple of folders of data/results such as "laptop", and of files below data; empty if all is
        computed while the book is built).
    """
    import nbformat

    folder = runtime.root() / "chapters" if folder is None else folder
    rows = []
    for name, path in find_chapters(folder).items():
        known: dict[str, set[str]] = {}
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                everything = _follow(ast.parse(cell.source), known)
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                if "name" in figure:
                    caption = figure["caption"].split(". ")[0].removesuffix(".")
                    rows.append((figure["name"], caption, name, tuple(sorted(known.get("fig", everything)))))
    return pd.DataFrame(rows, columns=["figure", "caption", "chapter", "sources"])


def _follow(tree: ast.Module, known: dict[str, set[str]]) -> set[str]:
    """Adds to `known` what a cell's names depend on; returns all that the cell reads."""
    everything: set[str] = set()
    for statement in tree.body:
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        used = (known.get(node.id, set()) for node in names if isinstance(node.ctx, ast.Load))
        reads = _read_by(statement).union(*used)
        everything |= reads
        assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        grown = set(_changed(statement)) | (assigned if isinstance(statement, ast.For | ast.AugAssign) else set())
        for name in assigned | grown:
            known[name] = reads | (known.get(name, set()) if name in grown else set())
    return everything


def _changed(statement: ast.stmt) -> Iterable[str]:
    """Names that a statement changes without assigning them: x.append(...), x[...] = ..., def x."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        changes = (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)) or (
            isinstance(node, ast.Attribute) and node.attr in _MUTATORS
        )
        changed = getattr(node, "value", None) if changes else None
        if isinstance(changed, ast.Name):
            yield changed.id


def _stored_grids() -> set[str]:
    return {name for name in grids.study() if (files.data_folder() / "results" / name).is_dir()}


def _texts(tree: ast.AST) -> Iterable[str]:
    return (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def _read_by(statement: ast.stmt) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found |= _READERS.get(called, set())
            if called == "tables.published.read":
                found |= {f"published/{text}.csv" for text in _texts(node)}
            if called in _GRID_READERS:
                found |= {text for text in _texts(node) if text in grids.names()} or _stored_grids()
    return found
