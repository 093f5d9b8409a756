"""Build the book with warnings as errors, then check the pages; notebook results are cached by content.

jupyter-book's own cache looks at notebooks only, so it would keep old numbers after a change of the library. Here every
build has a cache of its own, named after the keys of all documents (`book_keys`), which takes over what earlier builds
executed under the same key. And jupyter-book executes one chapter after the other: here several are executed side by
side first. A book that is not built or not sound leaves the last good one in its place.
"""

import hashlib
import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from importlib.metadata import distributions
from pathlib import Path

import book_keys
import check_book
import nbformat
import yaml
from filelock import FileLock, Timeout
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.cache.db import NbCacheRecord
from jupyter_cache.executors.utils import single_nb_execution

import patchscape
from patchscape import runtime
from patchscape.book import status
from patchscape.store import files, records

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
NEW = BUILD / "new" / "_build"  # jupyter-book makes the second part of the path itself
# First letters of the variables that change results, and of those among them that do not.
SETTINGS = ("CUDA_", "JAX_", "MKL_", "NPROC", "OMP_", "OPENBLAS_", "PATCHSCAPE_", "XLA_")
HARMLESS = (
    "JAX_COMPILATION_CACHE",
    "JAX_PERSISTENT_CACHE",
    "PATCHSCAPE_DATA",
    "PATCHSCAPE_FIGURES",
    "PATCHSCAPE_REPOSITORY",
)
KEYS = "keys.json"  # in a cache: the keys under which its notebooks were executed
KEPT = 3  # caches: going back to what was built before then executes nothing
ALONE = {"10_speed"}  # it measures times, so nothing may run beside it: jupyter-book executes it
AT_ONCE = 4  # most chapters side by side: each may take 1 GiB


def environment() -> str:
    """Return all but files that results depend on: Python, machine, packages, settings."""
    packages = {f"{package.name}=={package.version}" for package in distributions()}
    runtime.compile_fast()  # a chapter does so itself: that is no setting of this environment
    settings = {f"{k}={v}" for k, v in os.environ.items() if k.startswith(SETTINGS) and not k.startswith(HARMLESS)}
    return repr((platform.python_version(), platform.machine(), sorted(packages), sorted(settings)))


def keys() -> dict[str, str]:
    """Return the present key of every document with code."""
    return book_keys.keys(ROOT, files.data_folder(), environment())


def book_config(cache: Path) -> dict:
    """Return _config.yml with the cache of this build, and with launch buttons if the repository is known."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"].update(execute_notebooks="cache", cache=str(cache))
    # Paths of extensions are relative to the configuration, and this one is written elsewhere.
    extensions = config["sphinx"]["local_extensions"]
    extensions.update({name: str(ROOT / folder) for name, folder in extensions.items()})
    if given := os.environ.get("PATCHSCAPE_REPOSITORY") or config["repository"]["url"]:
        config["repository"]["url"] = url = repository_url(given)
        config["html"]["use_repository_button"] = True
        config["html"]["baseurl"] = pages_url(url)
        if "//github.com/" in url:  # the theme's launch buttons know no other host
            config["launch_buttons"] = {
                "binderhub_url": "https://mybinder.org",
                "notebook_interface": "jupyterlab",
            }
    return config


def repository_url(given: str) -> str:
    """Return the address that the theme wants.

    Args:
        given: an address as from a clone button: with or without .git, https or ssh.

    Returns:
        https://HOST/OWNER/NAME.

    Raises:
        ValueError: if it is not an address on a host that the theme knows.
    """
    hosts = r"github\.com|gitlab\.com|bitbucket\.org"
    found = re.fullmatch(
        rf"(?:https?://|(?:ssh://)?git@)({hosts})[:/]([^\s:]+/[^\s/:]+?)(?:\.git)?/?", given, re.IGNORECASE
    )
    if not found:
        raise ValueError(
            f"PATCHSCAPE_REPOSITORY or repository: url: in _config.yml is {given!r}: give an address on github.com, "
            "gitlab.com or bitbucket.org, such as https://github.com/OWNER/NAME."
        )
    return f"https://{found[1].lower()}/{found[2]}"


def pages_url(repository: str) -> str:
    """Return where a repository's host shows its pages, unless the owner has chosen another place.

    Args:
        repository: as from `repository_url`.

    Returns:
        The address, with a slash at its end; empty for a host that shows none.
    """
    host, owner, name = re.fullmatch(r"https://([^/]+)/([^/]+)/(.+)", repository).groups()
    hosts = {"github.com": "github.io", "gitlab.com": "gitlab.io"}
    if host not in hosts:
        return ""
    site = f"{owner.lower()}.{hosts[host]}"
    return f"https://{site}/" if name.lower() == site else f"https://{site}/{name}/"


def cache(found: Mapping[str, str]) -> Path:
    """Return the folder of executed notebooks that belongs to the keys of all documents."""
    return BUILD / f"jupyter-cache-{hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]}"


def take_over(present: Path, found: Mapping[str, str]) -> None:
    """Makes the cache of this build, with what others hold that was executed under the same keys.

    Args:
        present: folder to be made; nothing is done if it is there.
        found: keys by document.
    """
    if present.exists():
        return
    new = present.with_name("new-cache")  # renamed when it is whole
    shutil.rmtree(new, ignore_errors=True)
    known = get_cache(new)
    for folder in sorted(present.parent.glob("jupyter-cache-*"), key=lambda path: path.stat().st_mtime):
        names = folder / KEYS
        theirs = json.loads(names.read_text(encoding="utf-8")) if names.exists() else {}
        other = get_cache(folder)
        for record in _records(other, {name for name, key in found.items() if theirs.get(name) == key}):
            bundle = other.get_cache_bundle(record.pk)
            same = CacheBundleIn(bundle.nb, record.uri, data=record.data)
            known.cache_notebook_bundle(same, check_validity=False, overwrite=True)
    records.write_bytes(new / KEYS, json.dumps(found, indent=1).encode())
    new.rename(present)


def execute(paths: Iterable[Path], cache: Path, timeout: int) -> None:
    """Executes notebooks that are not in the cache, as many at once as there are processors, and puts them there.

    One that fails, or has not all of its figures, is left out: jupyter-book will execute it again and report.

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
    """Executes a notebook; returns it and the seconds that it took, or nothing if it fails or lacks a figure."""
    result = single_nb_execution(nbformat.read(path, 4), str(path.parent), timeout, allow_errors=False)
    return (result.nb, result.time) if result.err is None and shows_its_figures(result.nb) else None


def shows_its_figures(notebook: nbformat.NotebookNode) -> bool:
    """Return whether every cell of an executed notebook with a figure caption has an image."""
    cells = (cell for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {}))
    return all(any(kind.startswith("image/") for out in cell.outputs for kind in out.get("data", {})) for cell in cells)


def forget(cache: Path, documents: set[str]) -> None:
    """Takes documents out of the cache, so that the next build executes them again.

    Args:
        cache: folder of executed notebooks.
        documents: names as in _toc.yml.
    """
    known = get_cache(cache)
    for record in _records(known, documents):
        known.remove_cache(record.pk)


def _records(known: JupyterCacheAbstract, documents: set[str]) -> list[NbCacheRecord]:
    ends = tuple(f"/{name}" for name in documents)
    return [r for r in known.list_cache_records() if Path(r.uri).with_suffix("").as_posix().endswith(ends)]


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
        Its exit status; the pages are in NEW.
    """
    config = book_config(cache)
    if builder != "html":
        _without_previews(config["sphinx"])
    (BUILD / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(ROOT), "--path-output", str(NEW.parent)]
    command += ["--config", str(BUILD / "config.yml"), "--builder", builder]
    command += ["--warningiserror", "--nitpick", "--keep-going", "--quiet", *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _without_previews(sphinx: dict) -> None:
    """Takes the previews of links out of a configuration: paper has none."""
    settings = sphinx["config"]
    settings["extensions"].remove("book_tips")
    for name in [name for name in settings if name.startswith("tippy_")]:
        del settings[name]


def put_in_place(new: Path, html: Path) -> None:
    """Puts new pages in the place of old ones, which are there until the new ones are whole."""
    old = html.with_name("html-old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    new.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def discard(build: Path, present: Path, kept: int = KEPT) -> None:
    """Removes caches of executed notebooks but the present one and the last others, `kept` in all."""
    if present.exists():
        os.utime(present)  # used now
    others = sorted((p for p in build.glob("jupyter-cache-*") if p != present), key=lambda p: -p.stat().st_mtime)
    for old in others[kept - 1 :]:
        shutil.rmtree(old)


def main() -> int:
    """Build and check the book.

    Returns:
        The exit status, 0 when the book is built and sound.
    """
    if not Path(patchscape.__file__).is_relative_to(ROOT):
        print(
            f"patchscape is imported from {Path(patchscape.__file__).parent}, not from this folder: "
            "run `make book`, without PYTHONPATH.",
            file=sys.stderr,
        )
        return 1
    BUILD.mkdir(exist_ok=True)
    try:
        timeout = book_config(BUILD)["execute"]["timeout"]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    with _alone():
        return _build(timeout)


def _alone() -> AbstractContextManager:
    """Waits until no other build of this folder runs, and keeps others waiting."""
    lock = FileLock(BUILD / "lock")
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        print("Another build of this book is running: waiting for its end ...", file=sys.stderr)
        return lock.acquire()


def _build(timeout: int) -> int:
    found, html = keys(), NEW / "html"
    present = cache(found)
    take_over(present, found)
    discard(BUILD, present)
    # Pages of a build that failed must not stand in for pages missing from this one.
    shutil.rmtree(html, ignore_errors=True)
    execute(longest_first(), present, timeout)
    failed = run(present, "html", "--all")
    # What changed meanwhile may or may not have been read: those documents belong to no key.
    forget(present, {name for name, key in keys().items() if found.get(name) != key})
    if failed:
        for report in sorted((html / "reports").rglob("*.log")):
            print(f"--- {report.stem}\n{report.read_text(encoding='utf-8')[-3000:]}", file=sys.stderr)
        print("The book was not built: see the messages above.", file=sys.stderr)
        return failed
    if problems := check_book.problems(html, ROOT):
        for folder in BUILD.glob("jupyter-cache-*"):
            forget(folder, {problem.split(":")[0] for problem in problems})
        print("The book was built, but is not sound:", *problems, sep="\n- ", file=sys.stderr)
        return 1
    put_in_place(html, BUILD / "html")
    print(f"The book is ready: open {BUILD / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
