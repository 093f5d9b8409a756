"""Build the book with warnings as errors, then check the pages; notebook results are cached by content.

jupyter-book's own cache looks at notebooks only, so it would keep old numbers after a change of the library.
Here the cache folder is named after the content of everything that a chapter's results depend on. And jupyter-book
executes one chapter after the other: here several are executed side by side first.
"""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import check_book
import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution

from patchscape import status

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
INPUTS = ("lib", "data", "params", "requirements.lock")
ALONE = {"06_speed"}  # it measures times, so nothing may run beside it: jupyter-book executes it
AT_ONCE = 4  # most chapters side by side: each may take 1 GiB


def content_hash(root: Path = ROOT) -> str:
    """Return a short hash of the names and content of all inputs."""
    digest = hashlib.sha256()
    for entry in (root / name for name in INPUTS):
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            name = path.relative_to(root)
            made = any(part.startswith((".", "__pycache__")) or part.endswith(".egg-info") for part in name.parts)
            if path.is_file() and not made:
                digest.update(name.as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def book_config(cache: Path) -> dict:
    """Return _config.yml with the cache of this build, and with launch buttons if the repository is known."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"].update(execute_notebooks="cache", cache=str(cache))
    # Paths of extensions are relative to the configuration, and this one is written elsewhere.
    extensions = config["sphinx"]["local_extensions"]
    extensions.update({name: str(ROOT / folder) for name, folder in extensions.items()})
    config["repository"]["url"] = os.environ.get("PATCHSCAPE_REPOSITORY") or config["repository"]["url"]
    if config["repository"]["url"]:
        config["html"]["use_repository_button"] = True
        config["launch_buttons"] = {
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        }
    return config


def cache() -> Path:
    """Return the folder of executed notebooks that belongs to the present content."""
    return BUILD / f"jupyter-cache-{content_hash()}"


def execute(paths: Iterable[Path], cache: Path, timeout: int) -> None:
    """Executes notebooks that are not in the cache, as many at once as there are processors, and puts them there.

    One that fails is left out: jupyter-book will execute it again and report.

    Args:
        paths: notebooks, those that take longest first.
        cache: folder of executed notebooks.
        timeout: of a cell, in seconds.
    """
    known = get_cache(cache)
    missing = []
    for path in paths:
        try:
            known.match_cache_notebook(nbformat.read(path, 4))
        except KeyError:
            missing.append(path)
    fresh = multiprocessing.get_context("spawn")  # JAX has threads, which a forked process would inherit half
    with ProcessPoolExecutor(min(AT_ONCE, os.cpu_count() or 1), mp_context=fresh) as pool:
        running = {pool.submit(_execute, path, timeout): path for path in missing}
        for done in as_completed(running):
            if executed := done.result():
                notebook, seconds = executed
                bundle = CacheBundleIn(notebook, str(running[done]), data={"execution_seconds": seconds})
                known.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def _execute(path: Path, timeout: int) -> tuple[nbformat.NotebookNode, float] | None:
    """Executes a notebook; returns it and the seconds that it took, or nothing if it fails."""
    result = single_nb_execution(nbformat.read(path, 4), str(path.parent), timeout, allow_errors=False)
    return None if result.err else (result.nb, result.time)


def longest_first() -> list[Path]:
    """Returns the chapters that may run side by side, in the order of their measured times."""
    seconds = status.chapters().set_index("chapter").seconds
    paths = [path for path in (ROOT / "chapters").glob("*.ipynb") if path.stem not in ALONE]
    return sorted(paths, key=lambda path: -seconds.get(path.stem, 0))


def run(cache: Path, builder: str, *options: str) -> int:
    """Run jupyter-book with warnings as errors; results of notebooks come from the cache if they are there.

    Args:
        cache: from `cache`.
        builder: html (a page for every file) or singlehtml (all on one page).
        *options: more options of `jupyter-book build`.

    Returns:
        Its exit status.
    """
    (BUILD / "config.yml").write_text(yaml.safe_dump(book_config(cache), sort_keys=False), encoding="utf-8")
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(ROOT), "--config", str(BUILD / "config.yml"), "--builder", builder]
    command += ["--warningiserror", "--nitpick", "--keep-going", "--quiet", *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Build and check the book.

    Returns:
        The exit status, 0 when the book is built and sound.
    """
    present = cache()
    for old in BUILD.glob("jupyter-cache-*"):
        if old != present:
            shutil.rmtree(old)
    html = BUILD / "html"
    # Pages of an earlier build must not stand in for pages missing from this one.
    shutil.rmtree(html, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    execute(longest_first(), present, book_config(present)["execute"]["timeout"])
    failed = run(present, "html", "--all")
    if failed:
        for report in sorted((BUILD / "html" / "reports").rglob("*.log")):
            print(f"--- {report.stem}\n{report.read_text(encoding='utf-8')[-3000:]}", file=sys.stderr)
        print("The book was not built: see the messages above.", file=sys.stderr)
        return failed
    if problems := check_book.problems(html, ROOT):
        print("The book was built, but is not sound:", *problems, sep="\n- ", file=sys.stderr)
        return 1
    print(f"The book is ready: open {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
