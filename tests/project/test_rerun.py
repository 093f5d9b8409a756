"""Running a chapter again with values of one's own: what it writes, and what it says."""

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from cases import ROOT
from typer.testing import CliRunner

from patchscape import cli, figures
from patchscape.book import chapters, pages
from patchscape.figures import drawn

text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
SAVE = "Path(os.environ['PATCHSCAPE_FIGURES'], 'tiny.png').write_text(str(depth))"


def write(path, *cells):
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=list(cells)), path)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder with two chapters: 01_tiny saves a figure and then divides by its depth, 12_other does nothing."""
    monkeypatch.chdir(tmp_path)
    declared = code("depth: int = 3  # layers", metadata={"tags": ["parameters"]})
    write(
        tmp_path / "chapters" / "01_tiny.ipynb",
        text("(tiny)=\n# Tiny\n\nA chapter."),
        declared,
        code(f"import os\nfrom pathlib import Path\n{SAVE}"),
        text("## The division\n\nHere it may fail."),
        code("if depth == 0:\n    raise ValueError('depth=0: choose at least 1.')\n1 / (depth - 1)"),
    )
    write(tmp_path / "chapters" / "12_other.ipynb", text("# Other"), declared)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([], ["01_tiny", "12_other"]),
        (["1"], ["01_tiny"]),
        (["01"], ["01_tiny"]),
        (["12_other", "01_tiny", "1"], ["01_tiny", "12_other"]),
    ],
)
def test_chapters_are_chosen_by_number_or_name(book, given, names):
    assert list(chapters.choose(given, chapters.find_chapters())) == names


def test_parameters_are_read_as_yaml():
    assert chapters.read_values(["depth=3", "depths=[2, 5]", "rate=1.0e-3", "view=pca", "quick=false"]) == {
        "depth": 3,
        "depths": [2, 5],
        "rate": 1e-3,
        "view": "pca",
        "quick": False,
    }


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ([], {"01_tiny": {}, "12_other": {}}),
        (["--chapter", "1"], {"01_tiny": {}}),
        (["--chapter", "1", "--params", "tier.yaml"], {"01_tiny": {"depth": 7}}),
        (["--chapter", "1", "--params", "tier.yaml", "-p", "depth=9"], {"01_tiny": {"depth": 9}}),
        (["--chapter", "1", "--chapter", "12", "-p", "depth=9"], {"01_tiny": {"depth": 9}, "12_other": {"depth": 9}}),
    ],
)
def test_values_given_by_name_go_before_those_of_a_tier_and_of_the_chapter(book, monkeypatch, options, plan):
    Path("tier.yaml").write_text("01_tiny: {depth: 7}")
    ran = []
    monkeypatch.setattr(chapters, "make_figures", lambda plan, *_, **__: ran.append(plan) or ([], {}))
    monkeypatch.setattr(pages, "render", lambda *_: {})
    done = CliRunner().invoke(cli.app, ["figures", *options])
    assert done.exit_code == 0, done.output
    assert ran == [plan]


@pytest.mark.parametrize(
    ("depth", "reason"), [(1, "ZeroDivisionError: division by zero."), (0, "depth=0: choose at least 1.")]
)
def test_a_chapter_that_fails_says_where_and_why_in_one_sentence_and_keeps_its_figures(book, depth, reason):
    lines, known = [], chapters.find_chapters()
    notebook = Path("out/notebooks/01_tiny.ipynb")
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        chapters.make_figures({"01_tiny": {"depth": depth}, "12_other": {}}, known, "out", tell=lines.append)
    assert str(raised.value) == (
        f"chapter 01_tiny stopped in cell 4 of 4 (The division): {reason} "
        f"The notebook with the whole error is {notebook}."
    )
    assert lines == [f"01_tiny: cell {i} of 4 ({'Tiny' if i < 4 else 'The division'})" for i in (1, 2, 3, 4)]
    assert Path("out/tiny.png").read_text() == str(depth)
    assert nbformat.read(notebook, as_version=4).cells[-1].outputs[-1].output_type == "error"
    assert not list(Path("out").glob(".new-*"))


def test_a_chapter_that_runs_gives_its_figures_and_its_notebook(book):
    written, notebooks = chapters.make_figures({"01_tiny": {}}, chapters.find_chapters(), "out")
    assert written == [Path("out/tiny.png")]
    assert written[0].read_text() == "3"
    assert notebooks == {"01_tiny": Path("out/notebooks/01_tiny.ipynb")}


@pytest.mark.filterwarnings("ignore")  # of the libraries that make pages
def test_a_page_has_the_numbers_of_the_run_and_the_book_and_no_links_to_pages_that_are_not_there(tmp_path, monkeypatch):
    for name in ("_config.yml", "references.bib"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "_static", tmp_path / "_static")
    toc = {"format": "jb-book", "root": "intro"}
    numbered = {"numbered": True, "chapters": [{"file": "chapters/01_tiny"}, {"file": "chapters/02_other"}]}
    toc["parts"] = [numbered, {"chapters": [{"file": "references"}]}]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    head = "---\nfile_format: mystnb\nkernelspec: {name: python3}\nmystnb: {execution_mode: force}\n---\n\n"
    (tmp_path / "intro.md").write_text(head + "# Intro\n\n```{code-cell}\n1\n```\n")
    shutil.copy(ROOT / "references.md", tmp_path)
    glued = nbformat.v4.new_output(
        "display_data", {"text/plain": "'0.25'"}, metadata={"scrapbook": {"name": "n", "mime_prefix": ""}}
    )
    prose = "It is {glue:text}`n`, see {numref}`fig-b`, {eq}`eq-b`, [other](02_other.ipynb), {cite}`kawase2025effect`."
    prose = f"# Tiny\n\n{prose}"
    write(tmp_path / "chapters" / "01_tiny.ipynb", text(prose), code("glue()", outputs=[glued]))
    figure = {"mystnb": {"figure": {"name": "fig-b", "caption": "A figure."}}}
    write(
        tmp_path / "chapters" / "02_other.ipynb", text("# Other\n\n$$\nx\n$$ (eq-b)"), code("plot()", metadata=figure)
    )
    executed = shutil.move(tmp_path / "chapters" / "01_tiny.ipynb", tmp_path / "executed.ipynb")
    write(tmp_path / "chapters" / "01_tiny.ipynb", text(prose))

    started = []
    monkeypatch.setattr("myst_nb.core.execute.direct.single_nb_execution", lambda *_, **__: started.append(1))
    found = pages.render({"01_tiny": executed}, tmp_path / "pages", tmp_path)
    article = BeautifulSoup(found["01_tiny"].read_text(), "html.parser").find("article")
    assert "It is 0.25, see Fig. 2.1, (2.1), other, [Kawase, 2025]." in " ".join(article.text.split())
    links = [link["href"] for link in article.find_all("a", href=True)]
    assert [link for link in links if ".html" in link] == []
    assert [path.name for path in (tmp_path / "pages" / "chapters").iterdir()] == ["01_tiny.html"]
    assert not started


def test_the_table_of_a_figure_holds_what_was_drawn():
    fig, (left, right) = plt.subplots(1, 2)
    left.set(xlabel="n", ylabel="eigenvalue", title="ours")
    left.plot([1, 2], [3.0, np.nan], color="red", label="line")
    left.plot([1, 2], [3.5, 4.5], color="red")
    left.axhline(0.5)
    left.scatter([1, 2], [5, 6])
    left.errorbar([4], [7], [2], label="mean")
    left.bar([1], [8], width=0.5, label="count")
    x, y, values = np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0]), np.arange(6.0).reshape(3, 2)
    drawn.remember(right.contourf(x, y, values), x, y, values)
    drawing = fig.add_axes((0, 0, 1, 1))
    drawing.plot([0, 1], [0, 1])
    drawing.set_axis_off()
    table = drawn.table(fig)
    plt.close(fig)

    def rows(kind, *columns):
        return table[table.kind == kind][list(columns)].to_numpy().tolist()

    assert table.panel.unique().tolist() == [1, 2]
    assert set(table[table.panel == 1].y_label) == {"eigenvalue"}
    line = table[table.series == "line"]
    assert line.x.tolist() == [1, 2]
    np.testing.assert_array_equal(line.y, [3, np.nan])
    assert line.colour.unique().tolist() == ["#ff0000"]
    assert table[table.colour == "#ff0000"].groupby("item").y.apply(list).iloc[1] == [3.5, 4.5]
    across = table[(table.kind == "line") & table.x.isna()]
    assert across.y.tolist() == [0.5]
    assert rows("point", "x", "y") == [[1, 5], [2, 6]]
    assert rows("error bar", "series", "x", "y", "x_end", "y_end") == [["mean", 4, 5, 4, 9]]
    assert rows("bar", "series", "x", "y", "x_end", "y_end") == [["count", 0.75, 0, 1.25, 8]]
    assert rows("height", "x", "y", "value") == [[a, b, values[j, i]] for j, b in enumerate(y) for i, a in enumerate(x)]


def test_pixels_of_an_image_stand_at_their_centres():
    fig, ax = plt.subplots()
    ax.imshow([[1, 2], [3, 4]], extent=(0, 4, 4, 0))
    table = drawn.table(fig)
    plt.close(fig)
    assert table[["x", "y", "value"]].to_numpy().tolist() == [[1, 1, 1], [3, 1, 2], [1, 3, 3], [3, 3, 4]]


def test_a_surface_in_three_dimensions_has_its_heights_in_the_table():
    fig, ax = plt.subplots(subplot_kw={"projection": "3d"})
    x, y, values = np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0]), np.arange(6.0).reshape(3, 2)
    drawn.remember(ax.plot_surface(*np.meshgrid(x, y), np.log10(values + 1)), x, y, values)
    table = drawn.table(fig)
    plt.close(fig)
    assert table.value.tolist() == list(range(6))


def test_a_saved_figure_has_its_data_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_FIGURES", str(tmp_path))
    fig, ax = plt.subplots()
    ax.plot([1, 2], [3, 4])
    figures.save(fig, "01-line", {})
    ax.set_axis_off()
    figures.save(fig, "01-drawing", {})
    plt.close(fig)
    assert pd.read_csv(tmp_path / "01-line.csv").y.tolist() == [3, 4]
    assert not (tmp_path / "01-drawing.csv").exists()
