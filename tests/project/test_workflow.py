"""The grid through Snakemake: its profiles, its quoting, what a kill leaves behind, and a trial on a SLURM cluster."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from cases import ROOT

WORKFLOW = ROOT / "workflow"
README = (WORKFLOW / "README.md").read_text()
PYTHON = ROOT / ".venv-grid/bin/python"
PROFILES = {path.parent.name: yaml.safe_load(path.read_text()) for path in WORKFLOW.glob("profiles/*/config.yaml")}
with_snakemake = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-grid: run `make .venv-grid/installed`")

# Stands for `patchscape`: two jobs that write their own names. It stops where a file of the name `hold-...` says so.
PROGRAM = """#!/bin/sh
if [ "$1" = grid ]; then echo one; echo two; exit; fi
name=$3; part=$4; folder=$6
echo "$name $part" >> calls
hold() { if [ -e "hold-$1" ]; then touch held; sleep 60; fi; }
result() { mkdir -p "$folder"; test -e "$folder/$1" || { echo "by $name" > half; mv half "$folder/$1"; }; }
hold before
case $part in
  train) result "$name.safetensors"; if [ -e both ]; then result one.safetensors; result two.safetensors; fi;;
  curvature) result "$name-curvature.safetensors";;
esac
hold after
"""


@pytest.fixture
def project(tmp_path):
    """A project as browsers and people name folders, with the workflow and a stand-in for `patchscape`."""
    folder = tmp_path / "my papers (1), Ann's $HOME"
    shutil.copytree(WORKFLOW, folder / "workflow")
    program = folder / "the program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return folder


def call(project, *options, **environment):
    """Starts the command of `make grid` in a process group of its own."""
    command = [PYTHON, "-m", "snakemake", "-s", "workflow/Snakefile", "--profile", "workflow/profiles/local"]
    return subprocess.Popen(
        [*command, "--cores", "1", *options, "--config", "grid=smoke", "folder=the results"],
        cwd=project,
        env={**os.environ, "PATCHSCAPE": str(project / "the program"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(run):
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    return output


def results(project):
    return {path.name: path.read_text() for path in (project / "the results").iterdir()}


EVERYTHING = {f"{name}{part}.safetensors": f"by {name}\n" for name in ("one", "two") for part in ("", "-curvature")}


def test_every_setting_of_the_slurm_profile_is_explained_in_the_readme():
    table = "".join(re.findall(r"^\|.*\|$", README.split("## On a SLURM cluster")[1], flags=re.MULTILINE))
    explained = set(re.findall(r"`([a-z_-]+)[:`]", table))
    assert set(PROFILES["slurm"]) | set(PROFILES["slurm"]["default-resources"]) <= explained


def test_the_versions_that_the_readme_names_are_the_pinned_ones():
    for line in (WORKFLOW / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert " ".join(line.split("==")) in README


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_snakemake_neither_locks_nor_mistrusts_nor_deletes_results(profile):
    settings = PROFILES[profile]
    assert settings["nolock"]
    assert settings["ignore-incomplete"]
    assert settings["keep-incomplete"]
    assert not settings.get("rerun-incomplete")  # would run again what was finished while Snakemake was dead


def test_on_slurm_no_accounting_database_is_needed_and_a_job_is_submitted_again():
    assert PROFILES["slurm"]["slurm-status-command"] == "squeue"
    assert PROFILES["slurm"]["retries"] >= 1
    assert not {"slurm_account", "slurm_partition"} & set(PROFILES["slurm"]["default-resources"])  # not everybody's


def test_whatever_is_in_a_path_stays_one_word_in_the_shell():
    (command,) = re.findall(r"^JOB = .*", (WORKFLOW / "Snakefile").read_text(), flags=re.MULTILINE)
    fields = re.findall(r"{(.*?)}", command)
    assert {field for field in fields if not field.endswith(":q")} == {"rule"}
    assert {"CALL:q", "GRID:q", "FOLDER:q", "wildcards.job:q", "log:q"} <= set(fields)


@with_snakemake
def test_snakemake_knows_every_option_of_the_profiles():
    known = subprocess.run([PYTHON, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True).stdout
    for profile in PROFILES.values():
        for option in profile:
            assert re.search(rf"--{option}\b", known), option


@with_snakemake
def test_the_grid_runs_in_a_folder_with_blanks_parentheses_quotes_and_a_dollar(project):
    finished(call(project))
    assert results(project) == EVERYTHING


@with_snakemake
def test_an_executable_that_is_not_there_is_named(project):
    run = call(project, PATCHSCAPE="no such program")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "no such program cannot be run (No such file or directory): name the executable in the variable" in output


@with_snakemake
def test_what_another_process_finished_in_the_meantime_is_kept(project):
    (project / "both").touch()
    finished(call(project))
    first = (project / "calls").read_text().split()[0]
    trained = {name: text for name, text in results(project).items() if "curvature" not in name}
    assert set(trained.values()) == {f"by {first}\n"}


@with_snakemake
@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_kill_9_the_same_call_goes_on_and_computes_nothing_twice(project, moment):
    (project / f"hold-{moment}").touch()
    run = call(project)
    for _ in range(600):
        if (project / "held").exists():
            break
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)  # Snakemake and its job, as a power cut does
    run.communicate()
    (project / f"hold-{moment}").unlink()
    finished(call(project))
    assert results(project) == EVERYTHING
    calls = (project / "calls").read_text().splitlines()
    assert len(calls) == (5 if moment == "before" else 4), calls


def test_the_trial_says_in_one_sentence_what_it_lacks(tmp_path):
    run = subprocess.run(
        [WORKFLOW / "slurm_trial.sh"],
        env={**os.environ, "PATCHSCAPE": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("slurm_trial.sh: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.slow
@with_snakemake
@pytest.mark.skipif(not shutil.which("slurmctld", path="/usr/sbin:/usr/bin"), reason="SLURM is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="the trial cluster needs root")
def test_on_a_trial_cluster_everything_goes_as_documented():
    run = subprocess.run([WORKFLOW / "slurm_trial.sh"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
