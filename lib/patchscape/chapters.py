"""Chapters as programs: their declared parameters, checks with clear sentences, runs through papermill."""

import ast
import contextlib
import ctypes
import difflib
import functools
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from patchscape.parameters import check_values

_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
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
    """
    from papermill.inspection import inspect_notebook

    return inspect_notebook(str(path))


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


def check_parameters(chapter: str, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    """Stop a running chapter whose parameters are misspelt or not allowed.

    Each chapter calls `parameters = check_parameters("03_hessian", globals())` first thing after its parameters cell:
    papermill itself only warns about an unknown name. The declaration is read from the notebook on disk.
    Looked at are plain variables without a leading underscore which the chapter does not assign itself; in a
    live session only those from the parameters cell and from the cell that papermill injects, so that a
    reader's own variables do no harm. A number that was given as text is put back as a number. The call also does
    `compile_fast` and starts `save_memory`.

    Args:
        chapter: the chapter's name (file name without ending).
        namespace: the notebook's `globals()`.

    Returns:
        The value of every parameter.

    Raises:
        ValueError: if a name is unknown or a value is not allowed; the message names the remedy.
    """
    compile_fast()
    save_memory()
    path = _locate(chapter)
    if path is None:
        warnings.warn(f"{chapter}.ipynb was not found here, so its parameters are not checked", stacklevel=2)
        return {}
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


def compile_fast() -> None:
    """Asks XLA for the older of its two code generators, if that is known to be there and the reader asks for nothing.

    On a CPU, the programs of the chapters then compile in clearly less time and run as fast. It has to be said before
    the first computation, and only to a jaxlib that has the flag: others would stop.
    """
    if version("jaxlib").startswith("0.10."):
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")


@functools.cache
def save_memory() -> None:
    """From now on gives back to the system what the compiler leaves behind, after every compilation of over a second.

    XLA takes hundreds of megabytes to compile one training step, and the C library keeps them afterwards, in pieces
    that the next compilation uses badly. Without this, a chapter that compiles several models needs more memory than
    Binder may give. Does nothing where the C library is not glibc.
    """
    import jax

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        jax.monitoring.register_event_duration_secs_listener(
            lambda event, duration, **_: (
                trim(0) if event.endswith("backend_compile_duration") and duration > 1 else None
            )
        )


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
        ValueError: if the file is not such a mapping, or a chapter, a name or a value is not allowed.
    """
    try:
        content = yaml.load(Path(params_file).read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else " ".join(str(error).split())
        raise ValueError(
            f"{params_file} is not readable as YAML ({reason}): write it as params/quick.yaml is."
        ) from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ValueError(f"{params_file} must map chapter names to their parameters, as params/quick.yaml does")
    for name, given in content.items():
        if name not in chapters:
            raise ValueError(_unknown("chapter", name, chapters, str(params_file)))
        validate_parameters(chapters[name], given or {})
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
    own = (
        f"Yours? Declare it in the parameters cell of {chapter}.ipynb, or call check_parameters with your copy's name."
    )
    return f"{_unknown('parameter', name, declared, f'chapter {chapter}')} {own}"


def _defaults(declared: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the defaults that are literals, as those of the book are."""
    values = {}
    for name, record in declared.items():
        with contextlib.suppress(ValueError, SyntaxError):
            values[name] = ast.literal_eval(record["default"])
    return values


def _locate(chapter: str) -> Path | None:
    here = Path.cwd()
    project = Path(__file__).resolve().parents[2]
    folders = (here, here / "chapters", project / "chapters")
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
