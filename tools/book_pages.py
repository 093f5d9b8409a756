"""Sphinx extension: a reading time under every title, and from every figure links to its data and its sources."""

import math
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.osutil import relative_uri

from patchscape.book import status

WORDS_PER_MINUTE = 200  # ours: slow reading, of prose with formulas
DATA = "_data"  # folder of the figures' numbers beside the pages
TABLE = "text/csv"  # what `patchscape.figures.save` leaves with a figure in a notebook
WITHOUT_TIME = {"references", "status"}
_report_unhandled = NbElementRenderer.render_unhandled


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


def keep_numbers(env: BuildEnvironment, data: MimeData) -> None:
    """Keeps what a figure shows, as its cell left it beside the picture, under the label of the figure."""
    name = data.cell_metadata.get("mystnb", {}).get("figure", {}).get("name")
    if name:
        _numbers(env).setdefault(env.docname, {})[name] = data.string


def _numbers(env: BuildEnvironment) -> dict[str, dict[str, str]]:
    """Texts of CSV files by page and label; a part of the environment, so that pages need not be read again."""
    if not hasattr(env, "figure_numbers"):
        env.figure_numbers = {}
    return env.figure_numbers


def forget_numbers(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forgets the numbers of a page that is read again."""
    _numbers(env).pop(docname, None)


def _render_unhandled(renderer: NbElementRenderer, data: MimeData) -> list[nodes.Element]:
    """Numbers are kept, and nothing is shown; what else myst_nb does not know it reports."""
    if data.mime_type != TABLE:
        return _report_unhandled(renderer, data)
    keep_numbers(renderer.renderer.sphinx_env, data)
    return []


def link_figures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Adds to the caption of every figure links to its numbers, which are written here, and to its line on Status."""
    if app.builder.format != "html":
        return
    tables = _numbers(app.env).get(docname, {})
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
    NbElementRenderer.render_unhandled = _render_unhandled
    app.connect("env-purge-doc", forget_numbers)
    app.figure_labels = list(status.figures().figure)
    app.connect("doctree-resolved", add_reading_time)
    app.connect("doctree-resolved", link_figures)
    app.connect("html-page-context", mend_roles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
