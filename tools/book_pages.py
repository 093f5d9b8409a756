"""Sphinx extension: a reading time under every title, links from figures to their data, and what phones need.

On a phone the panels of a figure stand below each other, and rows of wide tables become cards (`_static/custom.css`).
"""

import math
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.osutil import relative_uri

from patchscape.book import status
from patchscape.figures import tiles

WORDS_PER_MINUTE = 200  # ours: slow reading, of prose with formulas
DATA = "_data"  # folder of the figures' numbers beside the pages
TABLE = "text/csv"  # what `patchscape.figures.save` leaves with a figure in a notebook, beside the pieces (`tiles`)
FULL = 728  # px, width of a figure on a wide page
NARROW = 0.28  # of that: two columns of panels fit on a phone if none is wider
CARDS = "verdict"  # a table with a column of this name has rows too wide for a phone, where they become cards
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


def keep_output(env: BuildEnvironment, data: MimeData) -> None:
    """Keeps what a cell left beside the picture of its figure, under the label of the figure."""
    name = data.cell_metadata.get("mystnb", {}).get("figure", {}).get("name")
    if name:
        _kept(env).setdefault(env.docname, {}).setdefault(name, {})[data.mime_type] = data.content


def _kept(env: BuildEnvironment) -> dict[str, dict[str, dict[str, Any]]]:
    """Outputs by page, label and type; a part of the environment, so that pages need not be read again."""
    if not hasattr(env, "figure_outputs"):
        env.figure_outputs = {}
    return env.figure_outputs


def forget_outputs(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forgets the outputs of a page that is read again."""
    _kept(env).pop(docname, None)


def _render_unhandled(renderer: NbElementRenderer, data: MimeData) -> list[nodes.Element]:
    """What belongs to a figure is kept, and nothing is shown; what else myst_nb does not know it reports."""
    if data.mime_type not in (TABLE, tiles.KIND):
        return _report_unhandled(renderer, data)
    keep_output(renderer.renderer.sphinx_env, data)
    return []


def link_figures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Adds to the caption of every figure links to its numbers, which are written here, and to its line on Status."""
    if app.builder.format != "html":
        return
    kept = _kept(app.env).get(docname, {})
    known = set(app.figure_labels)
    for figure in doctree.findall(nodes.figure):
        for name in figure["ids"]:
            links = {}
            if table := kept.get(name, {}).get(TABLE):
                path = Path(app.outdir, DATA, f"{name}.csv")
                path.parent.mkdir(exist_ok=True)
                path.write_text(table, encoding="utf-8")
                links["Data (CSV)"] = relative_uri(app.builder.get_target_uri(docname), f"{DATA}/{name}.csv")
            if name in known:
                links["Sources"] = f"{app.builder.get_relative_uri(docname, 'status')}#data-{name}"
            for caption in figure.findall(nodes.caption) if links else []:
                for words, address in links.items():
                    text = nodes.inline("", words, classes=["figure-data-text"])
                    link = nodes.reference("", "", text, internal=True, refuri=address)
                    link["classes"].append("figure-data")
                    caption += [nodes.Text(" "), link]


def shorten_prompts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Names what folded cells hide in two words, which are also what those hear who listen."""
    body = context.get("body", "").replace('<summary aria-label="Toggle hidden content">', "<summary>")
    names = {"source": "code", "output": "output"}
    prompt = re.compile(r'(admonition-title">(?:Show|Hide)) code cell (source|output)</p>')
    context["body"] = prompt.sub(lambda found: f"{found[1]} {names[found[2]]}</p>", body)


def cut_figures(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Adds to every figure its pieces, which only phones show, and a link to the picture in full size."""
    kept = _kept(app.env).get(pagename, {})

    def add(figure: re.Match) -> str:
        whole, found = figure[0], re.search(r'<img\b[^>]*\bsrc="([^"]+)"[^>]*>', figure[0])
        if not found:
            return whole
        cut = kept.get(figure[1], {}).get(tiles.KIND)
        if cut:
            whole = whole.replace(found[0], found[0] + pieces(found[1], cut), 1)
        link = f' <a class="figure-full" href="{found[1]}">Full size</a>'
        return re.sub(r'(<a class="headerlink"[^>]*>[^<]*</a>)?</p>\s*</figcaption>', rf"{link}\g<0>", whole, count=1)

    figures = re.compile(r'<figure\b[^>]*\bid="([^"]+)"[^>]*>.*?</figure>', re.DOTALL)
    context["body"] = figures.sub(add, context.get("body", ""))


def pieces(source: str, cut: tiles.Cut) -> str:
    """Returns a figure in pieces, which show parts of one picture.

    They are for the eye alone: the picture itself keeps its text, and the caption the link to it.

    Args:
        source: address of the picture.
        cut: of the figure.

    Returns:
        A link to the picture that holds its pieces. All have one scale: that of a wide page, or less where the widest
        would not fit a phone.
    """
    totals = [sum(width for *_, width, _ in tile) for tile in cut["tiles"]]
    widest = max(totals)
    room = 49 if widest <= NARROW else 100  # % of the column for the widest
    parts = []
    for tile, total in zip(cut["tiles"], totals, strict=True):
        spans = []
        for left, top, width, height in tile:
            across, down = 1 - width, cut["height"] - height
            at = f"{_percent(left, across)} {_percent(top, down)}"
            look = f"width:{_percent(width, total)};aspect-ratio:{width / height:.4f}"
            look += f";background:url({source}) {at}/{_percent(1, width)} auto"
            spans.append(f'<span style="{look}"></span>')
        width = f"min({room * total / widest:.2f}%,{FULL * total:.0f}px)"
        parts.append(f'<span class="figure-tile" style="width:{width}">{"".join(spans)}</span>')
    return f'<a class="figure-tiles" href="{source}" aria-hidden="true" tabindex="-1">{"".join(parts)}</a>'


def _percent(part: float, whole: float) -> str:
    """A share; nothing of nothing is nothing."""
    return f"{100 * part / whole:.2f}%" if whole > 1e-6 else "0%"


def label_cells(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Puts into the cells of a table of verdicts the names of their columns, which only its cards on a phone show."""
    if app.builder.format != "html":
        return
    for table in doctree.findall(nodes.table):
        names = [name.astext() for head in table.findall(nodes.thead) for name in head.findall(nodes.entry)]
        if CARDS not in names:
            continue
        table["classes"].append("cards")
        for row in next(table.findall(nodes.tbody)).findall(nodes.row):
            for name, cell in list(zip(names, row.findall(nodes.entry), strict=True))[1:]:
                cell.insert(0, nodes.paragraph("", name, classes=["card-label"]))


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
    app.connect("env-purge-doc", forget_outputs)
    app.figure_labels = list(status.figures().figure)
    app.connect("doctree-resolved", add_reading_time)
    app.connect("doctree-resolved", link_figures)
    app.connect("doctree-resolved", label_cells)
    app.connect("html-page-context", mend_roles)
    app.connect("html-page-context", shorten_prompts)
    app.connect("html-page-context", cut_figures, priority=600)  # previews of links (450) are of whole figures
    return {"parallel_read_safe": True, "parallel_write_safe": True}
