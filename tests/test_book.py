"""The built book: `make book` comes first (`make test` sees to it)."""

import re
import subprocess
from pathlib import Path

import build_book
import check_book
import nbformat
import pytest
import yaml
from jupyter_cache import get_cache

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


@pytest.mark.parametrize("document", check_book.documents(ROOT))
def test_a_page_weighs_less_than_3_megabytes(html, document):
    assert check_book.weight(html / f"{document}.html", html) < 3_000_000


def test_the_weight_counts_images_once_and_no_shared_files(tmp_path):
    (tmp_path / "_static").mkdir()
    for name in ("a.png", "_static/b.js"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    page = tmp_path / "page.html"
    page.write_text('<img src="a.png"><img src="a.png"><script src="_static/b.js"></script>')
    assert check_book.weight(page, tmp_path) == 1000 + page.stat().st_size


def test_the_pages_workflow_runs_commands_of_the_makefile():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        assert re.fullmatch(r"make ([a-z]+)", command)[1] in targets


def test_the_citation_page_and_the_readme_say_what_the_citation_file_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    page, readme = (" ".join((ROOT / name).read_text().split()) for name in ("cite.md", "README.md"))
    paper = citation["preferred-citation"]
    for fact in (paper["title"], paper["journal"], str(paper["year"])):
        assert fact in page
        assert fact in readme
    for fact in (paper["url"], citation["title"], f"{{{citation['version']}}}", f"{{{citation['license']}}}"):
        assert fact in page


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
        ('<img src="https://example.org/a.png" alt="a">', "", "another host"),
        ('<img src="intro.html" alt="intro.html">', "", "no text for those who cannot see it"),
        ('<img src="intro.html">', "", "no text for those who cannot see it"),
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


def test_chapters_are_executed_side_by_side_and_one_that_fails_is_left_to_the_book(tmp_path):
    def write(name, source):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return tmp_path / f"{name}.ipynb"

    sound, failing = write("sound", "from pathlib import Path\nprint(Path.cwd().name)"), write("failing", "1 / 0")
    build_book.execute([failing, sound], tmp_path / "cache", timeout=60)
    cache = get_cache(tmp_path / "cache")
    _, executed = cache.merge_match_into_notebook(nbformat.read(sound, 4))
    assert executed.cells[0].outputs[0].text.strip() == tmp_path.name
    with pytest.raises(KeyError):
        cache.match_cache_notebook(nbformat.read(failing, 4))
    assert [record.uri for record in cache.list_cache_records()] == [str(sound)]


def test_every_chapter_is_executed_once():
    first = [path.stem for path in build_book.longest_first()]
    assert sorted([*first, *build_book.ALONE]) == sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
