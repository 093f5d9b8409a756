"""Sphinx extension: previews of what links lead to (figures, equations, terms, citations), the same in every build.

sphinx_tippy makes them. It gives its files random names, writes sets in the order of their hashes, and leaves caches of
what it would fetch from other hosts, which is nothing here.
"""

from pathlib import Path

import sphinx_tippy
from sphinx.application import Sphinx

NAME = "tips"  # in the place of a random part of the names of files
CACHES = ("wiki", "doi", "rtd")


def sort_references(app: Sphinx, exception: Exception | None) -> None:
    """Puts the references of every page into one order, before they are written."""
    for page in sphinx_tippy.get_tippy_data(app)["pages"].values():
        page["refs_in_page"] = sorted(page["refs_in_page"], key=repr)


def remove_caches(app: Sphinx, exception: Exception | None) -> None:
    """Removes files that hold nothing."""
    for name in CACHES:
        Path(app.outdir, f"tippy_{name}_cache.json").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sets sphinx_tippy up, and the steps above around it.

    Returns:
        What Sphinx wants to know of an extension.
    """
    sphinx_tippy.uuid4 = lambda: NAME
    app.setup_extension("sphinx_tippy")
    app.connect("build-finished", sort_references, priority=400)
    app.connect("build-finished", remove_caches, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
