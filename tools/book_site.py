"""Sphinx extension: what search engines and other sites read, a page for lost readers, and the search of the book.

Descriptions and titles need nothing; the map of the site, the picture that other sites show with a link, and the links
of the page 404 need the address of the site (`html_baseurl`), which `build_book` derives from that of the repository.
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sphinx.search
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search import IndexBuilder

from patchscape.figures import front

LONGEST = 200  # characters of a description: search engines show no more
SYMBOLS = {"lambda": "λ", "propto": "∝", "approx": "≈", "times": "×", "le": "≤", "ge": "≥", "rho": "ρ", "phi": "φ"}
CARD = "card.png"  # beside the pages
LOST = (
    "<h1>There is no such page</h1><p>The address may be old or misspelt. "
    '<a href="index.html">The front page</a> leads to all others; <a href="search.html">the search</a> finds words.</p>'
)


def plain(tex: str) -> str:
    """Writes a short formula as text."""
    named = re.sub(r"\\([a-zA-Z]+)", lambda found: SYMBOLS.get(found[1], found[1]), tex)
    return re.sub(r"[{}\\$]", "", named)


def description(doctree: nodes.document) -> str:
    """Returns the beginning of the prose of a page, shortened at a word; the reading time does not count."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        if "reading-time" in paragraph["classes"] or _inside(paragraph, (nodes.table, nodes.figure, nodes.Admonition)):
            continue
        text = " ".join(f"{text} {''.join(_words(paragraph))}".split()).removeprefix("Question. ")
        if len(text) > LONGEST / 2:
            break
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(",;:(") + "…"


def _words(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.math):
        yield plain(node.astext())
    elif isinstance(node, nodes.Text):
        yield node.astext()
    elif not isinstance(node, nodes.raw | nodes.image):
        for child in node.children:
            yield from _words(child)


def _inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def add_metadata(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Adds description and Open Graph data to the head of a page; to 404, what all its links start from."""
    tags, site = [], app.config.html_baseurl
    if doctree is not None:
        words = description(doctree)
        title = re.sub(r"<[^>]+>", "", context["title"])  # escaped already
        graph = {"site_name": escape(app.config.html_title), "type": "article", "title": title}
        graph |= {"description": escape(words)} if words else {}
        graph |= {"url": f"{site}{app.builder.get_target_uri(pagename)}"} if site else {}
        picture = _picture(app) if site else None  # the address of a picture has to be a whole one
        if picture is not None:
            width, height = front.CARD
            graph |= {"image": f"{site}{CARD}", "image:type": "image/png", "image:width": width, "image:height": height}
            graph |= {"image:alt": escape(f"{app.config.html_title}. {picture.get('alt', '')}".strip())}
        tags = [f'<meta property="og:{name}" content="{text}" />' for name, text in graph.items()]
        tags += [f'<meta name="description" content="{escape(words)}" />'] if words else []
        tags += ['<meta name="twitter:card" content="summary_large_image" />'] if picture is not None else []
    elif pagename == "404":
        tags = ['<meta name="robots" content="noindex" />']
        tags += [f'<base href="{escape(urlsplit(site).path)}" />'] if site else []  # it is shown under any address
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def _picture(app: Sphinx) -> nodes.image | None:
    """The picture of the first figure of the front page."""
    front = app.env.get_doctree(app.config.root_doc)
    return next((image for figure in front.findall(nodes.figure) for image in figure.findall(nodes.image)), None)


def write_card(app: Sphinx, exception: Exception | None) -> None:
    """Writes the picture that other sites show with a link to a page, if the address of the site is known."""
    if exception or app.builder.name != "html" or not app.config.html_baseurl:
        return
    if picture := _picture(app):
        words = description(app.env.get_doctree(app.config.root_doc))
        made = front.card(Path(app.srcdir, picture["uri"]), app.config.html_title, words)
        Path(app.outdir, CARD).write_bytes(made)


def add_lost_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yields the page that servers of static files show for addresses that lead nowhere."""
    if app.builder.name == "html":
        yield "404", {"title": "There is no such page", "body": LOST}, "page.html"


def write_sitemap(app: Sphinx, exception: Exception | None) -> None:
    """Writes the map of the site, if its address is known."""
    site = app.config.html_baseurl
    if exception or app.builder.name != "html" or not site:
        return
    addresses = (escape(f"{site}{app.builder.get_target_uri(name)}") for name in sorted(app.env.found_docs))
    lines = "\n".join(f"<url><loc>{address}</loc></url>" for address in addresses)
    head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    Path(app.outdir, "sitemap.xml").write_text(f"{head}\n{lines}\n</urlset>\n", encoding="utf-8")


class ProseIndex(IndexBuilder):
    """The index of the search, of prose alone: names in code and what it prints are no words that readers look for."""

    def feed(self, docname: str, filename: str, title: str, doctree: nodes.document) -> None:
        """Takes a page in, without its blocks of code and of output."""
        prose = doctree.deepcopy()
        for block in list(prose.findall(lambda node: isinstance(node, nodes.literal_block | nodes.doctest_block))):
            block.parent.remove(block)
        super().feed(docname, filename, title, prose)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the steps above.

    Returns:
        What Sphinx wants to know of an extension.
    """
    sphinx.search.IndexBuilder = ProseIndex  # the builder takes it from there
    app.connect("html-page-context", add_metadata)
    app.connect("html-collect-pages", add_lost_page)
    app.connect("build-finished", write_sitemap)
    app.connect("build-finished", write_card)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
