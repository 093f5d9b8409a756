"""The pins, and what may not be in the repository."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from cases import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = (ROOT / "requirements.lock").read_text()
# Written in pieces, so that this file is not found by its own search.
REGISTRIES = [
    "files.python" + "hosted",
    "pypi" + r"\.org",
    "conda\\." + "anaconda",
    "registry." + "npmjs",
    "deb." + "debian",
]
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:home|root|Users|work|opt|mnt|srv)/\w")


def pins(lines):
    found = {}
    for line in lines:
        line = line.split("#")[0].strip()
        if line and not line.startswith("-"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), set()).add((str(requirement.specifier), requirement))
    return found


LOCKED = pins(LOCK.splitlines())


def environment_lines():
    """The pip part of environment.yml, with the files that it names read in."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    for line in pip:
        if line.startswith("-r "):
            yield from (ROOT / line.removeprefix("-r ").strip()).read_text().splitlines()
        else:
            yield line


def git(*arguments):
    """What git says of this project's own repository, not of one around it or one that a hook works on."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = {"cwd": ROOT, "env": own, "capture_output": True, "text": True, "check": True}
    try:
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], **command).stdout.removesuffix("\n")
        if Path(top).resolve() == ROOT:
            return subprocess.run(["git", *arguments], **command).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pass
    pytest.skip("not a git checkout of this project")


def tracked_files():
    for name in filter(None, git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")):
        path = ROOT / name
        if path.is_file() and path.stat().st_size < 2_000_000:
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_environment_has_the_same_pins_as_the_lock():
    specifiers = {name: {pin for pin, _ in entries} for name, entries in pins(environment_lines()).items()}
    assert specifiers == {name: {pin for pin, _ in entries} for name, entries in LOCKED.items()}


def test_environment_installs_this_project():
    assert "-e ." in list(environment_lines())


def test_lock_pins_every_package_exactly():
    for line in LOCK.splitlines():
        if line.strip() and not line.startswith("#"):
            assert re.match(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ *]+( ;.*)?$", line), line


def test_lock_names_no_index_and_no_place():
    assert not re.search(r"https?://|file:|--|@ ", LOCK)


def direct_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]


def test_lock_holds_every_direct_dependency_within_its_bounds():
    for text in direct_dependencies():
        requirement = Requirement(text)
        for pin, _ in LOCKED[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(pin.removeprefix("==")), f"{text}: the lock has {pin}"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_has_one_pin_of_every_direct_dependency_for_every_python(python):
    there = {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    for text in direct_dependencies():
        name = canonicalize_name(Requirement(text).name)
        applying = [pin for pin, entry in LOCKED[name] if entry.marker is None or entry.marker.evaluate(there)]
        assert len(applying) == 1, name


def test_lock_has_no_accelerator_packages():
    assert not [name for name in LOCKED if re.search("torch|cuda|nvidia|rocm", name)]


def test_what_is_installed_is_what_the_lock_says():
    for entries in LOCKED.values():
        for pin, requirement in entries:
            if requirement.marker is None or requirement.marker.evaluate():
                assert version(requirement.name) == pin.removeprefix("==")


def test_jupyterlab_can_load_the_extension_that_shows_the_text():
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"NO_COLOR": "1"})
    (line,) = [
        line for line in (listed.stdout + listed.stderr).splitlines() if line.strip().startswith("jupyterlab-myst")
    ]
    assert "enabled" in line
    assert "OK" in line


@pytest.mark.parametrize("pattern", REGISTRIES)
def test_no_registry_address_in_the_repository(pattern):
    assert [name for name, text in tracked_files() if re.search(pattern, text)] == []


def test_no_machine_path_in_the_repository():
    hits = {name: found.group() for name, text in tracked_files() if (found := MACHINE_PATH.search(text))}
    assert hits == {}


@pytest.mark.parametrize(
    ("name", "text", "eol"),
    [
        (".ci/run", "auto", "lf"),
        ("data/README.md", "auto", "lf"),
        ("data/results/chapters.json", "auto", "lf"),
        ("data/published/pca.csv", "unset", "lf"),
        ("data/results/laptop/a.safetensors", "unset", "lf"),
        ("data/mnist/a.gz", "unset", "lf"),
    ],
)
def test_text_has_the_same_bytes_on_every_machine_and_binary_files_are_left_alone(name, text, eol):
    found = git("check-attr", "-z", "text", "eol", "--", name).split("\0")
    assert (found[2], found[5]) == (text, eol)


def test_licences_and_citation_are_there():
    for name in ("LICENSE", "LICENSE-text.md", "CITATION.cff", "data/README.md", "README.md"):
        assert (ROOT / name).stat().st_size
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["authors"][0]["family-names"] == "Kawase"
    assert "2504.19239" in citation["preferred-citation"]["journal"]
