"""Jobs: killed, damaged, locked out, without disk; the numbers stay the same and nothing is lost."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cases import JOB, RUN
from filelock import FileLock
from typer.testing import CliRunner

from patchscape import cli, config, tables
from patchscape.learning import data
from patchscape.live import sweeps
from patchscape.store import files, grids, records
from patchscape.study import jobs, verification, whole


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a finished job."""
    folder = tmp_path_factory.mktemp("done")
    jobs.train(JOB, folder)
    jobs.measure(JOB, folder)
    return folder


def copied(done: Path, to: Path) -> tuple[Path, Path]:
    for old, new in zip(files.paths(JOB, done), files.paths(JOB, to), strict=True):
        new.write_bytes(old.read_bytes())
    return files.paths(JOB, to)


def test_a_file_of_older_code_is_completed(done, tmp_path):
    _, path = copied(done, tmp_path)
    whole = records.read(path)
    new = {name for name in whole.arrays if name.startswith(("gauss_newton_trace", "expected_"))} | {"impurity"}
    new |= {f"{images}_{what}" for images in ("train", "test") for what in ("loss", "accuracy")}
    older = {name: value for name, value in whole.arrays.items() if name not in new}
    records.write(path, older, whole.meta)
    with pytest.raises(ValueError, match=r"has no losses: add them"):
        verification.verify(files.paths(JOB, tmp_path)[0])
    assert jobs.complete(JOB, tmp_path) == path
    now = records.read(path)
    assert set(now.arrays) == set(whole.arrays)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(now.arrays[name], whole.arrays[name], rtol=1e-6)
    np.testing.assert_allclose(now.arrays["impurity"], whole.arrays["impurity"], rtol=1e-4)
    error = now.arrays["gauss_newton_trace_phi_error"]
    assert np.all(error > 0)
    assert np.all(np.abs(now.arrays["gauss_newton_trace_phi"] - whole.arrays["gauss_newton_trace_phi"]) < 4 * error)
    for name in ("expected_phi", "expected_all"):
        np.testing.assert_allclose(now.arrays[name], whole.arrays[name], rtol=1e-3)
    assert [added["columns"] for added in now.meta["added"]] == [sorted(new)]
    before = path.read_bytes()
    jobs.complete(JOB, tmp_path)
    assert path.read_bytes() == before


def test_a_chapter_reads_what_it_would_train(tmp_path, monkeypatch):
    job = JOB._replace(level="ends", keep_path=True)
    jobs.train(job, tmp_path)
    jobs.measure(job, tmp_path)
    monkeypatch.setattr(tables.runs, "folder_of", lambda grid: tmp_path)
    images = data.load_run(RUN)
    read, was_stored = sweeps.train_or_read(RUN, images, job.seeds)
    trained, was_trained = sweeps.train_or_read(RUN.model_copy(update={"seed": 1}), images, (1, 0))
    assert (was_stored, was_trained) == (True, False)  # other seeds, in another order
    for name in ("batch_loss", "test_loss", "minimum_epoch", "ensemble_test_loss", "trajectory"):
        np.testing.assert_allclose(getattr(read, name)[::-1], getattr(trained, name), rtol=1e-4, atol=1e-5)
    for name in ("minimum", "final"):
        for key, value in getattr(trained, name).items():
            np.testing.assert_allclose(getattr(read, name)[key][::-1], value, atol=1e-4)

    table = sweeps.hessian_sweep([RUN], job.seeds)
    monkeypatch.setattr(tables.runs, "of_chapter", lambda run, seeds: None)
    other = sweeps.hessian_sweep([RUN], job.seeds)
    assert (table.stored.all(), other.stored.any()) == (True, False)
    assert table.seed.tolist() == other.seed.tolist()
    assert table.converged.all()
    for name, tolerance in {"train_loss": 1e-4, "lambda_max": 2e-3, "gradient_norm": 1e-3, "scaled": 2e-3}.items():
        np.testing.assert_allclose(table[name], other[name], rtol=tolerance)
    assert np.all(np.abs(table.lambda_min - other.lambda_min) < 2e-3 * other.lambda_max)


def test_what_a_file_has_stays_as_it_was_measured_when_it_is_completed(done, tmp_path):
    _, path = copied(done, tmp_path)
    whole = records.read(path)
    added = {"expected_phi", "expected_all"}
    records.write(path, {name: value for name, value in whole.arrays.items() if name not in added}, whole.meta)
    now = records.read(jobs.complete(JOB, tmp_path))
    assert [part["columns"] for part in now.meta["added"]] == [sorted(added)]
    for name in set(whole.arrays) - added:
        np.testing.assert_array_equal(now.arrays[name], whole.arrays[name])


@pytest.mark.slow
def test_products_give_the_leading_spectrum_that_the_dense_matrix_has(done, tmp_path):
    exact = records.read(files.paths(JOB, done)[1]).arrays
    run_file, path = copied(done, tmp_path)
    path.unlink()
    job = JOB._replace(level="leading")
    jobs.measure(job, tmp_path)
    found = records.read(path).arrays
    top = exact["lambda_max"][:, None]
    assert np.all(np.abs(found["eigenvalues"] - exact["eigenvalues"])[:, :12] < 2e-3 * top)
    np.testing.assert_allclose(found["class_mean_overlap"][:, :3], exact["class_mean_overlap"][:, :3], atol=2e-2)
    np.testing.assert_allclose(found["gauss_newton_share"][:, :3], exact["gauss_newton_share"][:, :3], atol=1e-2)
    for name in ("hessian", "gauss_newton"):
        np.testing.assert_allclose(found[f"density_{name}_weights"].sum(-1), 1, rtol=1e-6)
    largest = found["density_hessian_values"].max(-1)
    np.testing.assert_allclose(largest, np.broadcast_to(top, largest.shape), rtol=1e-3)
    assert not list((tmp_path / "unfinished").glob("*-curvature.*-*"))
    assert records.read(run_file).arrays.keys() & {"trajectory", "pca_directions"} == set()


def test_all_eigenvalues_added_up_over_images_are_those_of_the_dense_matrices(done, tmp_path):
    run_file, curvature_file = files.paths(JOB, done)
    exact = records.read(curvature_file).arrays
    path = whole.make(run_file, tmp_path, number=1)
    found, meta = records.read(path)
    assert (meta["seeds"], meta["run_file"]) == ([1], records.read(curvature_file).meta["run_file"])
    for name, same in (("all_hessian", "all_eigenvalues"), ("all_gauss_newton", "all_gauss_newton")):
        np.testing.assert_allclose(found[name][0], exact[same][1], atol=1e-5 * exact[same][1].max())
    np.testing.assert_allclose(found["all_gauss_newton_phi"][0, 0], exact["gauss_newton_phi"][1], rtol=1e-3)
    assert found["residual_images"] == len(data.load_run(RUN).train_labels)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"] == [path]


def test_only_a_finished_job_can_be_completed(tmp_path):
    with pytest.raises(ValueError, match=r"is missing: run the job first"):
        jobs.complete(JOB, tmp_path)


KILLED = """
import os, signal, sys
from patchscape.study import jobs
sys.path.insert(0, {tests!r})
from cases import JOB
rename, left = os.replace, int(sys.argv[2])
def replace(*names):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)  # the new content is written, the old name still stands
    rename(*names)
os.replace = replace
jobs.train(JOB, sys.argv[1])
jobs.measure(JOB, sys.argv[1])
"""


@pytest.mark.slow
def test_killed_in_training_in_the_hessian_and_while_writing_a_job_ends_with_the_same_numbers(done, tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    same_programs = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as conftest.py has them here
    # renames ahead of each run: 3 epochs with two files each, run file, first seed's curvature, curvature file
    for kill_at, after in ((3, "started"), (6, "trained"), (2, "trained"), (0, "done")):
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(kill_at)],
            capture_output=True,
            text=True,
            env=same_programs,
        )
        assert run.returncode == (-9 if kill_at else 0), run.stderr
        assert files.state(JOB, tmp_path) == after
    for ours, other in zip(files.paths(JOB, tmp_path), files.paths(JOB, done), strict=True):
        a, b = records.read(ours).arrays, records.read(other).arrays
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_finished_job_is_left_as_it_is(done):
    before = [path.stat().st_mtime_ns for path in files.paths(JOB, done)]
    jobs.train(JOB, done)
    jobs.measure(JOB, done)
    assert [path.stat().st_mtime_ns for path in files.paths(JOB, done)] == before
    assert files.state(JOB, done) == "done"


@pytest.mark.parametrize("which", [0, 1], ids=["run file", "curvature file"])
def test_truncated_and_edited_files_are_refused_by_name_and_recomputed_on_request(done, tmp_path, which):
    pair = copied(done, tmp_path)
    content = pair[which].read_bytes()
    middle = len(content) - 9
    for damaged in (content[:-40], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        pair[which].write_bytes(damaged)
        assert str(pair[which]) in files.state(JOB, tmp_path)
        with pytest.raises(ValueError, match=r"safetensors (is not whole|is no run file|was changed)"):
            (jobs.train, jobs.measure)[which](JOB, tmp_path)
    if which == 0:
        jobs.train(JOB, tmp_path, redo=True)
        again, good = (records.read(files.paths(JOB, folder)[0]).arrays for folder in (tmp_path, done))
        for name in good:
            np.testing.assert_array_equal(again[name], good[name])
        assert pair[0].with_suffix(".damaged").read_bytes() == damaged


def test_a_curvature_file_of_another_run_is_refused(done, tmp_path):
    run_file, curvature_file = copied(done, tmp_path)
    record = records.read(curvature_file)
    records.write(curvature_file, record.arrays, {**record.meta, "run_file": "0" * 64})
    assert "belongs to another run file" in files.state(JOB, tmp_path)
    with pytest.raises(ValueError, match="belongs to another run file"):
        jobs.measure(JOB, tmp_path)
    with pytest.raises(ValueError, match="belongs to another run file"):
        tables.runs.table(["smoke"], run_file.parent)


def test_a_second_worker_waits_for_the_first_and_takes_its_result(done, tmp_path, capsys):
    path, _ = copied(done, tmp_path)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    lock = tmp_path / "unfinished" / f"{path.stem}.lock"
    lock.parent.mkdir()
    with ThreadPoolExecutor(1) as second:
        with FileLock(lock):
            found = second.submit(jobs.train, JOB, tmp_path)
            with pytest.raises(TimeoutError):
                found.result(timeout=0.3)
        assert found.result(timeout=30) == path
    assert f"another process is working on {path}: waiting for it." in capsys.readouterr().err
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_a_full_disk_ends_in_one_sentence_and_earlier_results_survive(tmp_path):
    """A limit on the size of files stands for the disk: writing fails in the same place, with another number."""
    table = tmp_path / "table.csv"
    table.write_text("earlier")
    code = (
        "import resource; from patchscape import cli; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)); "
        f"cli.app(['results', '--grid', 'paper', '--out', {str(table)!r}])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == f"patchscape: {table} could not be written (File too large); what was there is unchanged.\n"
    assert table.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [table]  # no half-written file is left


def test_a_folder_that_cannot_be_written_ends_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    folder = tmp_path / "file" / "results"
    found = CliRunner().invoke(cli.app, ["job", "smoke", next(iter(grids.jobs("smoke"))), "--folder", str(folder)])
    assert found.exit_code == 1
    assert "could not be written (Not a directory)" in found.output


def test_the_table_has_a_row_for_every_seed_and_a_diverged_run_is_in_it(done, tmp_path):
    table = tables.runs.table(["smoke"], done)
    assert table.seed.tolist() == [0, 1]
    assert not table.diverged.any()
    record, curvature = tables.runs.files.read_pair(files.paths(JOB, done)[0])
    assert table.lambda_max.tolist() == curvature.arrays["lambda_max"].tolist()
    assert table.n_params.tolist() == [RUN.model.n_params] * 2
    # a run whose loss is not a number from the first epoch on: no minimum, no curvature, and still a row
    arrays = {name: value.copy() for name, value in record.arrays.items()}
    arrays["train_loss"][1] = np.nan
    arrays["minimum_epoch"][1] = -1
    for name in ("minimum/phi", "minimum/bias"):
        arrays[name][1] = np.nan
    path, _ = files.paths(JOB, tmp_path)
    records.write(path, arrays, record.meta)
    jobs.measure(JOB, tmp_path)
    table = tables.runs.table(["smoke"], tmp_path)
    assert table.diverged.tolist() == [False, True]
    assert np.isnan(table.lambda_max[1])
    assert table.lambda_max[0] == pytest.approx(curvature.arrays["lambda_max"][0])


def test_verify_recomputes_a_minimum_and_notices_another_number(done, tmp_path):
    run_file, curvature_file = copied(done, tmp_path)
    for number in range(2):
        found = verification.verify(run_file, number)
        assert found.differences["train_loss"] < verification.SAME_LOSS
        assert found.differences["lambda_max"] < verification.SAME_TOP
    asked = CliRunner().invoke(cli.app, ["verify", str(run_file), "--sample", "1"])
    assert asked.exit_code == 0, asked.output
    assert re.search(r"1 minima agree, loss to \de[-+]\d+ and lambda_max to \de[-+]\d+", asked.output)
    record = records.read(curvature_file)
    records.write(curvature_file, {**record.arrays, "lambda_max": record.arrays["lambda_max"] * 1.01}, record.meta)
    asked = CliRunner().invoke(cli.app, ["verify", str(run_file)])
    assert asked.exit_code == 1
    assert "DIFFERS" in asked.output


@pytest.mark.slow
def test_a_stored_minimum_drawn_at_random_has_the_stored_loss_and_eigenvalue(optimised):
    """A run of the laptop or controls grid; those of the paper's size take minutes (`patchscape verify`)."""
    files = [
        item.path for grid in ("laptop", "controls", "datasets") for item in tables.runs.read(grid) if item.curvature
    ]
    assert files
    rng = np.random.default_rng()
    path = files[rng.integers(len(files))]
    number = int(rng.integers(len(records.read(path).meta["seeds"])))
    found = verification.verify(path, number)
    assert found.differences["train_loss"] < verification.SAME_LOSS, f"{path} number {number}"
    assert found.differences["lambda_max"] < verification.SAME_TOP, f"{path} number {number}"


def test_every_grid_names_its_jobs_once_and_its_configurations_are_sound():
    names = [name for grid in grids.names() for name in grids.jobs(grid)]
    assert len(set(names)) == len(names)
    for grid in grids.names():
        for job in grids.jobs(grid).values():
            assert job.run.seed == job.seeds[0]
            assert job.run.dataset == "fashion_mnist" or job.run.n_train is None or job.run.n_train <= 60_000
    with pytest.raises(ValueError, match="no grid 'big': choose one of laptop"):
        grids.jobs("big")


def test_every_stored_result_belongs_to_a_job_of_its_grid():
    for grid in grids.names():
        known = grids.jobs(grid)
        for item in tables.runs.read(grid):
            assert item.path.stem in known
            assert known[item.path.stem].run == item.run
            assert not item.record.meta["provenance"]["code"].endswith("+changes")


def test_the_stored_results_stay_small():
    sizes = [path.stat().st_size for path in (files.data_folder() / "results").rglob("*") if path.is_file()]
    assert sum(sizes) < 60e6
    assert max(sizes) < 20e6


def test_results_are_listed_filtered_and_exported(tmp_path):
    import pandas as pd

    def ask(*arguments):
        return CliRunner().invoke(cli.app, ["results", *arguments])

    listed = ask("--grid", "paper", "--where", "n_patches == 4", "--columns", "n_patches,seed,lambda_max")
    assert listed.exit_code == 0, listed.output
    assert "1001" in listed.output
    for name, read in (("t.csv", pd.read_csv), ("t.parquet", pd.read_parquet)):
        assert ask("--grid", "paper", "--out", str(tmp_path / name)).exit_code == 0
        table = read(tmp_path / name)
        assert {"lambda_max", "train_loss", "code", "n_patches"} <= set(table)
    for wrong, sentence in (
        (["--where", "n_patchez == 4"], "does not select rows"),
        (["--columns", "lambda"], "no column 'lambda'"),
        (["--out", "t.xls"], "choose a file that ends in .csv or .parquet"),
        (["--grid", "big"], "no grid 'big'"),
    ):
        asked = ask("--grid", "paper", *wrong) if "--grid" not in wrong else ask(*wrong)
        assert asked.exit_code == 1
        assert sentence in asked.output


def test_a_job_that_does_not_exist_is_named():
    asked = CliRunner().invoke(cli.app, ["job", "smoke", "nothing"])
    assert asked.exit_code == 1
    assert "no job 'nothing' in grid 'smoke'" in asked.output


def test_the_paper_grid_has_the_authors_seed_first_and_ten_seeds_in_all():
    paper = list(grids.jobs("paper").values())
    assert [job.seeds for job in paper[:12]] == [(config.PAPER_SEED,)] * 12
    assert sum(len(job.seeds) for job in paper) == 120
