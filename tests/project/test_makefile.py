"""The Makefile in folders with odd names, moved, copied and interrupted, with a Python that installs nothing."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from cases import ROOT

# Makes true environments (without pip, which takes seconds), and writes down what else it is asked.
STUB = """#!/bin/sh
case "$*" in
*"-m venv"*)
    PYTHONPATH= "$REAL" -m venv --without-pip "$3"
    cp "$0" "$3/bin/stub" && ln -sf stub "$3/bin/python" ;;
*"-m pip"*)
    test -z "$FAIL" || exit 1
    echo "pip of $0: $PIP_USER$PIP_TARGET$PYTHONPATH" >> "$LOG"
    printf '#!/bin/sh\\necho "$PATCHSCAPE" >> "$LOG"\\n' > "$(dirname "$0")/snakemake"
    printf '#!/bin/sh\\necho "patchscape $*" >> "$LOG"; test "$2" = smoke\\n' > "$(dirname "$0")/patchscape"
    chmod +x "$(dirname "$0")/snakemake" "$(dirname "$0")/patchscape" ;;
esac
"""


@pytest.fixture
def world(tmp_path):
    """A function that makes a project of a name, and one that runs `make` in it: its status, output and what it did."""
    stub = tmp_path / "a python" / "python"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    log = tmp_path / "log"

    def project(name):
        folder = tmp_path / name / "patchscape"
        (folder / "workflow/profiles/local").mkdir(parents=True)
        config = "workflow/profiles/local/config.yaml"
        for file in ("Makefile", "requirements.lock", "pyproject.toml", "workflow/requirements.txt", config):
            shutil.copy(ROOT / file, folder / file)
        return folder

    def make(folder, *arguments, **variables):
        log.write_text("")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
        result = subprocess.run(
            ["make", f"PYTHON={stub}", *arguments],
            cwd=folder,
            env={**clean, "REAL": sys.executable, "LOG": str(log), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr, log.read_text().splitlines()

    return project, make


@pytest.mark.parametrize("name", ["my papers (1)", "it's", "bücher & co; #2", "a, [b] {c}!"])
def test_an_environment_is_made_once_in_a_folder_with_an_odd_name(world, tmp_path, name):
    project, make = world
    folder = project(name)
    status, output, done = make(folder, "env")
    assert (status, len(done)) == (0, 2), output
    assert (folder / ".venv" / "var" / "ipython" / "profile_default" / "ipython_kernel_config.py").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a python", "log", name])  # nothing elsewhere
    assert [path.name for path in (tmp_path / name).iterdir()] == ["patchscape"]
    assert make(folder, "env")[2] == []


@pytest.mark.parametrize("name", ["a:b", "$HOME", 'a"b', "100%", "a`b", "a\\b", "a?b", "a\nb"])
def test_a_folder_whose_name_cannot_work_is_refused_in_one_sentence_before_anything_is_made(world, name):
    project, make = world
    folder = project(name)
    status, output, done = make(folder, "env")
    assert status != 0
    (line,) = output.splitlines()
    assert "The path of this folder holds one of" in line
    assert "move or rename the folder" in line
    assert not (folder / ".venv").exists()
    assert done == []


ANEW = "The environment in .venv is unfinished or was made for another folder: it is made anew."


def test_a_moved_folder_gets_an_environment_of_its_own(world, tmp_path):
    project, make = world
    make(project("old"), "env")
    (tmp_path / "old").rename(tmp_path / "new")
    status, output, done = make(tmp_path / "new" / "patchscape", "env")
    assert (status, len(done)) == (0, 2)
    assert ANEW in output
    activate = tmp_path / "new" / "patchscape" / ".venv" / "bin" / "activate"
    shown = subprocess.run(
        ["sh", "-c", '. "$0"; echo "$VIRTUAL_ENV"', activate], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == str(tmp_path / "new" / "patchscape" / ".venv")


def test_a_copied_folder_gets_an_environment_of_its_own_and_the_first_keeps_its(world, tmp_path):
    project, make = world
    first = project("first")
    make(first, "env")
    shutil.copytree(first, tmp_path / "copy", symlinks=True)
    assert ANEW in make(tmp_path / "copy", "env")[1]
    assert make(first, "env")[2] == []


def test_an_interrupted_environment_is_made_anew(world):
    project, make = world
    folder = project("p")
    (folder / ".venv" / "bin").mkdir(parents=True)  # venv was stopped after its first step, before pip was there
    shutil.copy(sys.executable, folder / ".venv" / "bin" / "python")
    status, output, done = make(folder, "env")
    assert (status, len(done)) == (0, 2)
    assert ANEW in output


def test_an_interrupted_installation_goes_on(world):
    project, make = world
    folder = project("p")
    assert make(folder, "env", FAIL="yes")[0] != 0
    status, output, done = make(folder, "env")
    assert (status, len(done)) == (0, 2)
    assert ANEW not in output


def test_an_environment_whose_python_is_gone_is_made_anew(world):
    project, make = world
    folder = project("p")
    make(folder, "env")
    (folder / ".venv" / "bin" / "stub").unlink()
    status, output, done = make(folder, "env")
    assert (status, len(done)) == (0, 2)
    assert ANEW in output


def test_a_reader_s_settings_do_not_lead_the_installation_elsewhere(world):
    project, make = world
    settings = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PYTHONPATH": "/elsewhere"}
    assert make(project("p"), "env", **settings)[2] == ["pip of .venv/bin/python: 0"] * 2


def test_the_grid_calls_the_command_of_this_folder(world):
    project, make = world
    folder = project("my papers (1)")
    status, output, done = make(folder, "grid")
    assert status == 0, output
    assert done[-1] == str(folder / ".venv" / "bin" / "patchscape")


def test_an_unknown_grid_is_refused_before_snakemake_is_installed(world):
    project, make = world
    folder = project("p")
    status, _, done = make(folder, "grid", "GRID=no such")
    assert status != 0
    assert done[-1] == "patchscape grid no such --names"
    assert not (folder / ".venv-grid").exists()


@pytest.mark.parametrize("name", ["nope", "", "local nope", "%"])
def test_an_unknown_profile_is_refused_in_one_sentence_before_anything_is_made(world, name):
    project, make = world
    folder = project("p")
    status, output, done = make(folder, "grid", f"PROFILE={name}")
    assert status != 0
    (line,) = output.splitlines()
    assert f"PROFILE={name}: give one of: local" in line
    assert done == []
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("python", ["/bin/false", "/no/such/python", "/dev/null"])
def test_what_is_not_python_is_refused_in_one_sentence(world, python):
    project, make = world
    folder = project("p")
    status, output, done = make(folder, "env", f"PYTHON={python}")
    assert status != 0
    sentence, end = output.splitlines()
    assert sentence.startswith(
        f"patchscape needs Python 3.11 or newer, and {python} does not run as Python: name another"
    )
    assert end.startswith("make: ***")
    assert done == []


def test_an_old_python_is_refused_with_its_version(world, tmp_path):
    project, make = world
    old = tmp_path / "old python"
    old.write_text('#!/bin/sh\ncase "$*" in *platform*) echo is 3.9.2 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    status, output, _ = make(project("p"), "env", f"PYTHON={old}")
    assert status != 0
    assert f"patchscape needs Python 3.11 or newer, and {old} is 3.9.2: name another" in output


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(world, tmp_path):
    project, make = world
    folder = project("p")
    refuse = tmp_path / "bin" / "mkdir"  # permissions would not stop root
    refuse.parent.mkdir()
    refuse.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    refuse.chmod(0o755)
    status, output, done = make(folder, "env", PATH=f"{refuse.parent}:{os.environ['PATH']}")
    assert status != 0
    sentence, end = output.splitlines()
    assert sentence.startswith(f"{folder}/.venv cannot be made, and the environment goes there: check the permissions")
    assert end.startswith("make: ***")
    assert done == []


def test_clean_removes_what_was_built_and_nothing_that_a_reader_made(world):
    project, make = world
    folder = project("p")
    built = ["_build/html/index.html", ".pytest_cache/a", "lib/patchscape/__pycache__/a.pyc"]
    made = ["out/01.ipynb", "out/figures/a.png", "runs/a.safetensors", "runs/__pycache__/a.pyc", "mine.py"]
    for name in built + made:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    assert make(folder, "clean")[0] == 0
    assert [name for name in built if (folder / name).exists()] == []
    assert [name for name in made if not (folder / name).exists()] == []


def test_continuous_integration_runs_make_test_in_its_own_folder(tmp_path):
    folder = tmp_path / "my papers (1)"
    for place in (folder, tmp_path / "elsewhere"):
        (place / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", place / ".ci" / "run")
    for name in ("make", "git", "chromium", "python3"):  # nothing is missing, so nothing is installed
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text('#!/bin/sh\necho "$0 $* in $(pwd)"\n' if name == "make" else "#!/bin/sh\n")
        stub.chmod(0o755)
    variables = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CDPATH": str(tmp_path / "elsewhere"),
    }
    result = subprocess.run(["bash", ".ci/run"], cwd=folder, env=variables, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{tmp_path / 'bin' / 'make'} test in {folder}"


@pytest.mark.slow
def test_check_runs_no_test_that_looks_at_the_built_book_or_takes_long():
    variable = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("QUICK := "))
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-p", "no:cacheprovider"]

    def collected(*options):
        files = [
            "tests/project/test_book.py",
            "tests/project/test_browser.py",
            "tests/book/test_chapters.py",
            "tests/curvature/test_bounds.py",
        ]
        done = subprocess.run([*asked, *options, *files], cwd=ROOT, capture_output=True, text=True, check=True)
        return {line.split("::")[1].split("[")[0] for line in done.stdout.splitlines() if "::" in line}

    every, quick = collected(), collected("-m", variable.removeprefix("QUICK := "))
    text = (ROOT / "tests" / "project" / "test_book.py").read_text()
    of_the_book = set(re.findall(r"def (test_\w+)\(.*\bhtml\b.*\):", text))
    of_the_book |= set(re.findall(r"def (test_\w+)", (ROOT / "tests" / "project" / "test_browser.py").read_text()))
    long = {
        "test_chapter_runs_through_papermill",
        "test_chapters_are_executed_side_by_side_and_one_that_fails_is_left_to_the_book",
    }
    assert len(of_the_book) > 5
    assert of_the_book | long <= every - quick
    assert "test_a_fault_on_a_page_is_found" in quick
    assert len(quick) > len(every) / 2


def test_check_needs_no_book():
    shown = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert '-m pytest -m "not slow and not book"' in shown
    assert "build_book" not in shown
