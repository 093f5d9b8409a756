"""The built book: `make book` comes first (`make test` sees to it)."""

import json
import os
import re
import socket
import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import book_pages
import book_site
import build_book
import check_book
import codemeta
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import screenshots
import serve_book
import yaml
from bs4 import BeautifulSoup
from cases import ROOT
from jupyter_cache import get_cache
from myst_nb.core.render import MimeData

from patchscape.figures import front, tiles

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


@pytest.mark.book
def test_the_book_is_sound(html):
    assert check_book.problems(html, ROOT) == []


@pytest.mark.book
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


def test_codemeta_says_what_the_citation_file_says():
    stored = json.loads((ROOT / "codemeta.json").read_text())
    assert stored == codemeta.metadata(ROOT), "run `python tools/codemeta.py`"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert stored["version"] == citation["version"]
    assert stored["referencePublication"]["url"] == citation["preferred-citation"]["url"]
    assert stored["referencePublication"]["author"][0]["familyName"] == "Kawase"


def test_every_chapter_is_in_the_table_of_contents():
    chapters = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert chapters <= set(check_book.documents(ROOT))


@pytest.mark.book
@pytest.mark.parametrize("document", [d for d in check_book.documents(ROOT) if d.startswith("chapters/")])
def test_chapter_page_shows_a_figure(html, document):
    soup = check_book._soup(html / f"{document}.html")
    assert soup.select("article figure img, article .cell_output img, article figure svg, article .cell_output svg")


# Degrees on the colour wheel.
HUES = {"orange": (15, 45), "green": (90, 170), "blue": (190, 240), "purple": (245, 290), "pink": (295, 345)}


def missing_colours(caption, picture):
    """Colours that a caption names and its picture does not have."""
    hue, saturation, _ = np.moveaxis(matplotlib.colors.rgb_to_hsv(picture[..., :3]), -1, 0)
    words = set(re.findall(r"[a-z]+", caption.lower()))
    inside = {name: (low / 360 <= hue) & (hue <= high / 360) for name, (low, high) in HUES.items() if name in words}
    return [name for name, here in inside.items() if (here & (saturation > 0.2)).sum() < 20]


def test_a_colour_that_a_picture_lacks_is_found():
    picture = np.ones((40, 40, 4))
    picture[:20] = matplotlib.colors.to_rgba("#6a51a3")
    assert missing_colours("Pink: above. Purple, below.", picture) == ["pink"]


@pytest.mark.book
@pytest.mark.parametrize("document", [d for d in check_book.documents(ROOT) if d.startswith("chapters/")])
def test_captions_name_colours_that_their_figures_have(html, document):
    page = html / f"{document}.html"
    for figure in check_book._soup(page).select("article figure"):
        caption = figure.select_one("figcaption").get_text(" ")
        picture = page.parent / figure.select_one("img")["src"]
        if picture.suffix == ".png":
            assert missing_colours(caption, matplotlib.image.imread(picture)) == [], caption


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


def test_the_last_three_result_caches_are_kept(tmp_path):
    for age in range(5):
        (tmp_path / f"jupyter-cache-{age}").mkdir()
        os.utime(tmp_path / f"jupyter-cache-{age}", (1000 - age, 1000 - age))
    build_book.discard(tmp_path, tmp_path / "jupyter-cache-3")
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["0", "1", "3"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A build folder with a good book, chapters that need no execution, and a builder that writes one page."""
    monkeypatch.setattr(build_book, "BUILD", tmp_path)
    monkeypatch.setattr(build_book, "NEW", tmp_path / "new" / "_build")
    monkeypatch.setattr(build_book, "execute", lambda *_: None)
    monkeypatch.setattr(build_book, "keys", lambda: {"intro": "0"})
    monkeypatch.delenv("PATCHSCAPE_REPOSITORY", raising=False)
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("good")

    def builder(status, problems):
        def run(cache, builder, *options):
            (tmp_path / "new" / "_build" / "html").mkdir(parents=True)
            (tmp_path / "new" / "_build" / "html" / "index.html").write_text("new")
            return status

        monkeypatch.setattr(build_book, "run", run)
        monkeypatch.setattr(check_book, "problems", lambda *_: problems)

    return tmp_path / "html" / "index.html", builder


@pytest.mark.parametrize(
    ("status", "problems", "page"),
    [(0, [], "new"), (2, [], "good"), (0, ["intro: the page was not built"], "good")],
)
def test_the_last_good_book_stays_until_a_new_one_is_sound(project, capsys, status, problems, page):
    index, builder = project
    for _ in range(2):  # what a failed build left behind does no harm to the next
        builder(status, problems)
        assert (build_book.main() == 0) == (page == "new")
        assert index.read_text() == page


def test_a_build_that_is_stopped_leaves_the_last_good_book(project, monkeypatch):
    index, builder = project
    builder(0, [])
    monkeypatch.setattr(check_book, "problems", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_book.main()
    assert index.read_text() == "good"


def test_a_library_of_another_folder_does_not_make_this_book(project, monkeypatch, capsys):
    index, _ = project
    monkeypatch.setattr(build_book.patchscape, "__file__", str(index))
    assert build_book.main() == 1
    assert "not from this folder: run `make book`, without PYTHONPATH." in capsys.readouterr().err


def test_launch_buttons_appear_only_with_a_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("PATCHSCAPE_REPOSITORY", raising=False)
    if not build_book.book_config(tmp_path)["repository"]["url"]:
        assert "launch_buttons" not in build_book.book_config(tmp_path)
    monkeypatch.setenv("PATCHSCAPE_REPOSITORY", "https://github.com/a/b")
    assert "binderhub_url" in build_book.book_config(tmp_path)["launch_buttons"]
    monkeypatch.setenv("PATCHSCAPE_REPOSITORY", "https://gitlab.com/a/b")
    assert "launch_buttons" not in build_book.book_config(tmp_path)  # the theme has none for it, and would warn


@pytest.mark.parametrize(
    "given",
    [
        "https://github.com/a/b",
        "https://github.com/a/b/",
        "https://github.com/a/b.git",
        "https://GitHub.com/a/b.git/",
        "git@github.com:a/b.git",
        "ssh://git@github.com/a/b.git",
    ],
)
def test_every_address_of_a_clone_button_names_the_repository(given):
    assert build_book.repository_url(given) == "https://github.com/a/b"


@pytest.mark.parametrize(
    "given", ["a/b", "https://github.com/a", "https://example.org/a/b", "https://github.com/a/b/c d"]
)
def test_an_address_that_the_theme_cannot_use_is_refused(given, project, monkeypatch, capsys):
    monkeypatch.setenv("PATCHSCAPE_REPOSITORY", given)
    assert build_book.main() == 1
    assert f"is {given!r}: give an address on github.com" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("repository", "pages"),
    [
        ("https://github.com/Owner/book", "https://owner.github.io/book/"),
        ("https://github.com/owner/owner.github.io", "https://owner.github.io/"),
        ("https://gitlab.com/group/part/book", "https://group.gitlab.io/part/book/"),
        ("https://bitbucket.org/a/b", ""),
    ],
)
def test_the_address_of_the_site_follows_from_that_of_the_repository(repository, pages, monkeypatch, tmp_path):
    assert build_book.pages_url(repository) == pages
    monkeypatch.setenv("PATCHSCAPE_REPOSITORY", repository)
    assert build_book.book_config(tmp_path)["html"]["baseurl"] == pages
    monkeypatch.delenv("PATCHSCAPE_REPOSITORY")
    if not build_book.book_config(tmp_path)["repository"]["url"]:
        assert "baseurl" not in build_book.book_config(tmp_path)["html"]


def test_paper_has_no_previews(tmp_path):
    config = build_book.book_config(tmp_path)
    assert "book_tips" in config["sphinx"]["config"]["extensions"]
    build_book._without_previews(config["sphinx"])
    assert "book_tips" not in config["sphinx"]["config"]["extensions"]
    assert not [name for name in config["sphinx"]["config"] if name.startswith("tippy")]


@pytest.mark.parametrize("file", ["popper.min.js", "tippy.min.js", "LICENSE-popper.txt", "LICENSE-tippy.txt"])
def test_what_previews_need_comes_with_its_licence(file):
    assert (ROOT / "vendor" / "tippy" / file).stat().st_size < 30_000


INDEX = """First words about zebras in $\\lambda_{\\max}\\propto 1/n$.

```python
giraffe = 1
```
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Pages of a small book with the project's extensions for machines and previews, built twice.

    And once more, without an address.
    """
    folder = tmp_path_factory.mktemp("site")
    (folder / "picture.png").write_bytes(_png(60, 30))
    (folder / "index.md").write_text(
        f"# One\n\n{INDEX}\n{{ref}}`other` and {{ref}}`more`\n\n```{{toctree}}\n:hidden:\nother\n```\n\n"
        "```{figure} picture.png\n:alt: Two < three\nA caption.\n```\n"
    )
    (folder / "other.md").write_text("(other)=\n# Two & three\n\nLess < more text.\n\n(more)=\n## More\n\nText.\n")
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx-mathjax-offline', 'book_tips', 'book_site']\n"
        "html_title = 'A book'\nnitpicky = True\n"
        "myst_enable_extensions = ['dollarmath']\nhtml_baseurl = 'https://a.github.io/b/'\n"
        "tippy_enable_doitips = tippy_enable_wikitips = False\ntippy_enable_mathjax = True\n"
        f"html_extra_path = [{str(ROOT / 'vendor')!r}]\n"
        "tippy_js = ['../tippy/popper.min.js', '../tippy/tippy.min.js']\n"
    )
    nowhere = ["-D", "html_baseurl="]
    for name, seed, more in (("first", "1", []), ("second", "2", []), ("nowhere", "1", nowhere)):  # sets: another order
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-qWnE",
            "--keep-going",
            "-b",
            "html",
            "-d",
            str(folder / f"{name}-trees"),
            *more,
        ]
        subprocess.run([*command, str(folder), str(folder / name)], check=True, env=environment, cwd=ROOT / "tools")
    return folder / "first", folder / "second", folder / "nowhere"


def _png(width, height):
    file = BytesIO()
    plt.imsave(file, np.zeros((height, width, 3)), format="png")
    return file.getvalue()


def _tags(page):
    tags = check_book._soup(page).head.find_all("meta")
    return {tag.get("property") or tag.get("name"): tag["content"] for tag in tags if tag.get("content")}


@pytest.mark.slow
def test_machines_find_titles_descriptions_and_every_page(site):
    html, *_ = site
    content = _tags(html / "index.html")
    assert (
        content["description"]
        == content["og:description"]
        == "First words about zebras in λ_max∝ 1/n. Two & three and More"
    )
    assert content["og:site_name"] == "A book"
    assert content["og:title"] == "One"
    assert content["og:url"] == "https://a.github.io/b/index.html"
    other = check_book._soup(html / "other.html").head
    assert other.find("meta", attrs={"property": "og:title"})["content"] == "Two & three"
    assert other.find("meta", attrs={"name": "description"})["content"] == "Less < more text. Text."
    assert re.findall(r"<loc>(.*?)</loc>", (html / "sitemap.xml").read_text()) == [
        "https://a.github.io/b/index.html",
        "https://a.github.io/b/other.html",
    ]


@pytest.mark.slow
def test_other_sites_get_a_picture_with_every_link(site):
    html, *_ = site
    for name in ("index.html", "other.html"):
        content = _tags(html / name)
        assert content["og:image"] == "https://a.github.io/b/card.png"
        assert (content["og:image:width"], content["og:image:height"]) == ("1200", "630")
        assert content["og:image:alt"] == "A book. Two < three"
        assert content["twitter:card"] == "summary_large_image"
    assert plt.imread(html / "card.png").shape[:2] == (630, 1200)


@pytest.mark.slow
def test_without_an_address_there_is_no_picture_for_other_sites(site):
    *_, nowhere = site
    content = _tags(nowhere / "index.html")
    assert content["og:title"] == "One"
    assert not [name for name in content if "image" in name or "twitter" in name]
    assert not (nowhere / "card.png").exists()


@pytest.mark.book
def test_the_card_of_the_book_is_the_figure_of_its_front_page_and_light(html):
    source = check_book._soup(html / "intro.html").select_one("#fig-main img")["src"]
    first, second = (front.card(html / source, "A book", "One line.") for _ in range(2))
    assert first == second
    assert 30_000 < len(first) < 300_000


@pytest.mark.slow
def test_the_page_for_lost_readers_finds_its_files_under_any_address(site):
    page = check_book._soup(site[0] / "404.html")
    assert page.find("base")["href"] == "/b/"
    assert page.find("a", href="index.html")
    assert page.find("base").sourceline <= page.find("link", rel="stylesheet").sourceline


@pytest.mark.slow
def test_the_search_knows_the_words_of_the_prose_and_not_those_of_the_code(site):
    index = (site[0] / "searchindex.js").read_text()
    assert "zebra" in index
    assert "giraff" not in index


@pytest.mark.slow
def test_two_builds_are_the_same_and_keep_no_cache(site):
    first, second = ({p.relative_to(html): p.read_bytes() for p in html.rglob("*") if p.is_file()} for html in site[:2])
    assert first == second
    assert any("tippy" in path.parts for path in first)
    assert not [path for path in first if "cache" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["focus", "hover"])
def test_a_link_shows_what_it_leads_to_and_asks_no_other_host(browser, site, by):
    context = browser.new_context(offline=True)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith("file:") else faults.append(f"asked for {r.url}"))
    page.goto((site[0] / "index.html").as_uri())
    link = page.locator('a[href="other.html#more"]').first
    getattr(link, by)()
    page.locator(".tippy-box", has_text="More").wait_for(state="visible")
    assert link.get_attribute("aria-describedby")
    assert faults == []
    context.close()


def test_a_description_ends_with_a_word():
    from docutils.core import publish_doctree

    text = book_site.description(publish_doctree("word " * 100))
    assert len(text) <= book_site.LONGEST
    assert text.endswith("word…")


def test_what_belongs_to_a_figure_is_kept_under_its_label_until_its_page_is_read_again():
    env = SimpleNamespace(docname="a")
    cut = {"height": 0.5, "tiles": [[(0, 0, 1, 0.5)]]}
    for metadata in (FIGURE, {}):  # a picture without a label has no link
        for kind, content in (("text/csv", "x,y\n1,2\n"), (tiles.KIND, cut)):
            book_pages.keep_output(env, MimeData(kind, content, cell_metadata=metadata))
    assert env.figure_outputs == {"a": {"fig-a": {"text/csv": "x,y\n1,2\n", tiles.KIND: cut}}}
    book_pages.forget_outputs(None, env, "a")
    assert env.figure_outputs == {}


def test_pieces_show_their_parts_of_the_picture_at_one_scale():
    cut = {"height": 0.5, "tiles": [[(0.0, 0.0, 0.5, 0.4)], [(0.0, 0.0, 0.1, 0.4), (0.6, 0.0, 0.4, 0.4)]]}
    link = BeautifulSoup(book_pages.pieces("a.png", cut), "html.parser").a
    assert (link["href"], link["aria-hidden"], link["tabindex"]) == ("a.png", "true", "-1")
    first, second = link.select(".figure-tile")
    assert first["style"] == second["style"] == "width:min(100.00%,364px)"
    looks = [dict(part.split(":") for part in span["style"].split(";")) for span in link.select(".figure-tile > span")]
    assert [look["width"] for look in looks] == ["100.00%", "20.00%", "80.00%"]
    assert [float(look["aspect-ratio"]) for look in looks] == [1.25, 0.25, 1.0]
    # CSS: the position is the share of what is out of sight that lies on the left (on top), the size that of the whole
    wanted = ["0.00% 0.00%/200.00% auto", "0.00% 0.00%/1000.00% auto", "100.00% 0.00%/250.00% auto"]
    assert [look["background"] for look in looks] == [f"url(a.png) {place}" for place in wanted]


def test_four_narrow_columns_stand_in_two_rows_and_one_picture_fills_the_column():
    four = {"height": 0.5, "tiles": [[(0.25 * i, 0.0, 0.25, 0.4)] for i in range(4)]}
    assert "width:min(49.00%,182px)" in book_pages.pieces("a.png", four)
    whole = {"height": 0.5, "tiles": [[(0.0, 0.0, 1.0, 0.5)]]}
    assert 'style="width:min(100.00%,728px)"' in book_pages.pieces("a.png", whole)
    assert "0% 0%/100.00% auto" in book_pages.pieces("a.png", whole)


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


FIGURE = {"mystnb": {"figure": {"name": "fig-a", "caption": "A figure."}}}


@pytest.mark.slow
def test_chapters_are_executed_side_by_side_and_one_that_fails_is_left_to_the_book(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")  # usual on machines without a display

    def write(name, source, metadata):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, metadata=metadata)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return tmp_path / f"{name}.ipynb"

    draw = "import matplotlib.pyplot as plt\nfrom patchscape import figures\nfigures.use_style()\nplt.plot([1]);"
    chapters = {
        "sound": ("from pathlib import Path\nprint(Path.cwd().name)\n" + draw, FIGURE),
        "failing": ("1 / 0", {}),
        "without its figure": ("print('no figure')", FIGURE),
    }
    paths = {name: write(name, *content) for name, content in chapters.items()}
    build_book.execute(paths.values(), tmp_path / "cache", timeout=60)
    cache = get_cache(tmp_path / "cache")
    _, executed = cache.merge_match_into_notebook(nbformat.read(paths["sound"], 4))
    assert executed.cells[0].outputs[0].text.strip() == tmp_path.name
    with pytest.raises(KeyError):
        cache.match_cache_notebook(nbformat.read(paths["failing"], 4))
    assert [record.uri for record in cache.list_cache_records()] == [str(paths["sound"])]
    build_book.forget(tmp_path / "cache", {"und", "intro"})
    assert len(cache.list_cache_records()) == 1
    build_book.forget(tmp_path / "cache", {"sound"})
    assert cache.list_cache_records() == []


def test_every_chapter_is_executed_once():
    first = [path.stem for path in build_book.longest_first()]
    assert sorted([*first, *build_book.ALONE]) == sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))


def test_serving_a_book_that_is_not_built_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(serve_book, "HTML", tmp_path)
    assert serve_book.main("8000") == "The book is not built yet: run `make book` first."


def test_pictures_of_a_book_that_is_not_built_or_of_a_page_that_is_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots.browser, "CHROMIUM", None)
    assert screenshots.main() == screenshots.browser.MISSING
    monkeypatch.setattr(screenshots.browser, "CHROMIUM", "chromium")
    monkeypatch.setattr(screenshots, "ROOT", tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    assert screenshots.main() == "The book is not built yet: run `make book` first."
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("")
    assert screenshots.main("into") == "The book has no page 'into': choose from intro."


def test_a_port_that_is_taken_or_is_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(serve_book, "HTML", tmp_path)
    (tmp_path / "index.html").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve_book.main(port).startswith(f"Port {port} cannot be had (Address already in use): name another")
    for wrong in ("eight", "0", "-1", "65536", ""):
        assert serve_book.main(wrong) == f"PORT={wrong}: give a number from 1 to 65535."


def test_the_book_is_served_to_this_machine_only(tmp_path, monkeypatch):
    monkeypatch.setattr(serve_book, "HTML", tmp_path)
    (tmp_path / "index.html").write_text("")
    served = []
    monkeypatch.setattr(serve_book.ThreadingHTTPServer, "serve_forever", lambda server: served.append(server))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert serve_book.main(str(port)) is None
    assert served[0].server_address == ("127.0.0.1", port)
