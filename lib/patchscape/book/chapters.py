"""Chapters as programs: their declared parameters, checks with clear sentences, what they say, runs through papermill.

Importing this module is cheap, and `begin` looks at the parameters before it imports anything: a chapter that was given
a wrong value stops at once.
"""

import ast
import contextlib
import difflib
import json
import os
import reprlib
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from patchscape import runtime
from patchscape.book.parameters import check_values
from patchscape.store import records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
# No UTF-8, no day of any month, thousands of digits or brackets: PyYAML leaves them to what Python says.
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
_IPYTHON_NAMES = {"In", "Out"}
_INJECTED = "# Parameters\n"  # the first line of the cell that papermill injects
_PAPERMILL = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}  # what its --inject-paths adds


def find_chapters(folder: str | Path = "chapters") -> dict[str, Path]:
    """Return the chapters of a folder by name, in order.

    Args:
        folder: the folder of notebooks.

    Returns:
        Mapping from chapter name (file name without ending) to path.

    Raises:
        FileNotFoundError: if the folder holds no notebook.
    """
    chapters = {path.stem: path for path in sorted(Path(folder).glob("*.ipynb"))}
    if not chapters:
        raise FileNotFoundError(f"no chapters (*.ipynb) in {Path(folder).resolve()}: run this in the project's folder")
    return chapters


def declared_parameters(path: str | Path) -> dict[str, dict[str, str]]:
    """Return the parameters that a chapter declares in its cell tagged `parameters`.

    Args:
        path: the notebook.

    Returns:
        Mapping from name to papermill's record: `inferred_type_name`, `default` (as text), `help`.

    Raises:
        ValueError: if papermill is not installed, or the file is no notebook.
    """
    try:
        from nbformat import ValidationError
        from papermill.inspection import inspect_notebook
    except ImportError as error:
        raise ValueError("chapters need papermill, which is not installed: pip install -e '.[book]'.") from error

    try:
        return inspect_notebook(str(path))
    except (ValueError, ValidationError, AttributeError) as error:  # AttributeError: other JSON
        raise ValueError(f"{path} is no notebook ({str(error).splitlines()[0]}): restore it.") from error


def validate_parameters(path: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against a chapter's declaration and against what the chapter allows.

    Args:
        path: the notebook.
        given: the values to be given to it; the others are its defaults.

    Returns:
        The value of every parameter, as the chapter will see it.

    Raises:
        ValueError: if a name is unknown or a value is not allowed; the message names the remedy.
    """
    declared, chapter = declared_parameters(path), Path(path).stem
    for name in given:
        if name not in declared and name not in _PAPERMILL:
            raise ValueError(_unknown_parameter(name, declared, chapter))
    values = _defaults(declared) | {name: value for name, value in given.items() if name in declared}
    return check_values(chapter, values, declared)


@dataclass(frozen=True)
class Chapter:
    """A running chapter, made by `begin`: where its figures and the facts of its text go.

    Attributes:
        name: file name without ending.
        parameters: the value of every parameter.
    """

    name: str
    parameters: Mapping[str, Any]
    _said: dict[str, tuple[str, str, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def facts(self, prefix: str, **values: str | int) -> None:
        """Hands numbers over to the text, where `{glue:text}` has them by the name prefix-name (`_` becomes `-`).

        If PATCHSCAPE_FIGURES names a folder, facts-NN.json there holds all facts of the chapter so far.

        Args:
            prefix: letters before every name, such as "t-slack".
            **values: what the page is to show: text, or a whole number.

        Raises:
            ValueError: if a number has digits to be chosen, or the name has been given before.
        """
        from myst_nb import glue

        # A reader may run a cell again, which keeps its name as long as its text is the same.
        cell, run = sys._getframe(1).f_code.co_filename, _execution()
        for key, value in values.items():
            name, text = f"{prefix}-{key}".replace("_", "-"), str(value)
            if isinstance(value, float):
                raise ValueError(f"the fact {name!r} was given {value!r}: give text, with as many digits as are meant.")
            _, before, earlier = self._said.get(name, ("", cell, -1))
            if before != cell or earlier == run:
                raise ValueError(
                    f"the fact {name!r} of chapter {self.name} is given twice: rename one of them, or, if a cell was "
                    "changed, run the chapter again from its parameters on."
                )
            self._said[name] = text, cell, run
            glue(name, text, display=False)
        if folder := os.environ.get("PATCHSCAPE_FIGURES"):
            found = {name: text for name, (text, *_) in self._said.items()}
            made = {"chapter": self.name, "parameters": dict(self.parameters), "facts": found}
            content = json.dumps(made | {"provenance": records.provenance()}, indent=2, ensure_ascii=False) + "\n"
            records.write_bytes(Path(folder) / f"facts-{self.name[:2]}.json", content.encode())

    def figure(self, fig: "Figure", name: str) -> "Figure":
        """Writes a figure and what belongs to it where the reader wants it (`patchscape.figures.save`).

        Args:
            fig: the figure.
            name: stable file stem, such as "04-lambda-against-n".

        Returns:
            The figure.
        """
        from patchscape.figures import style

        return style.save(fig, name, self.parameters)


def _execution() -> int:
    """The number of the cell that runs, as in its brackets; 0 outside of notebooks."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell.execution_count if hasattr(shell, "kernel") else 0


def begin(chapter: str, namespace: MutableMapping[str, Any]) -> Chapter:
    """Checks the parameters of a running chapter, then sets the style of its figures.

    Each chapter calls `book = chapters.begin("04_hessian", globals())` first thing after its parameters cell.

    Args:
        chapter: the chapter's name (file name without ending).
        namespace: the notebook's `globals()`.

    Returns:
        The chapter, which takes its figures and facts.

    Raises:
        ValueError: as `check_parameters` does.
    """
    parameters = check_parameters(chapter, namespace)
    from patchscape.figures import style

    style.use_style()
    return Chapter(chapter, parameters)


def check_parameters(chapter: str, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    """Stop a running chapter whose parameters are misspelt or not allowed.

    `begin` calls it first thing: papermill itself only warns about an unknown name. The declaration is read from the
    notebook on disk.
    Looked at are plain variables without a leading underscore which the chapter does not assign itself; in a
    live session only those from the parameters cell and from the cell that papermill injects, so that a
    reader's own variables do no harm. A number that was given as text is put back as a number. The call also sets the
    switches of `patchscape.runtime`.

    Args:
        chapter: the chapter's name (file name without ending).
        namespace: the notebook's `globals()`.

    Returns:
        The value of every parameter.

    Raises:
        ValueError: if a name is unknown or a value is not allowed, or the library is that of another copy of the
            project; the message names the remedy.
    """
    runtime.compile_fast()
    runtime.keep_programs()
    runtime.save_memory()
    path = _locate(chapter)
    if path is None:
        warnings.warn(f"{chapter}.ipynb was not found here, so its parameters are not checked", stacklevel=2)
        return {}
    _check_library(path)
    declared = declared_parameters(path)
    own = _assigned_elsewhere(path)
    plain = {
        name
        for name, value in namespace.items()
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in _IPYTHON_NAMES | _PAPERMILL
    }
    given = set()
    if "In" in namespace:
        for source in namespace["In"]:
            assigned = _assigned(source)
            if source.startswith(_INJECTED):
                given |= assigned
            elif assigned & set(declared):
                given |= assigned - own
    else:
        given = plain - own
    for name in namespace:
        if name in given & plain and name not in declared:
            raise ValueError(_unknown_parameter(name, declared, chapter))
    values = {name: namespace[name] for name in declared if name in namespace}
    found = check_values(chapter, values, declared)
    namespace.update(found)
    return found


def run_chapter(
    path: str | Path,
    parameters: Mapping[str, Any],
    output: str | Path,
    *,
    figures: str | Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Runs a chapter in its own folder, as papermill does, and says which cell it is at.

    Args:
        path: the notebook.
        parameters: values for its parameters; the others keep their defaults.
        output: where the executed notebook goes (folders are made), also if a cell fails.
        figures: folder for the files of its figures; None is what PATCHSCAPE_FIGURES says.
        tell: called with one line whenever a cell begins.

    Returns:
        The path of the executed notebook.

    Raises:
        ValueError: if a cell fails; the message names the chapter, the cell, the error and the notebook that shows it.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    validate_parameters(path, parameters)
    name, output = Path(path).stem, Path(output)
    notebook = load_notebook_node(str(path))
    if parameters:
        notebook = parameterize_notebook(notebook, dict(parameters))
    where = _places(notebook.cells)
    reached = where[0]

    def begin(cell: Any, cell_index: int) -> None:
        nonlocal reached
        reached = where[cell_index]
        if cell.cell_type == "code":
            tell(f"{name}: {reached}")

    client = NotebookClient(
        notebook,
        timeout=None,
        resources={"metadata": {"path": str(Path(path).parent)}},
        on_cell_start=begin,
        extra_arguments=["--IPKernelApp.log_level=40"],  # no warning about local, unencrypted kernels
    )
    wanted = {} if figures is None else {"PATCHSCAPE_FIGURES": str(Path(figures).resolve())}
    try:
        client.execute(env=os.environ | wanted)
    except (CellExecutionError, DeadKernelError) as error:
        raise ValueError(
            f"chapter {name} stopped in {reached}: {_reason(error)} The notebook with the whole error is {output}."
        ) from error
    finally:
        records.write_bytes(output, nbformat.writes(notebook).encode())
    return output


def _places(cells: Sequence[Any]) -> list[str]:
    """Says of every cell of a notebook which one it is among the cells of code, and under which heading it stands."""
    code = [cell.cell_type == "code" for cell in cells]
    places, heading = [], ""
    for number, cell in enumerate(cells):
        if not code[number]:
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = f" ({headings[-1]})" if headings else heading
        places.append(f"cell {sum(code[: number + 1])} of {sum(code)}{heading}")
    return places


def _reason(error: Any) -> str:
    """One sentence for an error in a chapter: what a check says, or the kind of error before what it says."""
    if not hasattr(error, "ename"):
        return "its kernel died; most likely, the machine ran out of memory."
    text = error.evalue if error.ename == "ValueError" else f"{error.ename}: {error.evalue}"
    return text if text.endswith(".") else f"{text}."


def load_parameters(params_file: str | Path, chapters: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Read a file of `params/` and check it against the chapters.

    Args:
        params_file: YAML, a mapping from chapter name to that chapter's parameters.
        chapters: the chapters by name, as from `find_chapters`.

    Returns:
        Checked parameters for every chapter; an empty mapping (all defaults) where the file says nothing.

    Raises:
        ValueError: if the file is not such a mapping, or a chapter, a name or a value is not allowed.
    """
    try:
        content = yaml.load(Path(params_file).read_text(encoding="utf-8"), _Loader)
    except _NO_YAML as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else " ".join(str(error).split())
        raise ValueError(
            f"{params_file} is not readable as YAML ({reason}): write it as params/quick.yaml is."
        ) from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ValueError(f"{params_file} must map chapter names to their parameters, as params/quick.yaml does")
    for name, given in content.items():
        if name not in chapters:
            raise ValueError(_unknown("chapter", name, chapters, str(params_file)))
        with warnings.catch_warnings():  # of hours, which `make_figures` gives for the chapters that it runs
            warnings.simplefilter("ignore")
            validate_parameters(chapters[name], given or {})
    return {name: content.get(name) or {} for name in chapters}


def choose(given: Iterable[str], chapters: Mapping[str, Path]) -> dict[str, Path]:
    """Selects chapters by what a reader calls them.

    Args:
        given: numbers or names, such as 3, 03 or 04_hessian.
        chapters: the chapters by name, as from `find_chapters`.

    Returns:
        The chosen chapters in the order of the book; all of them if none is given.

    Raises:
        ValueError: if there is no such chapter.
    """
    numbers = {name.split("_")[0].lstrip("0"): name for name in chapters}
    wanted = {numbers.get(text.lstrip("0"), text) for text in given}
    for name in wanted:
        if name not in chapters:
            raise ValueError(_unknown("chapter", name, chapters, "the book"))
    return {name: path for name, path in chapters.items() if name in wanted or not wanted}


def read_values(given: Iterable[str]) -> dict[str, Any]:
    """Reads parameters as they are typed.

    Args:
        given: NAME=VALUE each, the value in YAML, such as depth=3 or depths=[2, 5].

    Returns:
        The values by name.

    Raises:
        ValueError: if one is not written like that, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not value or not name.isidentifier():
            raise ValueError(f"-p {text}: write NAME=VALUE, as in depth=3.")
        if name in values:
            raise ValueError(f"-p {text}: {name} has been given before; give each name once.")
        try:
            values[name] = yaml.safe_load(value)
        except _NO_YAML as error:
            raise ValueError(
                f"-p {reprlib.repr(text)}: the value is not YAML; write as in depth=3, 'depths=[2, 5]'."
            ) from error
    return values


def make_figures(
    plan: Mapping[str, Mapping[str, Any]],
    chapters: Mapping[str, Path],
    out_dir: str | Path,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[Path], dict[str, Path]]:
    """Runs chapters and writes their figures, which appear one chapter at a time, whether or not a later one fails.

    Args:
        plan: parameters of every chapter that is to be run; those left out keep the chapter's own values.
        chapters: the chapters by name, as from `find_chapters`.
        out_dir: folder for what `patchscape.figures.save` writes; the executed notebooks go to `out_dir`/notebooks.
        tell: called with one line whenever a cell begins.

    Returns:
        The files written, sorted within a chapter, and the executed notebooks by chapter.

    Raises:
        ValueError: if a parameter is not allowed (nothing is run then), a chapter fails, or none saves a figure.
    """
    for name, parameters in plan.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            validate_parameters(chapters[name], parameters)
        for warning in said:
            tell(f"note: {warning.message}")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    written, notebooks = [], {}
    for name, parameters in plan.items():
        # Figures appear in a folder of their own first, so that leftovers of an earlier run are not counted.
        with tempfile.TemporaryDirectory(dir=out_dir, prefix=".new-") as fresh:
            notebook = out_dir / "notebooks" / f"{name}.ipynb"
            try:
                notebooks[name] = run_chapter(chapters[name], parameters, notebook, figures=fresh, tell=tell)
            finally:
                written += [path.replace(out_dir / path.name) for path in sorted(Path(fresh).iterdir())]
    if not written:
        raise ValueError("the chapters ran but saved no figure: they should call book.figure.")
    return written, notebooks


class _Loader(yaml.SafeLoader):
    """Refuses what YAML would pass over in silence: a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _unknown(kind: str, name: object, known: Iterable[str], where: str) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{where} has no {kind} {name!r}: {hint}Known: {', '.join(known)}."


def _unknown_parameter(name: str, declared: Iterable[str], chapter: str) -> str:
    own = f"Yours? Declare it in the parameters cell of {chapter}.ipynb, or call chapters.begin with your copy's name."
    return f"{_unknown('parameter', name, declared, f'chapter {chapter}')} {own}"


def _defaults(declared: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the defaults that are literals, as those of the book are."""
    values = {}
    for name, record in declared.items():
        with contextlib.suppress(ValueError, SyntaxError):
            values[name] = ast.literal_eval(record["default"])
    return values


def _check_library(path: Path) -> None:
    """Refuses a chapter of a copy of the project that runs with the library of another copy."""
    project, imported = path.resolve().parent.parent, Path(__file__).resolve().parents[1]
    library = project / "lib" / imported.name
    if library.is_dir() and not library.samefile(imported):
        raise ValueError(
            f"chapter {path.stem} is that of {project}, but patchscape is imported from {imported}: run 'make env' in "
            "the former, use its environment, and unset PYTHONPATH."
        )


def _locate(chapter: str) -> Path | None:
    here = Path.cwd()
    folders = [here, here / "chapters"] + ([runtime.ROOT / "chapters"] if runtime.ROOT else [])
    return next((path for folder in folders if (path := folder / f"{chapter}.ipynb").is_file()), None)


def _assigned(source: str) -> set[str]:
    """Return the names that a cell's source assigns; none if it does not parse (a magic command)."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _assigned_elsewhere(path: Path) -> set[str]:
    """Return the names that a chapter assigns outside its parameters cell."""
    import nbformat

    names: set[str] = set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            names |= _assigned(cell.source)
    return names
