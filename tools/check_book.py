"""Check the built pages: all there, figures in place and described, no broken link, nothing fetched from elsewhere."""

import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from bs4 import BeautifulSoup

# Elements whose address the browser fetches without being asked (a plain link <a> is not one).
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
FETCHED_RELATIONS = {
    "stylesheet",
    "preload",
    "preconnect",
    "dns-prefetch",
    "prefetch",
    "modulepreload",
    "icon",
}
REMOTE = re.compile(r"^(https?:)?//", re.IGNORECASE)
REMOTE_CSS = re.compile(r"""(?:@import\s+(?:url\()?|url\()\s*["']?((?:https?:)?//[^"')\s;]+)""", re.IGNORECASE)
REMOTE_MODULE = re.compile(r"""(?:import\s*\(?|from)\s*["'](https?://[^"']+)["']""")


def documents(root: Path) -> list[str]:
    """Return the documents named in _toc.yml, in reading order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))

    def entries(node):
        if isinstance(node, dict):
            if "file" in node:
                yield node["file"]
            for key in ("parts", "chapters", "sections"):
                for child in node.get(key, []):
                    yield from entries(child)

    return [toc["root"], *entries(toc)]


def captioned_figures(root: Path, document: str) -> int:
    """Return how many figures a notebook promises: code cells with a figure caption or a glued figure."""
    path = root / f"{document}.ipynb"
    if not path.is_file():
        return 0
    cells = nbformat.read(path, as_version=4).cells
    promised = sum("figure" in cell.metadata.get("mystnb", {}) for cell in cells if cell.cell_type == "code")
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return promised + len(re.findall(r"\{(?:glue:)?figure\}", text))


def problems(html: Path, root: Path) -> list[str]:
    """Check a built book.

    Args:
        html: the folder of built pages.
        root: the project, with _toc.yml and the chapters.

    Returns:
        One sentence for each thing that is wrong; empty if all is well.
    """
    found = []
    for document in documents(root):
        page = html / f"{document}.html"
        if not page.is_file():
            found.append(f"{document}: the page was not built")
            continue
        found += [f"{document}: {problem}" for problem in _page_problems(page, html)]
        main = _soup(page).find("article")
        words = len(main.get_text(" ").split()) if main else 0
        if words < 10:
            found.append(f"{document}: the page is empty")
        figures = len(main.find_all("figure")) if main else 0
        if figures < captioned_figures(root, document):
            found.append(f"{document}: shows {figures} figures, fewer than it promises")
    for css in html.rglob("*.css"):
        text = css.read_text(encoding="utf-8", errors="replace")
        found += [f"{css.relative_to(html)}: fetches {url}" for url in REMOTE_CSS.findall(text)]
    return found


@cache
def _soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def _places(page: Path) -> set[str]:
    """What a link can lead to on a page: a search for each of thousands of links would take most of the check."""
    soup = _soup(page)
    return {tag["id"] for tag in soup.find_all(id=True)} | {
        tag["name"] for tag in soup.find_all("a", attrs={"name": True})
    }


def _page_problems(page: Path, html: Path) -> list[str]:
    soup = _soup(page)
    found = [f"needs another host: {address}" for address in _remote(soup)]
    for image in soup.find_all("img"):
        source = image.get("src", "")
        target = _target(page, source)
        if target and not (target.is_file() and target.stat().st_size):
            found.append(f"image is missing or empty: {source}")
        elif image.get("alt", "") in {"", source}:  # Sphinx puts the file name where an author wrote nothing
            found.append(f"image has no text for those who cannot see it: {source}")
    for link in soup.find_all("a", href=True):
        found += _broken_link(page, link["href"], html)
    for sheet in soup.find_all(["link", "script"]):
        address = sheet.get("href") or sheet.get("src")
        target = _target(page, address) if address else None
        if target and "search" not in sheet.get("rel", []) and not target.exists():
            found.append(f"file is missing: {address}")
    if soup.select(".output.traceback, .cell_output .traceback") or soup.find(
        string=re.compile(r"Traceback \(most recent call last\)")
    ):
        found.append("shows a traceback")
    for node in soup.select(".system-message, .problematic"):
        found.append(f"shows a message of the builder: {node.get_text()[:80]}")
    return found


def weight(page: Path, html: Path) -> int:
    """Add up what a reader loads for one page.

    Args:
        page: the built page.
        html: the folder of built pages.

    Returns:
        Bytes of the page and of the images, frames and scripts that it names, without the files in _static, which all
        pages share (theme, fonts, MathJax) and which a browser loads once.
    """
    files = {page}
    for element in _soup(page).find_all(list(FETCHED)):
        target = _target(page, element.get(FETCHED[element.name]) or "")
        if target and target.is_file() and not target.is_relative_to((html / "_static").resolve()):
            files.add(target)
    return sum(file.stat().st_size for file in files)


def _remote(soup: BeautifulSoup) -> list[str]:
    found = []
    for element in soup.find_all(list(FETCHED)):
        found.append(element.get(FETCHED[element.name]) or "")
    for link in soup.find_all("link"):
        if FETCHED_RELATIONS & {relation.lower() for relation in link.get("rel", [])}:
            found.append(link.get("href") or "")
    found = [address for address in found if REMOTE.match(address)]
    for style in soup.find_all("style"):
        found += REMOTE_CSS.findall(style.get_text())
    for element in soup.find_all(style=True):
        found += REMOTE_CSS.findall(element["style"])
    for script in soup.find_all("script", src=False):
        found += REMOTE_MODULE.findall(script.get_text())
    return found


def _target(page: Path, address: str) -> Path | None:
    """Return the local file that an address on a page means; None for addresses outside the book."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    return (page.parent / unquote(parts.path)).resolve()


def _broken_link(page: Path, address: str, html: Path) -> list[str]:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return []
    target = _target(page, address) or page
    if not target.is_relative_to(html.resolve()) or not target.exists():
        return [f"broken link: {address}"]
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in _places(target):
        return [f"broken link, no such place: {address}"]
    return []


if __name__ == "__main__":
    project = Path(__file__).resolve().parents[1]
    messages = problems(project / "_build" / "html", project)
    print(*messages, sep="\n")
    sys.exit(bool(messages))
