"""Sphinx extension: a reading time under every title, and from every figure a link to the files behind it."""

import math
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from patchscape.book import status

WORDS_PER_MINUTE = 200  # ours: slow reading, of prose with formulas
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


def link_figures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Adds to the caption of every figure of a chapter a link to its line on the page Status."""
    if app.builder.format != "html":
        return
    page = app.builder.get_relative_uri(docname, "status")
    known = set(app.figure_labels)
    for figure in doctree.findall(nodes.figure):
        for name in known.intersection(figure["ids"]):
            for caption in figure.findall(nodes.caption):
                text = nodes.inline("", "Data", classes=["figure-data-text"])
                link = nodes.reference("", "", text, internal=True, refuri=f"{page}#data-{name}")
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
