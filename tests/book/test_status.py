"""Tables about the book itself."""

import ast
import hashlib
import json
import re

import nbformat
import pytest
from cases import ROOT

from patchscape.book import chapters, status

MEASURED = {"code": "abc", "created": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def figures():
    return status.figures().set_index("figure")


def test_every_captioned_figure_is_listed_once(figures):
    cells = [c for path in chapters.find_chapters(ROOT / "chapters").values() for c in nbformat.read(path, 4).cells]
    assert list(figures.index) == [
        c.metadata.mystnb.figure.name for c in cells if "figure" in c.metadata.get("mystnb", {})
    ]
    assert figures.index.is_unique


@pytest.mark.parametrize(
    ("figure", "sources"),
    [
        ("fig-patches", ()),
        ("fig-overview", ("published/eigenvalues.csv",)),
        ("fig-bound-stored", ("laptop",)),
        ("fig-scaling-law", ("controls", "laptop", "published/eigenvalues.csv")),
        ("fig-eight", ("laptop",)),
        ("fig-lambda-sweeps", ("chapters",)),
        ("fig-replay", ("published/training_log_epoch0.csv", "replay")),
        ("fig-others", ("results/benchmarks.json",)),
    ],
)
def test_a_figure_names_the_files_that_it_is_drawn_from(figures, figure, sources):
    assert figures.sources[figure] == sources


def test_every_stored_result_is_listed_once_with_its_checksum():
    folder = ROOT / "data" / "results"
    runs = status.result_files()
    others = status.other_files(runs)
    listed = [*(runs.grid + "/" + runs.file), *others.file]
    stored = [p.relative_to(folder).as_posix() for p in folder.rglob("*.safetensors") if "unfinished" not in p.parts]
    assert sorted(listed) == sorted([*stored, "benchmarks.json", "chapters.json"])
    row = others[others.file.str.endswith("-curvature.safetensors")].iloc[0]
    assert row.sha256 == hashlib.sha256((folder / row.file).read_bytes()).hexdigest()


def test_every_named_source_exists(figures):
    data = ROOT / "data"
    for source in {name for sources in figures.sources for name in sources}:
        assert (data / source).is_file() or (data / "results" / source).is_dir(), source


def test_no_chapter_calls_a_reader_that_is_not_known():
    of_tables = {f"tables.runs.{name}" for name in ("vary", "with_law", "with_factors", "kinds_of_runs")}
    known = {*status._READERS, *status._GRID_READERS, *of_tables}
    known |= {"tables.landscapes.step_lengths", "tables.spectra.against_redrawn", "tables.spectra.leading_part"}
    for path in chapters.find_chapters(ROOT / "chapters").values():
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code":
                readers = r"tables\.(?!published\.read\()\w+\.\w+|exact_spectrum\.similarities|speed\.stored\w+"
                called = re.findall(rf"\b({readers})\(", cell.source)
                assert set(called) <= known, f"{path.stem}: add it to status.py"


@pytest.mark.parametrize(
    ("source", "name", "files"),
    [
        ('x = tables.published.read("a")\ny = x + 1', "y", {"published/a.csv"}),
        ('x = tables.published.read("a")\nx = 1', "x", set()),
        ("x = tables.landscapes.read()", "x", {"landscapes"}),
        ('rows = []\nfor r in tables.runs.read("laptop"):\n    rows.append(r)', "rows", {"laptop"}),
        ('t = tables.runs.table(["paper", "controls"])', "t", {"paper", "controls"}),
        ("t = tables.runs.table()", "t", status._stored_grids()),
        ('t = {}\nt["a"] = tables.published.replays()', "t", {"replay", "published/training_log_epoch0.csv"}),
        ('x = tables.published.read("a")\ndef f():\n    return x\ny = f()', "y", {"published/a.csv"}),
    ],
)
def test_files_are_followed_through_names(source, name, files):
    known = {}
    status._follow(ast.parse(source), known)
    assert known[name] == files


def test_run_files_are_listed_with_their_provenance():
    table = status.result_files()
    assert table.file.is_unique
    assert table.train_code.str.fullmatch(r"[0-9a-f]{40}(\+changes)?").all()
    assert (table.hours > 0).all()
    assert (table.seeds > 0).all()


def test_chapter_costs_are_read_in_the_order_of_the_book(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    assert status.chapters().empty
    row = {"seconds": 1.0, "cpu_s": 2.0, "peak_mb": 3.0, "gflop_per_s": 4.0, "provenance": MEASURED}
    counted = {"compilations": 5.0, "compile_s": 6.0}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "chapters.json").write_text(json.dumps({"02_b": row, "01_a": row | counted}))
    table = status.chapters()
    assert list(table.chapter) == ["01_a", "02_b"]
    numbers = {"seconds": 1.0, "cpu_s": 2.0, "peak_mb": 3.0, "gflop_per_s": 4.0}
    assert table.loc[0].to_dict() == {"chapter": "01_a", **numbers, **counted, **MEASURED}
    assert table.loc[1, list(counted)].isna().all()  # measured before anything was counted
