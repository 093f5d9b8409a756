"""Measures time and memory of every chapter, each in a fresh kernel, without compiled programs of earlier runs.

Usage: make chapters (or: python benchmarks/chapters.py [NAME ...]). Results: data/results/chapters.json.

Chapters run one at a time, with the values of their parameters cell: the quick tier, as in the built book. Memory is
the largest resident set of one process of the run, as Linux counts it: the notebook kernel's, because papermill itself
is smaller. Just before each, a matrix product is timed: seconds say little without the speed of the machine at that
moment. What JAX compiles is counted in the kernel (`compilations.py`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from patchscape.book.chapters import find_chapters
from patchscape.live import speed
from patchscape.store import files, records

ROOT = Path(__file__).resolve().parents[1]


def measure(path: Path) -> dict[str, float]:
    """Runs one chapter.

    Args:
        path: the notebook.

    Returns:
        seconds (wall), cpu_s (processor seconds, user and system), peak_mb (MiB), compilations (programs that JAX
        compiled), compile_s (wall seconds of that, added up over programs, tracing and lowering included).

    Raises:
        RuntimeError: if the chapter fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        counted = Path(folder) / "compilations.json"
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PATCHSCAPE_COMPILATIONS": str(counted)}
        environment["PYTHONSTARTUP"] = str(Path(__file__).with_name("compilations.py"))
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR", str(path)]
        command += [str(Path(folder) / path.name), "--cwd", str(path.parent)]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # counts the descendants that have ended too
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"chapter {path.stem} failed: see the message above.")
        compiled = json.loads(counted.read_text(encoding="utf-8"))
    figures = {"seconds": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    return {name: round(value, 1) for name, value in (figures | compiled).items()}


def main() -> None:
    """Measures the chapters that were asked for and stores each with its provenance."""
    chapters = find_chapters(ROOT / "chapters")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(chapters)}")
    parser.add_argument("--out", type=Path, default=files.data_folder() / "results" / "chapters.json")
    args = parser.parse_args()
    if unknown := set(args.names) - set(chapters):
        parser.error(f"no chapter {', '.join(sorted(unknown))}: choose from {', '.join(chapters)}.")
    stored = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    for name in args.names or chapters:
        rate = {"gflop_per_s": round(speed.matrix_product_rate() / 1e9)}
        stored[name] = {**measure(chapters[name]), **rate, "provenance": records.provenance()}
        stored = {known: stored[known] for known in chapters if known in stored}
        records.write_bytes(args.out, (json.dumps(stored, indent=1) + "\n").encode())
        print(name, *(f"{key} {value}" for key, value in stored[name].items() if key != "provenance"), flush=True)


if __name__ == "__main__":
    main()
