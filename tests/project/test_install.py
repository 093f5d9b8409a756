"""The package as `pip install .` leaves it: a wheel, without the project around it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cases import ROOT

from patchscape.book import chapters
from patchscape.store import files

PACKAGE = ROOT / "lib" / "patchscape"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the unpacked wheel, as pip makes it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed") / "site-packages"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "lib" / "patchscape", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, source], cwd=source, check=True, capture_output=True)
    (wheel,) = source.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_the_wheel_holds_every_file_of_the_package(site):
    def files(folder):
        return {
            path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(site / "patchscape") == files(PACKAGE)


STRANGER = """
import json, sys

for name in ("pennylane", "sklearn", "papermill", "nbformat", "myst_nb", "matfree", "matplotlib"):
    sys.modules[name] = None  # cannot be imported

import jax.numpy as jnp
import patchscape
from patchscape.numerics import spectra

loss = lambda x: 0.5 * jnp.sum(jnp.arange(1.0, 6.0) * x**2)
found = spectra.top_eigenvalues(loss, jnp.ones(5), k=2)

from typer.testing import CliRunner
from patchscape import tables
from patchscape.learning import data
from patchscape.live import speed
from patchscape.store import files
from patchscape.cli import app

def refusal(call):
    try:
        call()
    except ValueError as error:
        return str(error)

results = CliRunner().invoke(app, ["results"])
print(json.dumps({
    "package": patchscape.__file__,
    "values": found.values.tolist(),
    "refusals": [refusal(call) for call in (
        files.data_folder, data.load, tables.runs.table, tables.published.side_by_side, speed.stored_benchmarks)],
    "results": [results.exit_code, results.stderr],
}))
"""


def test_without_its_project_numerics_work_and_what_needs_data_says_so(site, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PATCHSCAPE_DATA"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["package"]).is_relative_to(site)
    assert said["values"] == pytest.approx([5, 4], rel=1e-5)
    sentence = said["refusals"][0]
    assert "pip install -e ." in sentence
    assert "PATCHSCAPE_DATA" in sentence
    assert said["refusals"] == [sentence] * 5
    assert said["results"] == [1, f"patchscape: {sentence}\n"]


def test_a_data_folder_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="missing is not there"):
        files.data_folder()


def test_an_empty_name_of_the_data_folder_is_none(monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_DATA", "")
    assert files.data_folder() == ROOT / "data"


def test_without_papermill_chapters_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill.inspection", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[book\]'"):
        chapters.declared_parameters(ROOT / "chapters" / "04_hessian.ipynb")
