"""The chapters as notebooks and as programs."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import check_book
import nbformat
import pytest
import yaml
from cases import ROOT

from patchscape.book import chapters

PATHS = [ROOT / f"{d}.ipynb" for d in check_book.documents(ROOT) if (ROOT / f"{d}.ipynb").is_file()]
PARAMS = sorted((ROOT / "params").glob("*.yaml"))
SMOKE = yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text()) or {}

each_chapter = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parameters_cell(path):
    (cell,) = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    return cell


@each_chapter
def test_chapter_has_no_outputs(path):
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(path))


@each_chapter
def test_chapter_has_one_parameters_cell(path):
    tags = [tag for cell in code_cells(path) for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == 1


@each_chapter
def test_chapter_cells_are_short(path):
    cells = [cell for cell in code_cells(path) if "listing" not in cell.metadata.get("tags", [])]  # to be copied whole
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    assert max(lengths) <= 25


def lost_values(source):
    """Lines of values that a notebook shows only where they end a cell."""
    *before, _ = [*ast.parse(source).body, None] if source.rstrip().endswith(";") else ast.parse(source).body
    shown = [line for line in before if isinstance(line, ast.Expr) and ast.unparse(line).startswith("say.")]
    return [line.lineno for line in shown]


def test_a_table_before_the_end_of_a_cell_is_lost():
    assert lost_values("say.table(x)\ny = 1") == [1]
    assert lost_values("y = 1\nsay.table(x)") == []
    assert lost_values("say.table(x);") == [1]


@each_chapter
def test_no_table_is_lost(path):
    assert [cell.id for cell in code_cells(path) if cell.source.strip() and lost_values(cell.source)] == []


@each_chapter
def test_chapter_uses_the_plain_python_kernel(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


@each_chapter
def test_chapter_checks_its_parameters_in_its_first_code_cell_after_them(path):
    cells = code_cells(path)
    after = cells[cells.index(parameters_cell(path)) + 1]
    assert re.search(rf"""chapters\.begin\(["']{path.stem}["'], globals\(\)\)""", after.source)


@each_chapter
def test_help_lists_every_parameter_with_type_and_help(path):
    assigned = {
        node.target.id: ast.unparse(node.annotation)
        for node in ast.parse(parameters_cell(path).source).body
        if isinstance(node, ast.AnnAssign)
    }
    assert len(assigned) == len(ast.parse(parameters_cell(path).source).body), "write `name: type = value  # help`"
    declared = chapters.declared_parameters(path)
    assert {name: record["inferred_type_name"].strip() for name, record in declared.items()} == assigned
    assert all(record["help"] for record in declared.values())


@each_chapter
def test_defaults_have_their_declared_types(path):
    namespace = {}
    exec(parameters_cell(path).source, namespace)
    declared = chapters.declared_parameters(path)
    chapters.validate_parameters(path, {name: namespace[name] for name in declared})


@pytest.mark.parametrize("params", PARAMS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:chapter .* takes about")
def test_parameter_files_fit_the_chapters(params):
    chapters.load_parameters(params, chapters.find_chapters(ROOT / "chapters"))


@pytest.mark.slow
@each_chapter
def test_chapter_runs_through_papermill(path, tmp_path, monkeypatch):
    # No test leaves files in the project.
    monkeypatch.setenv("PATCHSCAPE_FIGURES", str(tmp_path / "figures"))
    (tmp_path / "figures").mkdir()
    output = chapters.run_chapter(path, SMOKE.get(path.stem) or {}, tmp_path / "out.ipynb")
    assert all(cell.execution_count for cell in code_cells(output) if cell.source.strip())


@each_chapter
def test_misspelt_parameter_is_rejected_by_name(path):
    name = next(iter(chapters.declared_parameters(path)))
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        chapters.validate_parameters(path, {name + "s_": 1})


# --- the same on a notebook of our own, small enough to run in a moment ---


@pytest.fixture
def folder(tmp_path):
    """A folder with one chapter, 01_tiny."""
    (tmp_path / "chapters").mkdir()
    cell = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
        cells=[
            cell(
                "depth: int = 3  # layers\nrate: float = 0.1  # learning rate\n"
                "widths: list[int] = [1, 2]  # widths to try\nquick: bool = True  # small sizes only\n"
                "name: str = 'mnist'  # data set",
                metadata={"tags": ["parameters"]},
            ),
            cell('from patchscape.book import chapters\n\nbook = chapters.begin("01_tiny", globals())'),
            cell("result = depth * rate\nfor step in range(2):\n    pass"),
            cell(
                "import os, pathlib\nfolder = os.environ.get('PATCHSCAPE_FIGURES')\n"
                "if folder:\n    pathlib.Path(folder, 'tiny.png').write_text(str(result))"
            ),
        ],
    )
    nbformat.write(notebook, tmp_path / "chapters" / "01_tiny.ipynb")
    return tmp_path


@pytest.fixture
def tiny(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder / "chapters" / "01_tiny.ipynb"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dept": 3}, "chapter 01_tiny has no parameter 'dept': did you mean 'depth'"),
        ({"zzz": 3}, "no parameter 'zzz': Known: depth, rate"),
        ({"depth": 2.5}, "'depth' of chapter 01_tiny was given 2.5: give a whole number."),
        ({"depth": True}, "was given True: give a whole number."),
        ({"rate": "fast"}, "was given 'fast': give a number."),
        ({"widths": 3}, "was given 3: give a list of whole numbers."),
        ({"widths": [1, "x"]}, "was given [1, 'x']: give a list of whole numbers."),
        ({"quick": 1}, "was given 1: give true or false."),
        ({"name": 3}, "was given 3: give a text."),
    ],
)
def test_impossible_parameters_give_one_clear_sentence(tiny, parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        chapters.validate_parameters(tiny, parameters)
    assert "\n" not in str(raised.value)


def test_possible_parameters_pass(tiny):
    given = {"depth": 2, "rate": "1e-3", "widths": [], "quick": False, "name": "digits"}
    assert chapters.validate_parameters(tiny, given) == given | {"rate": 0.001}


DEFAULTS = {"depth": 3, "rate": 0.1, "widths": [1], "quick": True, "name": "mnist"}


def test_check_passes_on_defaults_and_private_names_and_modules(tiny):
    chapters.check_parameters("01_tiny", {**DEFAULTS, "_private": 1, "ast": ast, "f": len, "In": [], "Out": {}})


def test_check_finds_a_misspelt_name_outside_ipython(tiny):
    with pytest.raises(ValueError, match="did you mean 'depth'"):
        chapters.check_parameters("01_tiny", {**DEFAULTS, "dept": 3})


def test_check_lets_a_reader_run_cells_again(tiny):
    """The chapter's own variables and a scratch cell are no parameters."""
    history = [
        "",
        "depth: int = 3",
        "result = 1\nfor step in range(2): pass",
        "scratch = 5",
        "%matplotlib inline",
    ]
    namespace = {**DEFAULTS, "In": history, "result": 1, "step": 1, "scratch": 5}
    chapters.check_parameters("01_tiny", namespace)


def test_check_finds_an_injected_name_that_the_chapter_also_assigns(tiny):
    namespace = {**DEFAULTS, "In": ["", "depth: int = 3", "# Parameters\nresult = 7\n"], "result": 7}
    with pytest.raises(ValueError, match="no parameter 'result'"):
        chapters.check_parameters("01_tiny", namespace)


def test_check_finds_a_name_typed_into_the_parameters_cell(tiny):
    namespace = {**DEFAULTS, "In": ["", "depth: int = 3\nwidth: list = [2]"], "width": [2]}
    with pytest.raises(ValueError, match="did you mean 'widths'"):
        chapters.check_parameters("01_tiny", namespace)


def test_check_refuses_the_library_of_another_copy_of_the_project(tiny, folder):
    (folder / "lib" / "patchscape").mkdir(parents=True)
    with pytest.raises(ValueError, match=re.escape(f"chapter 01_tiny is that of {folder}, but patchscape is imported")):
        chapters.check_parameters("01_tiny", dict(DEFAULTS))
    (folder / "lib" / "patchscape").rmdir()
    (folder / "lib" / "patchscape").symlink_to(Path(chapters.__file__).parents[1])
    chapters.check_parameters("01_tiny", dict(DEFAULTS))


def test_check_says_when_it_cannot_find_the_chapter(tiny):
    with pytest.warns(UserWarning, match="not checked"):
        chapters.check_parameters("99_nowhere", {})


def run_papermill(folder, *options):
    command = [sys.executable, "-m", "papermill", "chapters/01_tiny.ipynb", "out.ipynb", "--cwd", "chapters"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_papermill_itself_runs_a_chapter_and_rejects_a_misspelt_parameter(folder):
    assert run_papermill(folder, "-p", "depth", "4", "-p", "rate", "0.5").returncode == 0
    wrong = run_papermill(folder, "-p", "dept", "3")
    assert wrong.returncode != 0
    assert wrong.stderr.strip().splitlines()[-1] == (
        "ValueError: chapter 01_tiny has no parameter 'dept': "
        "did you mean 'depth'? Known: depth, rate, widths, quick, name. "
        "Yours? Declare it in the parameters cell of 01_tiny.ipynb, or call chapters.begin with your copy's name."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("01_tinny: {}", "has no chapter '01_tinny': did you mean '01_tiny'"),
        ("01_tiny: 3", "must map chapter names"),
        ("- 01_tiny", "must map chapter names"),
        ("01_tiny: {rate: fast}", "give a number"),
    ],
)
def test_a_wrong_parameter_file_is_rejected_before_anything_runs(tiny, folder, text, message):
    (folder / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        chapters.load_parameters(folder / "params.yaml", chapters.find_chapters())


def test_a_folder_without_chapters_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no chapters"):
        chapters.find_chapters(tmp_path)


@pytest.mark.slow
def test_what_a_chapter_compiles_is_counted_in_its_kernel(tmp_path):
    spec = importlib.util.spec_from_file_location("measured", ROOT / "benchmarks" / "chapters.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = {}
    for programs in (0, 3):
        source = f"import jax\nfor k in range({programs}):\n    jax.jit(lambda x: x + k)(1.0)"
        cells = [nbformat.v4.new_code_cell(source)]
        kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=cells), tmp_path / "tiny.ipynb")
        found[programs] = benchmark.measure(tmp_path / "tiny.ipynb")
    assert [found[programs]["compilations"] for programs in found] == [0, 3]
    assert found[0]["compile_s"] == 0
    assert found[3]["seconds"] > 0
