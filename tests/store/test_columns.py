"""The schema of columns fits every stored file, makes the tables of the README, and every file is written by it."""

import re
from pathlib import Path

import numpy as np
import pytest
from cases import JOB, ROOT, RUN

from patchscape import tables
from patchscape.book import say
from patchscape.store import columns, files, grids, records

RESULTS = ROOT / "data" / "results"
FOLDERS = {
    "landscapes": "landscape",
    "spectra": "spectrum",
    "redrawn": "redrawn",
    "matched": "matched",
    "beyond": "beyond",
}
META = {"run": RUN.model_dump(mode="json"), "seeds": list(JOB.seeds)}
STORED = [path for path in sorted(RESULTS.rglob("*.safetensors")) if "unfinished" not in path.parts]


def kind(path):
    folder = path.relative_to(RESULTS).parts[0]
    return FOLDERS.get(folder) or ("curvature" if path.stem.endswith("-curvature") else "run")


def test_every_stored_file_fits_the_schema():
    assert {kind(path) for path in STORED} == set(columns.SCHEMA)
    for path in STORED:
        columns.check(kind(path), *records.read(path))


def test_every_column_of_the_schema_is_stored_somewhere_or_said_not_to_be():
    stored = {(kind(path), name) for path in STORED for name in records.read(path).arrays}
    # the spectrum of H at the paper's size takes a day; what E2 expects at refined points came after the grids
    later = {("spectrum", name) for name in ("all_hessian", "hessian_values", "hessian_weights")}
    later |= {("curvature", f"refined_expected_{name}") for name in ("phi", "all", "kept")}
    assert {(k, name) for k in columns.SCHEMA for name in columns.known(k)} - stored <= later


def test_the_tables_of_the_readme_are_those_of_the_schema():
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- columns: (\w+) -->", text)) == {*columns.SCHEMA, "table"}
    assert columns.with_tables(text) == text, "run tools/write_columns.py"
    assert "| `minimum/phi` | (n, m) | angles there | rad |\n" in text
    assert columns.with_tables(text.replace("angles there", "something")) == text


def test_the_table_of_runs_has_the_columns_that_the_schema_and_the_configuration_name():
    table = tables.runs.table(["laptop", "controls", "paper", "datasets", "chapters"])
    described = {name for column in columns.TABLE for name in column.names}
    scalars = {name for k in ("run", "curvature") for name, c in columns.known(k).items() if not c.shape}
    per_epoch = {"train_loss", "test_loss", "train_accuracy", "test_accuracy"}
    run = grids.laptop()
    fields = {*run.model.model_dump(), *run.train.model_dump(), "dataset", "data_classes", "n_train", "n_test"}
    of_older_code = {"refined_lambda_max_residual_of_lanczos"}
    assert set(table) - of_older_code <= described | scalars | per_epoch | fields
    assert described <= set(table)


def test_what_the_book_calls_a_column_says_the_unit_that_the_schema_has():
    units = {name: c.unit for c in (*columns.SCHEMA["curvature"], *columns.TABLE) for name in c.names}
    compared = 0
    for name in units.keys() & say.COLUMNS.keys():
        assert (f"({units[name]})" in say.COLUMNS[name]) == (units[name] not in {"1", ""}), name
        compared += 1
    assert compared > 5


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        (
            "lambda_top",
            (2,),
            r"^no column 'lambda_top' in a curvature file: describe it in patchscape\.store\.columns\.$",
        ),
        (
            "lambda_max",
            (3,),
            r"^column 'lambda_max' of a curvature file has shape \(3,\): it should be \(S\) with S = 2, ",
        ),
        ("lambda_max", (), r"has shape \(\): it should be \(S\)"),
        ("block_norms", (2, 4, 3), r"has shape \(2, 4, 3\): it should be \(S, n, n\) with S = 2, n = 4, "),
        ("vector_shares", (2, 20, 4), r"it should be \(S, 20, n \+ 1\)"),
        ("refined_eigenvalues", (2, 12), r"it should be \(S, 20\)"),
        ("all_eigenvalues", (2, 25), r"it should be \(S, P\)"),
    ],
)
def test_a_column_that_is_not_as_described_is_refused_in_one_sentence_and_nothing_is_written(
    tmp_path, name, shape, sentence
):
    path = tmp_path / "run-curvature.safetensors"
    with pytest.raises(ValueError, match=sentence):
        files.write("curvature", path, {name: np.zeros(shape)}, META)
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_one_file_agree_on_the_sizes_that_no_configuration_gives():
    columns.check("run", {"batch_loss": np.zeros((2, 3, 7)), "pca_directions": np.zeros((2, 2, 4 * 56))}, META)
    columns.check("curvature", {"ritz_values": np.zeros((2, 9)), "ritz_weights": np.zeros((2, 9))}, META)
    with pytest.raises(ValueError, match=r"column 'ritz_weights' .* \(S, T\) with .*T = 9"):
        columns.check("curvature", {"ritz_values": np.zeros((2, 9)), "ritz_weights": np.zeros((2, 8))}, META)


def test_every_result_file_is_written_through_the_schema():
    """Only the state of what is unfinished may go around it."""
    package = ROOT / "lib" / "patchscape"
    around = {
        Path("store/files.py"),
        Path("learning/checkpoints.py"),
        Path("study/recorded.py"),
        Path("study/jobs.py"),  # once, for what has been measured so far
    }
    found = [
        path.relative_to(package)
        for path in package.rglob("*.py")
        for _ in re.findall(r"records\.write\(", path.read_text())
    ]
    assert set(found) == around
    assert found.count(Path("study/jobs.py")) == 1
