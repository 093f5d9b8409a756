"""The command line from outside."""

import typing

import nbformat
import numpy as np
import pandas as pd
import pytest
import typer.main
from typer.testing import CliRunner

from patchscape import cli, config
from patchscape.store import files, grids, records
from patchscape.study import levels

RUN = config.digits(1, depth=1)
SEEDS = (3, 4)


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in: a run that is not measured, files of the wrong kinds, one chapter, no stored grid."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path / "data"))
    for name in ("data", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "text.md").write_text("# Not a run file\n\n- a list\n")
    (tmp_path / "tab.yaml").write_text("01_tiny:\n\tdepth: 3\n")
    (tmp_path / "number.yaml").write_text("1:\n  depth: 3\n")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10torn")
    (tmp_path / "chapters").mkdir()
    cell = nbformat.v4.new_code_cell("depth: int = 3  # layers", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=[cell]), tmp_path / "chapters" / "01_tiny.ipynb")
    curves = {name: np.ones((2, 1)) for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")}
    minimum = {"minimum/phi": np.zeros((2, 1, RUN.model.n_params_per_qnn)), "minimum/bias": np.zeros((2, 8, 8))}
    provenance = {"code": "1234", "device": {"kind": "cpu"}, "created": "today"}
    run = RUN.model_copy(update={"seed": SEEDS[0]})
    meta = {"run": run.model_dump(mode="json"), "seeds": SEEDS, "wall_s": 1.0, "provenance": provenance}
    curves["minimum_epoch"] = np.zeros(2, int)
    records.write(tmp_path / "runs" / f"{run.name(SEEDS)}.safetensors", curves | minimum, meta)
    for name in ("run", "alone"):
        records.write(tmp_path / f"{name}.safetensors", curves | minimum, meta)
    records.write(tmp_path / "run-curvature.safetensors", {}, {"run_file": "1234", **meta})
    records.write(tmp_path / "checkpoint.safetensors", minimum, {"identity": {}})
    return tmp_path


WRONG = [
    ("", "Missing command"),
    ("trian", "No such command 'trian'"),
    ("train --preset papier", "'papier' is not one of 'paper', 'digits'"),
    ("train --n-patches 5", "n_patches=5, depth=50 is not in the paper's grid"),
    ("train --preset digits --n-patches 5", "choose one of 1, 4, 9"),
    ("train --n-patches 0", "greater than or equal to 1"),
    ("train --depth -1", "greater than or equal to 1"),
    ("train --depth deep", "valid integer"),
    ("train --epochs 0", "greater than or equal to 1"),
    ("train --seed -1", "greater than or equal to 0"),
    ("train --preset digits --depth 1 --seed 1 --seed 1", "at least one seed, each once"),
    ("train --dept 3", "No such option: --dept"),
    ("train --out text.md", "is a file"),
    ("train", "train-images-idx3-ubyte.gz is missing"),
    ("curvature", "Missing argument"),
    ("curvature text.md", "text.md is not a run file"),
    ("curvature folder", "is a directory"),
    ("curvature nothing", "does not exist"),
    ("curvature torn.safetensors", "is no run file of patchscape"),
    ("curvature run-curvature.safetensors", "measured at the minima of a run file"),
    ("curvature checkpoint.safetensors", "not the file of a finished run"),
    ("curvature run.safetensors --k 0", "greater than or equal to 1"),
    ("curvature run.safetensors --k 9999", "k=9999: choose at most 172"),
    ("curvature run.safetensors --number 2", "number=2: the run file has seeds [3, 4], numbered from 0"),
    ("curvature run.safetensors --number -1", "greater than or equal to 0"),
    ("curvature run.safetensors --tol nan", "tol=nan: choose a number between 0 and 1"),
    ("curvature run.safetensors --tol 0", "tol=0.0: choose a number between 0 and 1"),
    ("curvature run.safetensors --chunk 0", "greater than or equal to 1"),
    ("measure folder", "is a directory"),
    ("measure text.md", "text.md is not a run file"),
    ("measure run.safetensors", "does not have the name of its run"),
    ("spectrum text.md", "text.md is not a run file"),
    ("spectrum folder", "is a directory"),
    ("spectrum run.safetensors --number 2", "number=2: the run file has seeds [3, 4], numbered from 0"),
    ("spectrum run.safetensors --images 0", "greater than or equal to 1"),
    ("spectrum run.safetensors --out text.md", "is a file"),
    ("grid big", "'big' is not one of 'laptop'"),
    ("grid smoke --folder text.md", "is a file"),
    ("job smoke nothing", "no job 'nothing' in grid 'smoke'"),
    ("job smoke nothing bake", "'bake' is not one of 'train'"),
    ("landscape smoke nothing", "no job 'nothing' in grid 'smoke'"),
    ("redraw smoke nothing", "no job 'nothing' in grid 'smoke'"),
    ("redraw smoke nothing --out text.md", "is a file"),
    ("landscape smoke nothing --out text.md", "is a file"),
    ("beyond --out text.md", "is a file"),
    ("matched --out text.md", "is a file"),
    ("matched --depth 3", "depth=3: the design has 2, 6, 18"),
    ("results --grid big", "no grid 'big': choose one of laptop"),
    ("results --grid laptop", "no stored run in"),
    ("results --where depth", "neither true nor false"),
    ("results --where n_patches=4", "neither true nor false"),
    ("results --where deep>4", "does not select rows"),
    ("results --where depth>4", "no stored run with depth>4: 2 are stored"),
    ("results --columns colour", "no column 'colour': choose from grid, job"),
    ("results --out table.xlsx", "ends in .csv or .parquet"),
    ("results --out folder", "is a directory"),
    ("verify", "nothing to check"),
    ("verify alone.safetensors", "nothing to compare alone.safetensors with"),
    ("verify run.safetensors", "belongs to another run file"),
    ("verify text.md", "text.md is not a run file"),
    ("verify --sample 0", "greater than or equal to 1"),
    ("figures --chapter 11", "the book has no chapter '11'"),
    ("figures --chapter 1 -p dept=3", "did you mean 'depth'"),
    ("figures --chapter 1 -p depth=three", "was given 'three': give a whole number"),
    ("figures --chapter 1 -p depth", "write NAME=VALUE"),
    ("figures --chapter 1 -p depth=[", "not YAML"),
    ("figures --chapter 1 -p depth=3 -p depth=4", "give each name once"),
    ("figures -p depth=3", "-p needs --chapter"),
    ("figures --params nothing.yaml", "does not exist"),
    ("figures --params folder", "is a directory"),
    ("figures --params text.md", "must map chapter names"),
    ("figures --params tab.yaml", "tab.yaml"),
    ("figures --params number.yaml", "number.yaml"),
    ("figures --out text.md", "is a file"),
    ("explorer", "no run of the laptop grid is stored"),
    ("explorer --out folder", "is a directory"),
]


@pytest.mark.parametrize(("line", "sentence"), WRONG, ids=[line or "nothing" for line, _ in WRONG])
def test_a_wrong_command_line_ends_in_one_sentence_and_changes_nothing(line, sentence, here):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    done = call(*line.split())
    assert done.exit_code == 1
    if line:  # alone, it prints its help
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("patchscape: ")
        assert sentence in last
        assert last.endswith(".")
        assert not done.stdout
    assert isinstance(done.exception, SystemExit)
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before


def test_every_command_is_among_those_tried_with_wrong_input():
    assert set(typer.main.get_command(cli.app).commands) == {line.split()[0] for line, _ in WRONG[2:]}


def test_the_command_line_names_the_grids_that_there_are():
    assert typing.get_args(cli.Grid) == grids.names()
    assert ", ".join(grids.names()) in " ".join(call("results", "--help").output.replace("│", "").split())


@pytest.mark.parametrize("command", ["curvature run.safetensors", "train --preset digits --depth 1"])
def test_a_device_that_is_not_there_is_named_before_any_work(command, here, monkeypatch):
    def no_device():
        raise AssertionError

    monkeypatch.setattr("jax.devices", no_device)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    done = call(*command.split())
    assert done.exit_code == 1
    assert "JAX finds no device for JAX_PLATFORMS=cuda" in done.stderr


def test_what_cannot_be_written_is_named(here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/a.safetensors")

    monkeypatch.setattr("patchscape.book.explorer.collect", full)
    done = call("explorer")
    assert (done.exit_code, done.stderr) == (1, "patchscape: runs/a.safetensors: No space left on device.\n")


def test_own_runs_are_listed_measured_and_verified(here, monkeypatch):
    columns = {"train_loss": np.float64(1.0), "lambda_max": np.float64(2.0)}
    monkeypatch.setattr(levels, "prepare", lambda *_: None)
    monkeypatch.setattr(levels, "at", lambda *_: columns)
    monkeypatch.setattr(levels, "again", lambda *_: columns)
    (file,) = (here / "runs").glob("*.safetensors")
    listed = call("results").output
    assert listed.count("runs") == len(SEEDS)
    assert listed.count("NaN") == len(SEEDS)

    assert call("measure", file).exit_code == 0
    assert files.beside(file).exists()
    call("results", "--out", "new/table.csv")
    assert pd.read_csv("new/table.csv").lambda_max.tolist() == [2.0, 2.0]
    done = call("verify")
    assert done.exit_code == 0, done.output
    assert "2 minima agree" in done.stdout
    assert f"2 of 2: {file.stem} number 1" in done.stderr


def test_an_exported_table_says_where_it_is(here):
    done = call("results", "--out", "new/table.csv")
    assert done.output.startswith("new/table.csv: 2 runs, ")


@pytest.mark.slow
def test_train_stores_all_seeds_in_one_run_file_with_provenance(tmp_path, optimised, monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_DATA", str(files.data_folder()))
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--preset", "digits", "--n-patches", "4", "--depth", "1", "--epochs", "2"]
    done = call(*arguments, "--seed", "3", "--seed", "4", "--trajectory")
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.glob("runs/*.safetensors")
    record = records.read(file)
    assert record.meta["run"]["seed"] == 3
    assert record.meta["seeds"] == [3, 4]
    assert record.arrays["train_loss"].shape == (2, 2)
    assert record.arrays["trajectory"].shape[:2] == (2, 3)
    assert {"code", "libraries", "device", "created"} <= record.meta["provenance"].keys()
    left = [path for path in (tmp_path / "runs" / "unfinished").rglob("*") if path.is_file()]
    assert {path.suffix for path in left} == {".lock"}

    done = call("curvature", file, "--number", "1", "--tol", "1e-2")
    assert done.exit_code == 0, done.output
    assert "converged after" in done.output
