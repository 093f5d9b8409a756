"""The built book: `make book` comes first (`make test` sees to it)."""

import subprocess
from pathlib import Path

import build_book
import check_book
import pytest

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
WORDS = "one two three four five six seven eight nine ten"
PAGE = f"<html><head>{{head}}</head><body><article>{{body}} {WORDS}</article></body></html>"


@pytest.fixture
def html():
    if not (HTML / "index.html").is_file():
        pytest.fail("the book is not built: run `make book` first")
    return HTML


@pytest.fixture
def tiny_book(tmp_path):
    """A project with one page and a function that builds that page."""
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "html").mkdir()

    def build(body="", head=""):
        (tmp_path / "html" / "intro.html").write_text(PAGE.format(head=head, body=body))
        check_book._soup.cache_clear()
        return check_book.problems(tmp_path / "html", tmp_path)

    return build


def test_the_book_is_sound(html):
    assert check_book.problems(html, ROOT) == []


def test_every_chapter_is_in_the_table_of_contents():
    chapters = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert chapters <= set(check_book.documents(ROOT))


@pytest.mark.parametrize("document", [d for d in check_book.documents(ROOT) if d.startswith("chapters/")])
def test_chapter_page_shows_a_figure(html, document):
    soup = check_book._soup(html / f"{document}.html")
    assert soup.select("article figure img, article .cell_output img, article figure svg, article .cell_output svg")


def test_plain_links_to_other_hosts_are_fine(tiny_book):
    assert tiny_book('<a href="https://example.org/">there</a>') == []


@pytest.mark.parametrize(
    ("body", "head", "word"),
    [
        ('<img src="missing.png">', "", "image is missing"),
        ('<img src="https://example.org/a.png">', "", "another host"),
        ('<a href="gone.html">x</a>', "", "broken link"),
        ('<a href="#gone">x</a>', "", "no such place"),
        ("<p>Traceback (most recent call last)</p>", "", "traceback"),
        ("", '<script src="//example.org/a.js"></script>', "another host"),
        ("", '<link rel="stylesheet" href="https://example.org/a.css">', "another host"),
        ("", "<style>@import url(https://example.org/a.css)</style>", "another host"),
        ('<p style="background: url(https://example.org/a.png)"></p>', "", "another host"),
    ],
)
def test_a_fault_on_a_page_is_found(tiny_book, body, head, word):
    (problem,) = tiny_book(body, head)
    assert word in problem


def test_a_missing_page_is_found(tmp_path):
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n  - file: chapters/01_a\n")
    assert check_book.problems(tmp_path, tmp_path) == [
        "intro: the page was not built",
        "chapters/01_a: the page was not built",
    ]


def test_the_result_cache_is_renewed_when_the_library_changes(tmp_path):
    for name in ("lib", "data", "params"):
        (tmp_path / name).mkdir()
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "lib" / "a.py").write_text("x = 1\n")
    before = build_book.content_hash(tmp_path)
    (tmp_path / "lib" / "__pycache__").mkdir()
    (tmp_path / "lib" / "__pycache__" / "a.pyc").write_text("made")
    assert build_book.content_hash(tmp_path) == before
    (tmp_path / "lib" / "a.py").write_text("x = 2\n")
    assert build_book.content_hash(tmp_path) != before


def test_launch_buttons_appear_only_with_a_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("PATCHSCAPE_REPOSITORY", raising=False)
    if not build_book.book_config(tmp_path)["repository"]["url"]:
        assert "launch_buttons" not in build_book.book_config(tmp_path)
    monkeypatch.setenv("PATCHSCAPE_REPOSITORY", "https://example.org/a/b")
    assert "binderhub_url" in build_book.book_config(tmp_path)["launch_buttons"]


def test_every_entry_of_the_bibliography_is_well_formed():
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "references.bib")).entries
    for key, entry in entries.items():
        assert entry.persons.get("author"), key
        assert entry.fields.get("title"), key
        assert entry.fields.get("year", "").isdigit(), key


def test_make_help_lists_the_two_commands():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"book", "test", "figures", "env"} <= {line.split()[0] for line in text.splitlines()}
