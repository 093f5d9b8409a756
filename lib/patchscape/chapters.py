"""Chapters as programs: their declared parameters, checks with clear sentences, runs through papermill."""

import ast
import difflib
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from patchscape import project, runtime

_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
_IPYTHON_NAMES = {"In", "Out"}
_INJECTED = "# Parameters\n"  # the first line of the cell that papermill injects


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
        ValueError: if papermill is not installed.
    """
    try:
        from papermill.inspection import inspect_notebook
    except ImportError as error:
        raise ValueError("chapters need papermill, which is not installed: pip install -e '.[book]'.") from error

    return inspect_notebook(str(path))


def validate_parameters(path: str | Path, parameters: Mapping[str, Any]) -> None:
    """Check parameter names and types against a chapter's declaration.

    Args:
        path: the notebook.
        parameters: the values to be given to it.

    Raises:
        ValueError: if a name is unknown or a value has the wrong type; the message names the remedy.
    """
    declared = declared_parameters(path)
    chapter = Path(path).stem
    for name, value in parameters.items():
        if name not in declared:
            raise ValueError(_unknown("parameter", name, declared, f"chapter {chapter}"))
        _check_type(chapter, name, value, declared[name]["inferred_type_name"])


def check_parameters(chapter: str, namespace: Mapping[str, Any]) -> None:
    """Stop a running chapter whose parameters are misspelt or of the wrong type.

    Each chapter calls `check_parameters("03_hessian", globals())` first thing after its parameters cell:
    papermill itself only warns about an unknown name. The declaration is read from the notebook on disk.
    Looked at are plain variables without a leading underscore which the chapter does not assign itself; in a
    live session only those from the parameters cell and from the cell that papermill injects, so that a
    reader's own variables do no harm. The call also sets the switches of `patchscape.runtime`.

    Args:
        chapter: the chapter's name (file name without ending).
        namespace: the notebook's `globals()`.

    Raises:
        ValueError: if a name is unknown or a value has the wrong type; the message names the remedy.
    """
    runtime.compile_fast()
    runtime.keep_programs()
    runtime.save_memory()
    path = _locate(chapter)
    if path is None:
        warnings.warn(f"{chapter}.ipynb was not found here, so its parameters are not checked", stacklevel=2)
        return
    declared = set(declared_parameters(path))
    own = _assigned_elsewhere(path)
    values = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in _IPYTHON_NAMES
    }
    given = set(values) & declared
    if "In" in namespace:
        for source in namespace["In"]:
            assigned = _assigned(source)
            if source.startswith(_INJECTED):
                given |= assigned
            elif assigned & declared:
                given |= assigned - own
    else:
        given |= set(values) - own
    validate_parameters(path, {name: values[name] for name in values if name in given})


def run_chapter(
    path: str | Path,
    parameters: Mapping[str, Any],
    output: str | Path,
    cwd: str | Path | None = None,
) -> Path:
    """Run a chapter through papermill.

    Args:
        path: the notebook.
        parameters: values for its parameters; the others keep their defaults.
        output: where the executed notebook goes (folders are made).
        cwd: working folder of the run; the chapter's own by default.

    Returns:
        The path of the executed notebook.
    """
    import papermill

    validate_parameters(path, parameters)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(path),
        str(output),
        dict(parameters),
        cwd=str(cwd or Path(path).parent),
        progress_bar=False,
    )
    return output


def load_parameters(params_file: str | Path, chapters: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Read a file of `params/` and check it against the chapters.

    Args:
        params_file: YAML, a mapping from chapter name to that chapter's parameters.
        chapters: the chapters by name, as from `find_chapters`.

    Returns:
        Checked parameters for every chapter; an empty mapping (all defaults) where the file says nothing.

    Raises:
        ValueError: if the file is not such a mapping, or a chapter, a name or a type is unknown.
    """
    content = yaml.safe_load(Path(params_file).read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ValueError(f"{params_file} must map chapter names to their parameters, as params/quick.yaml does")
    for name, parameters in content.items():
        if name not in chapters:
            raise ValueError(_unknown("chapter", name, chapters, str(params_file)))
        validate_parameters(chapters[name], parameters or {})
    return {name: content.get(name) or {} for name in chapters}


def make_figures(params_file: str | Path, out_dir: str | Path, folder: str | Path = "chapters") -> list[Path]:
    """Run all chapters with the parameters of one file and write every figure.

    Chapters save figures with `patchscape.figures.save`, which writes where the environment variable
    PATCHSCAPE_FIGURES points; the executed notebooks go to `out_dir`/notebooks.

    Args:
        params_file: YAML file of `params/`.
        out_dir: folder for the figures (PNG, SVG, and JSON with the parameters).
        folder: the folder of chapters.

    Returns:
        The figure files written, sorted.

    Raises:
        RuntimeError: if the chapters ran but saved no figure.
    """
    chapters = find_chapters(folder)
    plan = load_parameters(params_file, chapters)
    out_dir = Path(out_dir).resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("PATCHSCAPE_FIGURES")
    # Figures appear in a folder of their own first, so that leftovers of an earlier run are not counted.
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".new-") as fresh:
        os.environ["PATCHSCAPE_FIGURES"] = fresh
        try:
            for name, parameters in plan.items():
                run_chapter(chapters[name], parameters, out_dir / "notebooks" / f"{name}.ipynb")
        finally:
            if before is None:
                del os.environ["PATCHSCAPE_FIGURES"]
            else:
                os.environ["PATCHSCAPE_FIGURES"] = before
        written = [path.replace(out_dir / path.name) for path in sorted(Path(fresh).iterdir())]
    if not written:
        raise RuntimeError("the chapters ran but saved no figure: they should call patchscape.figures.save")
    return written


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{where} has no {kind} {name!r}: {hint}Known: {', '.join(known)}."


def _check_type(chapter: str, name: str, value: Any, annotation: str) -> None:
    kind = annotation.split("[")[0].strip()
    allowed = {
        "bool": (bool,),
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "list": (list,),
        "tuple": (tuple, list),
        "dict": (dict,),
    }.get(kind)
    if allowed is None or (isinstance(value, allowed) and (kind == "bool" or not isinstance(value, bool))):
        return
    hint = " (in YAML write 1.0e-3, not 1e-3)" if kind == "float" and isinstance(value, str) else ""
    raise ValueError(
        f"parameter {name!r} of chapter {chapter} must be of type {annotation}, "
        f"but it was given {value!r}, a {type(value).__name__}{hint}."
    )


def _locate(chapter: str) -> Path | None:
    here = Path.cwd()
    folders = [here, here / "chapters"] + ([project.ROOT / "chapters"] if project.ROOT else [])
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
