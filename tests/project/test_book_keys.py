"""What each document of the book depends on: nothing stale, and little executed twice."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import book_keys
import build_book
import check_book
import nbformat
import numpy as np
import pandas as pd
import pytest
from cases import ROOT
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

LIBRARY = {
    "__init__": "",
    "project": "from pathlib import Path\ndef root(): return Path('.')",
    "data": "from patchscape import project\ndef folder(): return project.root() / 'data'\n"
    "def load(): return folder() / 'mnist'",
    "config": "SIZE = 1",
    "blocks": "from patchscape.config import SIZE",
    "simulator": "def run():\n    from patchscape import blocks",  # imported when it runs
    "stored": "from patchscape.data import folder\ndef read(grid): return (folder() / 'results' / grid).iterdir()\n"
    "def planes(): return folder() / 'results' / 'landscapes'\ndef mean(table): return table",
    "tables": "from patchscape import stored\ndef best(): return stored.read('laptop')",
    "figures/__init__": "from patchscape.figures.a import draw\nfrom patchscape.figures.b import paint\n"
    "__all__ = ['draw', 'paint']",
    "figures/style": "COLOUR = 1",
    "figures/a": "from .style import COLOUR\ndef draw(): pass",
    "figures/b": "from patchscape.figures.style import COLOUR\ndef paint(): return 'page.html'",
}
DOCUMENTS = {
    "drawing": "from patchscape import data, figures, simulator\nimages = data.load()\nfigures.draw()",
    "painting": "import patchscape.figures as f\nfrom patchscape import stored\nf.paint(stored.read('laptop'))",
    "planes": "from patchscape import stored\nstored.mean(stored.planes())",
}
FILES = ["laptop/a.safetensors", "controls/a.safetensors", "landscapes/a.safetensors", "benchmarks.json"]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A tiny project: its folder, and a function that returns which documents' keys a change of a file renews."""
    monkeypatch.setattr(
        book_keys, "_SOURCES", {("patchscape.data", "folder"): ("data",), ("patchscape.project", "root"): ()}
    )
    monkeypatch.setattr(book_keys.status, "_READERS", {})
    monkeypatch.setattr(book_keys.status, "_GRID_READERS", {"stored.read"})

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def document(name, code):
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), tmp_path / f"chapters/{name}.ipynb"
        )

    for name, text in LIBRARY.items():
        write(f"lib/patchscape/{name}.py", text)
    for name in FILES:
        write(f"data/results/{name}", "")
    for name in ("params/quick.yaml", "data/published/a.csv", "data/mnist/a.gz"):
        write(name, "")
    write("intro.md", "No code.")
    write("_toc.yml", "root: intro\nchapters:\n" + "".join(f"- file: chapters/{name}\n" for name in DOCUMENTS))
    (tmp_path / "chapters").mkdir()
    for name, code in DOCUMENTS.items():
        document(name, code)

    def keys():
        return {
            name.removeprefix("chapters/"): key for name, key in book_keys.keys(tmp_path, tmp_path / "data", "").items()
        }

    def renewed(name, text="changed = 1"):
        before = keys()
        write(name, text)
        after = keys()
        assert after.keys() == before.keys() == DOCUMENTS.keys()
        return {name for name in DOCUMENTS if after[name] != before[name]}

    return SimpleNamespace(document=document, renewed=renewed, folder=tmp_path)


ALL = set(DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "documents"),
    [
        ("lib/patchscape/figures/a.py", {"drawing"}),
        ("lib/patchscape/figures/b.py", {"painting"}),
        ("lib/patchscape/figures/style.py", {"drawing", "painting"}),
        ("lib/patchscape/config.py", {"drawing"}),
        ("lib/patchscape/blocks.py", {"drawing"}),
        ("lib/patchscape/stored.py", {"painting", "planes"}),
        ("lib/patchscape/tables.py", set()),
        ("lib/patchscape/__init__.py", ALL),
        ("lib/patchscape/assets/page.html", {"painting"}),
        ("lib/patchscape/assets/named_nowhere.html", ALL),
        ("params/quick.yaml", ALL),
        ("data/published/a.csv", ALL),
        ("data/mnist/b.gz", ALL),
        ("data/results/laptop/a.safetensors", {"painting"}),
        ("data/results/laptop/new.safetensors", {"painting"}),
        ("data/results/controls/a.safetensors", set()),
        ("data/results/landscapes/a.safetensors", {"planes"}),
        ("data/results/benchmarks.json", set()),
        # trials, and a reader's own runs
        ("lib/patchscape/__pycache__/stored.pyc", set()),
        ("lib/patchscape.egg-info/PKG-INFO", set()),
        ("data/results/smoke/digits-n1.safetensors", set()),
        ("data/results/digits-n4.safetensors", set()),
        ("data/results/laptop/unfinished/digits-n4.safetensors", set()),
        ("data/results/laptop/digits-n4.safetensors.damaged", set()),
        ("runs/digits-n4.safetensors", set()),
        ("out/01.ipynb", set()),
    ],
)
def test_a_change_renews_the_keys_of_the_documents_that_depend_on_it_and_of_no_other(book, name, documents):
    assert book.renewed(name) == documents


@pytest.mark.parametrize(
    "code",
    [
        "name = 'stored'\nimport importlib\nimportlib.import_module(f'patchscape.{name}')",
        "__import__('patchscape')",
        "from patchscape.stored import *",
        "import pathlib\npathlib.Path('x').read_text()",
        "open('x')",
        "import pandas as pd\npd.read_csv('../data/results/benchmarks.json')",
        "%run other.py",
        "from patchscape import project\nproject.root()",
    ],
)
def test_a_document_whose_code_cannot_be_followed_depends_on_everything(book, code):
    book.document("drawing", code)
    for name in ("lib/patchscape/tables.py", "data/results/benchmarks.json", "chapters/planes.ipynb"):
        text = nbformat.writes(nbformat.v4.new_notebook()) if name.endswith("ipynb") else "changed = 1"
        assert "drawing" in book.renewed(name, text)


def test_a_module_that_imports_by_name_makes_its_documents_depend_on_everything(book):
    book.renewed("lib/patchscape/blocks.py", "import importlib\nimportlib.import_module('patchscape.' + 'tables')")
    assert book.renewed("lib/patchscape/tables.py") == {"drawing"}


@pytest.mark.parametrize(
    ("code", "documents"),
    [
        ("from patchscape import figures\nx = figures", {"drawing"}),  # may be used in any way
        ("from patchscape import figures\ngetattr(figures, 'pa' + 'int')()", {"drawing"}),
        ("from patchscape.figures.b import paint", {"drawing"}),
        ("from patchscape.figures import paint as draw", {"drawing"}),
        ("import patchscape.figures.b", {"drawing"}),
        ("import patchscape\npatchscape.figures.paint()", {"drawing"}),
        ("from patchscape.figures import a", set()),
    ],
)
def test_whatever_way_a_figure_is_imported_its_module_counts(book, code, documents):
    book.document("drawing", code)
    assert book.renewed("lib/patchscape/figures/b.py") == {*documents, "painting"}


def test_a_module_that_does_something_on_import_counts_for_all_that_import_it(book):
    book.renewed("lib/patchscape/figures/b.py", "import numpy\nnumpy.seterr(all='raise')\ndef paint(): pass")
    assert book.renewed("lib/patchscape/figures/b.py") == {"drawing", "painting"}


def test_a_package_that_does_more_than_collect_names_counts_as_a_whole(book):
    text = LIBRARY["figures/__init__"]
    assert book.renewed("lib/patchscape/figures/__init__.py", text + "\nfrom patchscape import config") == set()
    for more in ("\nX = 1", "\nfrom patchscape.figures.a import draw as paint"):
        book.renewed("lib/patchscape/figures/__init__.py", text + more)
        assert book.renewed("lib/patchscape/figures/a.py", f"def draw(): return {len(more)}") >= {"drawing", "painting"}


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("stored.read('laptop')", {"laptop"}),
        ("[stored.read(name) for name in ('laptop',)]", {"laptop", "controls"}),  # any grid
        ("read = stored.read\nread('laptop')", set(FILES)),
        ("from patchscape.stored import read\nread('laptop')", set(FILES)),
        ("from patchscape import tables\ntables.best()", set(FILES)),  # it reads, and no list says what
        ("from patchscape import data\nfolder = data.folder()", set(FILES)),
        ("from patchscape import data\ndata.folder() / 'published' / 'a.csv'", set()),
        ("from patchscape import data\ndata.folder() / 'results' / 'benchmarks.json'", {"benchmarks.json"}),
        ("from patchscape import data\ndata.folder() / 'published' / '..' / 'results'", set(FILES)),
        ("def f(stored=stored.read):\n    stored = 1", set(FILES)),
    ],
)
def test_stored_results_count_for_those_who_may_read_them(book, code, reads):
    book.document("drawing", f"from patchscape import stored\n{code}")
    found = {name for name in FILES if "drawing" in book.renewed(f"data/results/{name}")}
    assert found == {name for name in FILES if name in reads or name.split("/")[0] in reads}


def test_only_the_environment_part_is_the_same_for_all(book):
    one, other = (book_keys.keys(book.folder, book.folder / "data", text) for text in ("jax 1", "jax 2"))
    assert all(one[name] != other[name] for name in one)


# --- the book itself ---


@pytest.fixture(scope="module")
def dependencies():
    return book_keys.dependencies(ROOT, book_keys.inputs(ROOT, ROOT / "data"))


IMPORTED = """
import json, sys
found = {}
for name, code in json.load(sys.stdin).items():
    for module in [m for m in sys.modules if m.split(".")[0] == "patchscape"]:
        del sys.modules[module]
    exec(code, {})
    found[name] = [m for m in sys.modules if m.split(".")[0] == "patchscape"]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_module_that_python_loads_counts_unless_a_package_only_collects_it(dependencies):
    library, codes = book_keys.Library(ROOT / "lib"), {}
    for name in dependencies:
        if name != "status":  # depends on everything
            tree = book_keys.code_of(ROOT / name, library).tree
            lines = [ast.unparse(s) for s in ast.walk(tree) if isinstance(s, ast.ImportFrom) and library.owns(s.module)]
            codes[name] = "\n".join(lines)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], input=json.dumps(codes), capture_output=True, text=True, check=True
    )
    for name, loaded in json.loads(done.stdout).items():
        missing = {module for module in loaded if ("lib", *library.file(module)) not in dependencies[name]}
        assert len(loaded) > len(missing) > 0
        collected = set().union(*(library._imports(module) for module in missing if library.module(module).is_facade))
        assert missing <= collected
        assert all(library.module(module).is_inert for module in missing)


def test_the_documents_that_need_everything_are_few(dependencies):
    everything = max(map(len, dependencies.values()))
    assert [name for name, places in dependencies.items() if len(places) == everything] == ["status"]
    for module in (ROOT / "lib" / "patchscape" / "figures").glob("*.py"):
        users = [
            name for name, places in dependencies.items() if ("lib", "patchscape", "figures", module.name) in places
        ]
        # how every figure looks, is laid out and is described
        assert len(users) <= 5 or module.stem in {"style", "tiles", "drawn"}, module.stem


def flat(value):
    """What a reader returns, comparable wherever the data folder is."""
    if isinstance(value, pd.DataFrame):
        return value.to_csv()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Path):
        return value.name
    if isinstance(value, dict):
        return [(key, flat(item)) for key, item in value.items()]
    if isinstance(value, list | tuple) or hasattr(value, "__next__"):
        return [flat(item) for item in value]
    return repr(value)


@pytest.mark.slow
def test_a_reader_with_a_list_of_what_it_reads_reads_nothing_else(tmp_path, monkeypatch):
    library = book_keys.Library(ROOT / "lib")
    calls = {}
    for document in check_book.documents(ROOT):
        code = book_keys.code_of(ROOT / document, library)
        for node, dotted, above in code.uses([code.tree]) if code else ():
            call = above[-1] if above and isinstance(above[-1], ast.Call) and above[-1].func is node else None
            listed = call and book_keys._listed(call)
            if listed and all(
                isinstance(n, ast.Constant | ast.List | ast.Load) for a in call.args for n in ast.walk(a)
            ):
                calls[ast.unparse(call)] = (call, dotted, listed)
    assert len(calls) > 10
    for number, (call, dotted, listed) in enumerate(calls.values()):
        ((module, name),) = library._defined(dotted)
        arguments = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        reader = getattr(importlib.import_module(module), name)
        monkeypatch.setenv("PATCHSCAPE_DATA", str(ROOT / "data"))
        whole = flat(reader(*arguments, **named))
        folder = tmp_path / str(number)
        (folder / "results").mkdir(parents=True)
        for place in {*(p for p in listed if p[1] == "results"), ("data", "published"), ("data", "mnist")}:
            folder.joinpath(*place[1:]).symlink_to(ROOT.joinpath(*place))
        monkeypatch.setenv("PATCHSCAPE_DATA", str(folder))
        assert flat(reader(*arguments, **named)) == whole, ast.unparse(call)


# --- the caches ---


@pytest.mark.parametrize(
    ("name", "renews"),
    [
        ("JAX_ENABLE_X64", True),
        ("XLA_FLAGS", True),
        ("OMP_NUM_THREADS", True),
        ("JAX_COMPILATION_CACHE_DIR", False),
        ("PATCHSCAPE_REPOSITORY", False),
    ],
)
def test_all_keys_are_renewed_when_the_environment_would_give_other_results(monkeypatch, name, renews):
    monkeypatch.delenv(name, raising=False)
    before = build_book.environment()
    monkeypatch.setenv(name, "1")
    assert (build_book.environment() != before) == renews


def test_all_keys_are_renewed_when_a_package_is_exchanged(monkeypatch):
    before = build_book.environment()
    monkeypatch.setattr(build_book, "distributions", lambda: [SimpleNamespace(name="jax", version="0.0")])
    assert build_book.environment() != before


KERNEL = {"name": "python3", "display_name": "Python 3"}


def executed(cache, name, output):
    """Puts a notebook with one output into a cache; returns the notebook without it."""
    cell = nbformat.v4.new_code_cell(f"print('{name}')", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", text=output)]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})
    bundle = CacheBundleIn(notebook, f"/somewhere/{name}.ipynb")
    get_cache(cache).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return notebook


def held(cache, notebook):
    try:
        return get_cache(cache).merge_match_into_notebook(notebook)[1].cells[0].outputs[0].text
    except KeyError:
        return None


def test_a_build_takes_over_what_was_executed_under_the_same_key_and_nothing_else(tmp_path):
    old, new = {"chapters/01_a": "1", "chapters/02_b": "1"}, {"chapters/01_a": "1", "chapters/02_b": "2"}
    first, second = tmp_path / "jupyter-cache-1", tmp_path / "jupyter-cache-2"
    build_book.take_over(first, old)
    a, b = executed(first, "chapters/01_a", "one"), executed(first, "chapters/02_b", "two")
    (tmp_path / "jupyter-cache-0").mkdir()  # one of an earlier version, without keys
    c = executed(tmp_path / "jupyter-cache-0", "chapters/02_b", "old")
    build_book.take_over(second, new)
    assert [held(second, notebook) for notebook in (a, b, c)] == ["one", None, None]
    executed(second, "chapters/02_b", "new")
    build_book.take_over(second, new)  # nothing is done twice
    assert held(second, b) == "new"
    assert held(first, b) == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"jupyter-cache-{i}" for i in range(3)]


def test_what_changes_during_a_build_is_executed_again_by_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_book, "BUILD", tmp_path)
    monkeypatch.setattr(build_book, "NEW", tmp_path / "new" / "_build")
    now = {"chapters/01_a": "1", "chapters/02_b": "1"}
    monkeypatch.setattr(build_book, "keys", lambda: dict(now))
    monkeypatch.setattr(build_book, "execute", lambda *_: None)
    notebooks = []

    def run(cache, *_):
        notebooks[:] = [executed(cache, name, "made") for name in now]
        now["chapters/02_b"] = "2"
        return 1

    monkeypatch.setattr(build_book, "run", run)
    before = build_book.cache(now)
    assert build_book._build(60) == 1
    assert [held(before, notebook) for notebook in notebooks] == ["made", None]
