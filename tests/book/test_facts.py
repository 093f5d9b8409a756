"""The numbers in the text of the book: handed over once, as text, and the same until somebody says otherwise."""

import json
import re

import golden_facts
import nbformat
import numpy as np
import pandas as pd
import pytest

from patchscape.book import chapters, say


@pytest.fixture
def book(monkeypatch):
    monkeypatch.delenv("PATCHSCAPE_FIGURES", raising=False)
    return chapters.Chapter("04_hessian", {"depth": 4})


@pytest.mark.book
def test_a_number_of_the_book_has_not_moved():
    moved = golden_facts.moved(golden_facts.golden(), golden_facts.of_the_book())
    assert not moved, "\n".join([*moved, "If that is right: python tools/golden_facts.py"])


def test_a_book_that_lacks_a_chapter_has_no_facts_to_compare(tmp_path):
    with pytest.raises(FileNotFoundError, match="the book is not built: run `make book` first"):
        golden_facts.of_the_book(tmp_path)
    (tmp_path / "jupyter-cache-0").mkdir()
    with pytest.raises(FileNotFoundError, match=r"01_architecture[.]ipynb is not in the book that was"):
        golden_facts.of_the_book(tmp_path)


def test_a_fact_that_moves_appears_or_goes_is_told():
    before = {"02_bound": {"t-a": "1", "t-b": "2", "t-c": "3"}}
    after = {"02_bound": {"t-a": "1", "t-b": "2.1"}, "04_hessian": {"h-a": "0"}}
    assert golden_facts.moved(before, after) == [
        "02_bound, t-b: '2' is now '2.1'",
        "02_bound, t-c: '3' is now nothing",
        "04_hessian, h-a: nothing is now '0'",
    ]


def test_what_is_computed_or_timed_while_the_book_is_built_is_not_kept():
    found = {"t-trace-live": "1", "t-trace-points-live": "1", "v-rate": "60", "t-trace-eight": "2", "s-top": "3"}
    assert golden_facts.stored(found) == {"t-trace-eight": "2"}


def test_facts_are_glued_as_text_under_the_names_of_the_prose(book, monkeypatch):
    glued = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, text, display: glued.update({name: text}))
    book.facts("h-late", n_patches="0.8 (n = 4)", runs=np.int64(3))
    book.facts("h", **{"to-c": "1"})
    assert glued == {"h-late-n-patches": "0.8 (n = 4)", "h-late-runs": "3", "h-to-c": "1"}


def test_the_tool_reads_what_was_glued():
    kind = "application/papermill.record/text/plain"
    glued = nbformat.v4.new_output(
        "display_data", {kind: "'1 to 2'"}, metadata={"scrapbook": {"name": "h-a", "mime_prefix": kind[:-10]}}
    )
    shown = nbformat.v4.new_output("display_data", {"text/plain": "'no fact'"})
    cell = nbformat.v4.new_code_cell(outputs=[shown, glued])
    assert golden_facts.glued(nbformat.v4.new_notebook(cells=[cell])) == {"h-a": "1 to 2"}


def test_a_name_given_twice_is_refused_with_one_sentence(book):
    book.facts("h", size_of="1")
    with pytest.raises(ValueError, match="the fact 'h-size-of' of chapter 04_hessian is given twice") as raised:
        book.facts("h", **{"size-of": "2"})
    assert "\n" not in str(raised.value)


def test_a_cell_may_be_run_again_but_no_other_gives_its_names(book, monkeypatch):
    cell, other = (compile("book.facts('h', runs=3)", name, "exec") for name in ("cell", "other"))
    for run in (1, 2):
        monkeypatch.setattr(chapters, "_execution", lambda run=run: run)
        exec(cell, {"book": book})
    monkeypatch.setattr(chapters, "_execution", lambda: 3)
    with pytest.raises(ValueError, match="given twice"):
        exec(other, {"book": book})


@pytest.mark.parametrize("value", [0.1, np.float64(0.1)])
def test_a_number_without_its_digits_is_refused(book, value):
    with pytest.raises(ValueError, match=re.escape(f"the fact 'h-rate' was given {value!r}: give text")):
        book.facts("h", rate=value)


def test_facts_lie_beside_the_figures(book, tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_FIGURES", str(tmp_path))
    book.facts("h", runs=3)
    book.facts("h", span="1 to 2")
    made = json.loads((tmp_path / "facts-04.json").read_text())
    assert made["facts"] == {"h-runs": "3", "h-span": "1 to 2"}
    assert made["chapter"] == "04_hessian"
    assert made["parameters"] == {"depth": 4}
    assert made["provenance"]["code"]


def test_a_table_has_a_caption_units_and_words_for_names():
    rows = pd.DataFrame({"n_patches": [4, 4, 9], "lambda_max": [1.0, 2.0, 0.0012345], "outliers": [9, 9, 8]})
    grouped = say.table(rows.groupby("n_patches").agg(["mean", "max"]), "What it shows.").to_html()
    for text in ("<caption>What it shows.</caption>", "patches n", "λ_max(H) (nats/rad²)", ">1.5<", ">0.00123<"):
        assert text in grouped
    flat = say.table(rows, "All rows.", {"outliers": "eigenvalues above"}, {"lambda_max": ".1f"}).to_html()
    for text in (">patches n<", ">eigenvalues above<", ">1.0<", ">0.0<"):
        assert text in flat
    assert "n_patches" not in grouped + flat
