"""The facts of the book's text that follow from stored data alone, kept in tests/data/facts.json.

`make test` compares them with the book that was built, so that a change of the library or of the data that moves a
printed number is seen. `python tools/golden_facts.py` shows what has moved since, and renews the file.
"""

import json
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
from jupyter_cache import get_cache

from patchscape.store import records

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "facts.json"
# Not kept. Computed while the book is built, from the parameters: the last digits are those of the machine.
COMPUTED = (
    *("arch-loss*", "arch-sure", "arch-guess", "arch-rms", "arch-logit-rms", "arch-worst-*", "arch-first-ours"),
    *("t-points", "t-broken", "t-images", "t-seeds", "t-slack-*", "t-rho*", "t-trace*-live", "t-top-live"),
    *("s-size", "s-classes", "s-count", "s-images", "s-gap", "s-loss", "s-top", "s-low", "s-gradient", "s-flat*"),
    *("s-share", "s-overlap*", "s-negative-*", "s-beyond", "s-chance", "s-trace*", "s-steps", "s-hits-*", "s-runs"),
    *("c-copies", "b-mean", "b-error"),
    *("p-live-images", "p-live-products", "p-live-residual", "p-live-top", "v-home-difference", "v-qnode-*"),
    *("b-again-live", "b-exact", "b-scatter-*", "h-again-*", "l-images", "l-worst", "l-median", "l-ends-*", "l-null-*"),
)
TIMED = ("v-rate", "v-gap", "v-images", "v-deeper-measured")  # nor times on the machine that builds the book

Facts = dict[str, dict[str, str]]


def glued(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Return the facts that an executed notebook hands over to its text, by name."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                (text,) = (text for kind, text in output["data"].items() if kind.endswith("text/plain"))
                found[name] = text.strip("'")
    return found


def stored(found: Mapping[str, str]) -> dict[str, str]:
    """Return those of a chapter's facts that follow from stored data, sorted by name."""
    live = COMPUTED + TIMED
    return {name: found[name] for name in sorted(found) if not any(fnmatchcase(name, kind) for kind in live)}


def of_the_book(build: Path = ROOT / "_build", *, live: bool = False) -> Facts:
    """Return the facts of the book that was built last.

    Args:
        build: folder of the build.
        live: also those that were computed while it was built; else those from stored data alone.

    Returns:
        By chapter.

    Raises:
        FileNotFoundError: if no book has been built, or a chapter has changed since.
    """
    caches = sorted(build.glob("jupyter-cache-*"), key=lambda path: path.stat().st_mtime)
    if not caches:
        raise FileNotFoundError("the book is not built: run `make book` first")
    known, found = get_cache(caches[-1]), {}
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        try:
            record = known.match_cache_notebook(nbformat.read(path, 4))
        except KeyError:
            raise FileNotFoundError(f"{path.name} is not in the book that was built: run `make book` first") from None
        facts = glued(known.get_cache_bundle(record.pk).nb)
        if kept := facts if live else stored(facts):
            found[path.stem] = kept
    return found


def moved(before: Facts, after: Facts) -> list[str]:
    """Return one line for every fact that differs.

    Args:
        before: facts by chapter.
        after: the same, later.

    Returns:
        "chapter, name: 'before' is now 'after'", with "nothing" for a fact that is not there.
    """
    lines = []
    for chapter in sorted({*before, *after}):
        old, new = before.get(chapter, {}), after.get(chapter, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                texts = (repr(facts[name]) if name in facts else "nothing" for facts in (old, new))
                lines.append(f"{chapter}, {name}: {' is now '.join(texts)}")
    return lines


def golden() -> Facts:
    """Return the facts as they were when the file was last renewed."""
    return json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}


def main() -> int:
    """Show what has moved, and renew the file.

    Returns:
        The exit status, 1 if there is no book.
    """
    try:
        found = of_the_book()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(moved(golden(), found)) or "No fact has moved.")
    records.write_bytes(GOLDEN, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
