"""Run files: what is read is what was written, or the reader is told."""

import json
import os
import subprocess

import numpy as np
import pytest
from safetensors.numpy import save_file

from patchscape import runtime
from patchscape.store import records

ARRAYS = {
    "loss": np.linspace(0, 1, 7, dtype=np.float32).reshape(1, 7),
    "vectors": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),  # not contiguous
    "epoch": np.array([3, -1]),
    "flag": np.array([True, False]),
    "nothing": np.zeros((2, 0), np.float32),
    "scalar": np.array(2.5),
}
META = {"seed": 1001, "config": {"depth": 3, "scale": 100.0}, "note": "µ ≤ n", "list": [1, None, True]}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "deep" / "run.safetensors"
    records.write(path, ARRAYS, META)
    return path


def test_a_run_file_comes_back_as_it_was_written(stored):
    record = records.read(stored)
    assert record.meta == META
    assert record.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert record.arrays[name].dtype == array.dtype, name
        assert record.arrays[name].shape == array.shape, name
        np.testing.assert_array_equal(record.arrays[name], array, err_msg=name)


def test_a_record_written_again_gives_the_same_bytes(stored, tmp_path):
    records.write(tmp_path / "again.safetensors", *records.read(stored))
    assert (tmp_path / "again.safetensors").read_bytes() == stored.read_bytes()


@pytest.mark.parametrize("kept", [100, -1, -40])
def test_a_truncated_file_is_refused(stored, kept):
    stored.write_bytes(stored.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"run\.safetensors is not whole .*: delete it and rerun\."):
        records.read(stored)


@pytest.mark.parametrize("content", [b"", b"1234", b"# Patchscape\n" * 20, b'\x20\0\0\0\0\0\0\0{"weights":'])
def test_nobody_is_told_to_delete_a_file_that_may_be_somebody_elses(tmp_path, content):
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"README\.md is no run file of patchscape .*: name one \(\.safetensors\)\.$"):
        records.read(path)


def test_one_changed_byte_in_an_array_is_noticed(stored):
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.safetensors was changed after it was written"):
        records.read(stored)


def test_a_changed_number_in_the_metadata_is_noticed(stored):
    content = stored.read_bytes()
    edited = content.replace(rb"\"seed\": 1001", rb"\"seed\": 1002")
    assert edited != content
    stored.write_bytes(edited)
    with pytest.raises(ValueError, match="was changed after it was written"):
        records.read(stored)


def test_an_array_under_another_name_is_noticed(stored):
    content = stored.read_bytes()
    edited = content.replace(b'"loss":', b'"lost":')
    assert edited != content
    stored.write_bytes(edited)
    with pytest.raises(ValueError, match="was changed after it was written"):
        records.read(stored)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program_is_refused(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    save_file({"weights": np.ones(3)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is no run file of patchscape: name one"):
        records.read(path)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("loss,accuracy\n0.1,0.9\n" * 10)
    with pytest.raises(ValueError, match="is no run file of patchscape"):
        records.read(path)


def test_a_missing_file_is_an_ordinary_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        records.read(tmp_path / "none.safetensors")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(stored, monkeypatch, step):
    before = stored.read_bytes()

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        records.write(stored, {"loss": np.zeros(3)}, {})
    monkeypatch.undo()
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_an_interrupt_while_writing_leaves_the_old_file_and_nothing_else(stored, monkeypatch):
    before = stored.read_bytes()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        records.write(stored, {"loss": np.zeros(3)}, {})
    monkeypatch.undo()
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_metadata_that_is_not_plain_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        records.write(tmp_path / "run.safetensors", ARRAYS, {"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_writing_replaces_an_existing_file(stored):
    records.write(stored, {"loss": np.zeros(3)}, {"seed": 2})
    record = records.read(stored)
    assert record.meta == {"seed": 2}
    assert list(record.arrays) == ["loss"]


def test_provenance_says_code_libraries_device_and_time():
    where = records.provenance()
    assert where.keys() == {"code", "libraries", "python", "device", "created"}
    assert {"jax", "jaxlib", "numpy", "optax"} <= where["libraries"].keys()
    assert where["libraries"]["numpy"] == np.__version__
    assert where["device"].keys() == {"platform", "kind", "cores"}
    assert where["created"].endswith("Z")
    assert json.loads(json.dumps(where)) == where


def test_provenance_without_git_says_that_the_code_is_unknown(monkeypatch):
    def missing(*arguments, **keywords):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert records.provenance()["code"] == "unknown"


def _repository(root):
    """Makes a folder a repository with one commit; returns the commit."""
    git = ("git", "-C", root, "-c", "user.name=A", "-c", "user.email=a@b")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "--allow-empty", "-m", "one")):
        subprocess.run([*git, *arguments], check=True, env=outside)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True, env=outside)
    return found.stdout.strip()


def test_the_code_version_is_that_of_the_projects_own_repository_only(tmp_path, monkeypatch):
    package = tmp_path / "thesis" / "project" / "lib" / "patchscape"
    package.mkdir(parents=True)
    (package / "results.py").write_text("")
    monkeypatch.setattr(runtime, "ROOT", None)
    assert records._code_version() == "unknown"  # an installed package
    monkeypatch.setattr(runtime, "ROOT", tmp_path / "thesis" / "project")
    assert records._code_version() == "unknown"  # an archive outside any repository
    foreign = _repository(tmp_path / "thesis")
    assert records._code_version() == "unknown"  # an archive inside the repository of something else
    own = _repository(tmp_path / "thesis" / "project")
    assert records._code_version() == own != foreign
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "thesis" / ".git"))  # as in a hook of the other repository
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "thesis"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "thesis" / ".git" / "index"))
    assert records._code_version() == own
    (package / "results.py").write_text("changed")
    assert records._code_version() == own + "+changes"
