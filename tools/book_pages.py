"""Sphinx extension: a reading time under every title, and from every figure links to its data and its sources."""

import math
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

from patchscape.book import status

WORDS_PER_MINUTE = 200  # ours: slow reading, of prose with formulas
DATA = "_data"  # folder of the figures' numbers beside the pages
TABLE = "text/csv"  # what `patchscape.figures.save` leaves with a figure in a notebook
WITHOUT_TIME = {"references", "status"}


def add_reading_time(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Adds the reading time of the prose (no code, no output of cells) below the title of a page."""
    title = next(doctree.findall(nodes.title), None)
    if title is None or docname in WITHOUT_TIME:
        return
    words = sum(len(node.astext().split()) for node in doctree.findall(nodes.paragraph))
    minutes = math.ceil(words / WORDS_PER_MINUTE)
    line = nodes.paragraph("", f"Reading time: about {minutes} minute{'s' if minutes > 1 else ''}")
    line["classes"].append("reading-time")
    title.parent.insert(title.parent.index(title) + 1, line)


def figure_data(notebook: Path) -> dict[str, str]:
    """Reads what the figures of an executed notebook show.

    Args:
        notebook: as the book keeps it.

    Returns:
        Text of a CSV file by the label of the figure; figures without numbers have none.
    """
    found = {}
    for cell in nbformat.read(notebook, as_version=4).cells if notebook.is_file() else []:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", []) if name else []:
            if TABLE in (data := output.get("data", {})):
                found[name] = "".join(data[TABLE])
    return found


def link_figures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Adds to the caption of every figure links to its numbers, which are written here, and to its line on Status."""
    if app.builder.format != "html":
        return
    tables = figure_data(Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb")
    known = set(app.figure_labels)
    for figure in doctree.findall(nodes.figure):
        for name in figure["ids"]:
            links = {}
            if name in tables:
                path = Path(app.outdir, DATA, f"{name}.csv")
                path.parent.mkdir(exist_ok=True)
                path.write_text(tables[name], encoding="utf-8")
                links["Data (CSV)"] = relative_uri(app.builder.get_target_uri(docname), f"{DATA}/{name}.csv")
            if name in known:
                links["Sources"] = f"{app.builder.get_relative_uri(docname, 'status')}#data-{name}"
            for caption in figure.findall(nodes.caption) if links else []:
                for words, address in links.items():
                    text = nodes.inline("", words, classes=["figure-data-text"])
                    link = nodes.reference("", "", text, internal=True, refuri=address)
                    link["classes"].append("figure-data")
                    caption += [nodes.Text(" "), link]


def mend_roles(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Takes from lists of references the roles that Sphinx gives them: their children do not fit these roles."""
    body = context.get("body", "").replace(' role="list" class="citation-list"', ' class="citation-list"')
    context["body"] = body.replace(' role="doc-biblioentry"', "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the steps above.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.figure_labels = list(status.figures().figure)
    app.connect("doctree-resolved", add_reading_time)
    app.connect("doctree-resolved", link_figures)
    app.connect("html-page-context", mend_roles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
