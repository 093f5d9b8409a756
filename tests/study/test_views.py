"""Stored landscapes: a seed trained again gives its minimum, and everything that is drawn passes through it."""

import contextlib
import threading

import numpy as np
import pytest
from cases import JOB
from conftest import optimisations
from typer.testing import CliRunner

from patchscape import cli, tables
from patchscape.learning import data, model
from patchscape.numerics import planes
from patchscape.store import columns, files, grids, records
from patchscape.study import jobs, views


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a trained job and its landscapes."""
    folder = tmp_path_factory.mktemp("landscapes")
    with optimisations():
        jobs.train(JOB, folder)
        views.make(JOB, folder, folder / "landscapes")
    return folder


@pytest.mark.slow
def test_every_picture_passes_through_the_stored_minimum(made):
    record, run = records.read(files.paths(JOB, made / "landscapes")[0]), records.read(files.paths(JOB, made)[0])
    a = {name: value[0] for name, value in record.arrays.items()}
    loss = run.arrays["train_loss"][0, run.arrays["minimum_epoch"][0]]
    middle = columns.POINTS // 2
    for name in ("pca_near", "eigen", "random_0", "random_1"):
        assert a[f"{name}/loss"][middle, middle] == pytest.approx(loss, rel=1e-4), name
    for name in columns.LINES:
        assert a[f"line/{name}"][len(columns.LINE) // 2] == pytest.approx(loss, rel=1e-4), name
    assert a["from_start"][np.isclose(columns.FROM_START, 1)] == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(a["between"][:, 0], loss, rtol=1e-4)
    other = run.arrays["train_loss"][1, run.arrays["minimum_epoch"][1]]
    np.testing.assert_allclose(a["between"][:, -1], other, rtol=1e-4)
    np.testing.assert_allclose(a["between_shortest"][:, -1], other, rtol=1e-3)  # the same point modulo 2 pi
    # Alone a seed is rounded differently than beside others; how differently, depends on the machine.
    others = np.abs(np.diff(run.arrays["minimum/phi"], axis=0)).max()
    assert a["retrained_difference"] < 1e-3 * others
    assert record.meta["seeds"] == [0]
    assert {"code", "device"} <= record.meta["provenance"].keys()
    assert files.paths(JOB, made / "landscapes")[0].stat().st_size < 100_000


@pytest.mark.slow
def test_line_from_the_start_begins_at_the_start(made):
    a = records.read(files.paths(JOB, made / "landscapes")[0]).arrays
    images = data.load_run(JOB.run)
    start = model.loss(JOB.run.model, model.init(JOB.run.model, 0), images.train_angles, images.train_labels)
    assert a["from_start"][0][np.isclose(columns.FROM_START, 0)] == pytest.approx(float(start), rel=1e-4)


@pytest.mark.slow
def test_step_lengths_are_those_of_the_path(made):
    record, run = records.read(files.paths(JOB, made / "landscapes")[0]), records.read(files.paths(JOB, made)[0])
    lengths = tables.landscapes.step_lengths(record)[0]
    assert lengths.shape == (JOB.run.train.epochs,)
    ends = run.arrays["pca_coordinates"][0]
    assert np.all(lengths + 1e-5 >= np.linalg.norm(np.diff(ends, axis=0), axis=1))


@pytest.mark.slow
def test_what_is_stored_is_left_alone_and_read_by_size(made):
    path = files.paths(JOB, made / "landscapes")[0]
    before = path.stat().st_mtime_ns
    views.make(JOB, made, made / "landscapes")
    assert path.stat().st_mtime_ns == before
    assert list(tables.landscapes.read(made / "landscapes")) == [(4, 1)]


@pytest.mark.slow
def test_impossible_requests_are_refused_in_one_sentence(made, tmp_path):
    with pytest.raises(ValueError, match="train the job first"):
        views.make(JOB, tmp_path, tmp_path)
    with pytest.raises(ValueError, match="seed=7: the run file has seeds"):
        views.make(JOB, made, tmp_path, seeds=[7])
    stored = records.read(files.paths(JOB, made / "landscapes")[0])
    records.write(files.paths(JOB, tmp_path)[0], stored.arrays, stored.meta | {"run_file": "another"})
    with pytest.raises(ValueError, match="belongs to another run file"):
        views.make(JOB, made, tmp_path)
    record = records.read(files.paths(JOB, made)[0])
    other = record.arrays | {"minimum/phi": record.arrays["minimum/phi"] + 0.01}
    records.write(files.paths(JOB, tmp_path)[0], other, record.meta)
    with pytest.raises(ValueError, match="trained again, the loss"):
        views.make(JOB, tmp_path, tmp_path / "new")


def test_a_plane_is_turned_so_that_the_path_comes_from_the_left():
    path = np.random.default_rng(0).normal(size=(6, 40)).cumsum(0)
    plane = planes.pca_plane(path, 5)
    turned = views.oriented(plane._replace(directions=-plane.directions, coordinates=-plane.coordinates))
    assert turned.coordinates[0, 0] < 0
    assert turned.coordinates[np.abs(turned.coordinates[:, 1]).argmax(), 1] > 0
    np.testing.assert_allclose(turned.coordinates @ turned.directions, plane.coordinates @ plane.directions)


def test_the_short_way_round_is_at_most_half_a_turn():
    change = np.array([0.0, 3.0, -3.0, 4.0, -4.0, 2 * np.pi])
    np.testing.assert_allclose(views.shortest(change), [0, 3, -3, 4 - 2 * np.pi, 2 * np.pi - 4, 0], atol=1e-12)


def test_the_command_names_what_is_wrong(tmp_path):
    name = next(iter(grids.jobs("smoke")))
    for arguments, sentence in (
        (["smoke", "nothing"], "no job 'nothing' in grid 'smoke'"),
        (["smoke", name, "--folder", str(tmp_path)], "train the job first"),
    ):
        done = CliRunner().invoke(cli.app, ["landscape", *arguments, "--out", str(tmp_path)])
        assert done.exit_code == 1
        assert sentence in done.output
        assert "Traceback" not in done.output


def test_two_calls_on_one_file_take_turns_and_lose_nothing(tmp_path, monkeypatch):
    """Each adds its seed to the file: without a lock the one that reads first and writes last drops the other's."""
    both = threading.Barrier(2)

    def slow(run, record, number):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=1)  # reached by both only if neither waits for the other
        return {"retrained_difference": np.float32(number)}

    monkeypatch.setattr(views, "_views", slow)
    run_file = files.paths(JOB, tmp_path)[0]
    records.write(run_file, {"x": np.zeros(1)}, {"seeds": [0, 1]})
    calls = [threading.Thread(target=views.make, args=(JOB, tmp_path, tmp_path / "out", [seed])) for seed in (0, 1)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    record = records.read(files.paths(JOB, tmp_path / "out")[0])
    assert sorted(record.meta["seeds"]) == [0, 1]
    assert record.arrays["retrained_difference"].tolist() == record.meta["seeds"]
