"""The command line from outside."""

import pytest
from typer.testing import CliRunner

from patchscape import results
from patchscape.cli import app


def test_train_stores_one_run_file_per_seed_with_provenance(tmp_path):
    arguments = ["train", "--preset", "digits", "--n-patches", "4", "--depth", "1", "--epochs", "2"]
    done = CliRunner().invoke(app, [*arguments, "--seed", "3", "--seed", "4", "--trajectory", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    record = results.read(files[0])
    assert record.meta["run"]["seed"] == 3
    assert record.arrays["train_loss"].shape == (2,)
    assert record.arrays["trajectory"].shape[0] == 3
    assert {"code", "libraries", "device", "created"} <= record.meta["provenance"].keys()
    assert not list((tmp_path / "unfinished").glob("*"))

    done = CliRunner().invoke(app, ["curvature", str(files[0]), "--store", "--tol", "1e-2"])
    assert done.exit_code == 0, done.output
    found = results.read(files[0].with_name(f"{files[0].stem}-curvature.safetensors"))
    assert f"{found.arrays['values'][0]:.6f}" in done.output
    assert found.meta["converged"]
    assert found.arrays["residuals"][0] <= 1e-2 * found.arrays["values"][0]
    assert found.meta["run_file"] == results.checksum(record.arrays, record.meta)


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
