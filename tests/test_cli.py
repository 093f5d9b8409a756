"""The command line from outside."""

import pytest
from typer.testing import CliRunner

from patchscape import results
from patchscape.cli import app


def test_train_stores_all_seeds_in_one_run_file_with_provenance(tmp_path, optimised):
    arguments = ["train", "--preset", "digits", "--n-patches", "4", "--depth", "1", "--epochs", "2"]
    done = CliRunner().invoke(app, [*arguments, "--seed", "3", "--seed", "4", "--trajectory", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.glob("*.safetensors")
    record = results.read(file)
    assert record.meta["run"]["seed"] == 3
    assert record.meta["seeds"] == [3, 4]
    assert record.arrays["train_loss"].shape == (2, 2)
    assert record.arrays["trajectory"].shape[:2] == (2, 3)
    assert {"code", "libraries", "device", "created"} <= record.meta["provenance"].keys()
    assert not list((tmp_path / "unfinished").glob("*"))

    done = CliRunner().invoke(app, ["curvature", str(file), "--number", "1", "--tol", "1e-2"])
    assert done.exit_code == 0, done.output
    assert "converged after" in done.output
    done = CliRunner().invoke(app, ["curvature", str(file), "--number", "2"])
    assert done.exit_code == 1
    assert "number=2: the run file has seeds [3, 4], numbered from 0." in done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--n-patches", "5"], "n_patches=5, depth=50 is not in the paper's grid"),
        (["--preset", "papier"], "no preset 'papier': choose one of paper, digits."),
        (["--preset", "digits", "--n-patches", "5"], "choose one of 1, 4, 9"),
    ],
)
def test_impossible_requests_end_in_one_sentence(arguments, sentence, tmp_path):
    done = CliRunner().invoke(app, ["train", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert sentence in done.output
    assert "Traceback" not in done.output
