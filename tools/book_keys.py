"""What each document of the book depends on, read off its code: modules of the library and stored files.

A document is executed again when what it imports or reads has changed, and not otherwise. Code is read, never run, and
any doubt makes a document depend on everything. Packages whose `__init__` only collects names (such as
`patchscape.figures`) stand for what is used of them: a document that calls one figure does not depend on the others.
Stored results are found through `files.data_folder` and `runtime.root` alone, so whatever leads to these two reads.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import check_book
import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

from patchscape import runtime
from patchscape.book import status
from patchscape.store import files, grids

# The folders of data/results that the book reads; the others hold trials and a reader's own runs.
STORED = {*grids.stored(), "replay", "landscapes", "redrawn", "matched", "spectra", "beyond"}
# Ways to read and to import that leave no trace here: a document that has one depends on everything.
_OPAQUE_IMPORTS = {"__import__", "exec", "import_module", "runpy"}
_OPAQUE_READS = {"data/", "eval", "glob", "importlib", "io", "open", "os", "pathlib", "shutil", "subprocess", "sys"}
_CALLED = {function: (function.__module__, function.__name__) for function in (files.data_folder, runtime.root)}
_SOURCES = {_CALLED[files.data_folder]: ("data",), _CALLED[runtime.root]: ()}

_PARTS = ast.Attribute | ast.Subscript
_SCOPES = ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp
_PLAIN = ast.Constant | ast.List | ast.Tuple | ast.Load

Place = tuple[str, ...]  # a file or folder of the project: ("data", "results", "laptop"); () is all of it


class UnclearError(Exception):
    """What code depends on cannot be read off it."""


@dataclass(frozen=True)
class Code:
    """A module of the library, or the code of a document.

    Attributes:
        tree: its syntax.
        library: where imported modules are looked up.
        name: of the module, dotted; empty for a document.
        is_package: whether it is the `__init__` of a package.
    """

    tree: ast.Module
    library: "Library"
    name: str = ""
    is_package: bool = False

    @cached_property
    def imported(self) -> dict[str, set[str]]:
        """Dotted names of the library by the local names that imports give them, wherever these stand."""
        names: dict[str, set[str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if self.library.owns(alias.name):
                        local, target = alias.asname or alias.name.split(".")[0], alias.name
                        names.setdefault(local, set()).add(target if alias.asname else local)
                        names.setdefault(f"import {target}", set()).add(target)
            elif isinstance(node, ast.ImportFrom) and self.library.owns(base := self._base(node)):
                for alias in node.names:
                    if alias.name == "*":
                        raise UnclearError
                    names.setdefault(alias.asname or alias.name, set()).add(f"{base}.{alias.name}")
        return names

    def _base(self, node: ast.ImportFrom) -> str:
        above = self.name.split(".")
        above = above[: len(above) + self.is_package - node.level] if node.level else []
        return ".".join([*above, *filter(None, [node.module])])

    @cached_property
    def is_facade(self) -> bool:
        """Whether it is a package that only collects names of the library, each under its own name."""
        return self.is_package and all(
            _is_text(statement)
            or (isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__")
            or (
                isinstance(statement, ast.ImportFrom)
                and self.library.owns(self._base(statement))
                and not any(alias.asname for alias in statement.names)
            )
            for statement in self.tree.body
        )

    def renames(self, part: str) -> bool:
        """Whether a package gives to a name, of a module in it perhaps, another meaning."""
        return self.is_facade and bool(self.imported.get(part, set()) - {f"{self.name}.{part}"})

    @cached_property
    def is_inert(self) -> bool:
        """Whether importing it does nothing but define names."""
        return all(
            _is_text(statement)
            or isinstance(statement, ast.Import | ast.ImportFrom)
            or (isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING")
            or (
                isinstance(statement, ast.FunctionDef | ast.ClassDef)
                and not any(isinstance(node, ast.Call) for node in statement.decorator_list)
            )
            or (
                isinstance(statement, ast.Assign)
                and all(
                    isinstance(n, ast.Name | ast.Tuple | ast.expr_context)
                    for t in statement.targets
                    for n in ast.walk(t)
                )
                and not any(isinstance(node, ast.Call) for node in ast.walk(statement))
            )
            for statement in self.tree.body
        )

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """Statements at the top by the names that they define; under "", those that run on import."""
        found: dict[str, list[ast.stmt]] = {"": []}
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                found.setdefault(statement.name, []).append(statement)
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                found[""].append(statement)
                for node in ast.walk(statement):
                    if isinstance(node, ast.FunctionDef | ast.ClassDef):
                        found.setdefault(node.name, []).append(statement)
                    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        found.setdefault(node.id, []).append(statement)
        return found

    @cached_property
    def named(self) -> frozenset[str]:
        """Names of the library that it uses, and with a dot at the end those that it only imports."""
        imported = {f"{target}." for targets in self.imported.values() for target in targets}
        return frozenset(imported | {dotted for _, dotted, _ in self.uses([self.tree])})

    @cached_property
    def is_clear(self) -> bool:
        """Whether all that it imports and, if it is a document, all that it reads can be found out."""
        opaque = _OPAQUE_IMPORTS if self.name else _OPAQUE_IMPORTS | _OPAQUE_READS
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name.split(".")[0] for alias in node.names}
                names |= {node.module.split(".")[0]} if getattr(node, "module", None) else set()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "data/" in node.value:
                names.add("data/")
        return not names & opaque

    def uses(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.expr, str, list[ast.AST]]]:
        """Yields uses of the library's names below nodes: the expression, the dotted name, what encloses it."""
        own = {name: {f"{self.name}.{name}"} for name in self.definitions if name} if self.name else {}
        known = own | self.imported

        def walk(
            node: ast.AST, above: list[ast.AST], hidden: frozenset[str]
        ) -> Iterator[tuple[ast.expr, str, list[ast.AST]]]:
            chain, base = [], node
            while isinstance(base, ast.Attribute):
                chain.insert(0, base.attr)
                base = base.value
            if isinstance(base, ast.Name):
                for target in known.get(base.id, ()) if base.id not in hidden else ():
                    yield node, ".".join([target, *chain]), above
            else:
                inner = hidden | _locals(node) if isinstance(node, ast.FunctionDef | ast.Lambda) else hidden
                body = getattr(node, "body", None)
                for child in ast.iter_child_nodes(node):  # defaults and decorators belong to what is around
                    inside = child is body or (isinstance(body, list) and child in body)
                    yield from walk(child, [*above, node], inner if inside else hidden)

        for node in nodes:
            yield from walk(node, [], frozenset())


def _locals(function: ast.FunctionDef | ast.Lambda) -> set[str]:
    """Names that a function hides from its inside: arguments and variables, but not what it imports or shares."""
    arguments = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    names, shown = arguments, set()
    todo = list(function.body) if isinstance(function, ast.FunctionDef) else [function.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            shown.update(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            shown.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        scopes = (
            ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp
        )
        if not isinstance(node, scopes):
            todo += ast.iter_child_nodes(node)
    return names - shown


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class Library:
    """The modules below a folder, looked up as Python would."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cache  # noqa: B019 (a library lives as long as a build)
    def module(self, name: str) -> Code | None:
        """Returns a module by its dotted name, or None."""
        place = self.folder.joinpath(*name.split("."))
        for path, is_package in ((place / "__init__.py", True), (place.with_name(f"{place.name}.py"), False)):
            if path.is_file():
                return Code(ast.parse(path.read_text(encoding="utf-8")), self, name, is_package)
        return None

    def file(self, name: str) -> Place:
        """Returns where a module of that name is, below `folder`."""
        parts = name.split(".")
        return (*parts, "__init__.py") if self.module(name).is_package else (*parts[:-1], f"{parts[-1]}.py")

    def owns(self, name: str) -> bool:
        """Whether a dotted name is one of this library."""
        return self.module(name.split(".")[0]) is not None

    def split(self, dotted: str) -> tuple[list[str], list[str]]:
        """Returns the modules that a dotted name leads through, and the names that follow inside of the last."""
        parts, through = dotted.split("."), []
        for part in parts:
            name = ".".join([*through[-1:], part])
            if self.module(name) is None or (through and self.module(through[-1]).renames(part)):
                break
            through.append(name)
        return through, parts[len(through) :]

    def modules(self, code: Code) -> set[str]:
        """Returns the modules on which code depends, directly or through others.

        Args:
            code: of a document.

        Returns:
            Dotted names.
        """
        found: set[str] = set()
        todo, done = list(code.named), set()
        while todo:
            if (dotted := todo.pop()) in done:
                continue
            done.add(dotted)
            through, rest = self.split(dotted.removesuffix("."))
            for name in through:
                module = self.module(name)
                if module.is_facade:
                    # What it collects is imported too, and matters where that does more than to define names.
                    todo += [other for other in self._imports(name) if not self.module(other).is_inert]
                elif name not in found:
                    found.add(name)
                    todo += module.named
            if (last := self.module(through[-1])).is_facade and (rest or not dotted.endswith(".")):
                chosen = {rest[0]} if rest and rest[0] in last.imported else last.imported
                after = rest[1:] if rest else []
                todo += [".".join([target, *after]) for name in chosen for target in last.imported[name]]
        return found

    @cache  # noqa: B019
    def _imports(self, name: str) -> frozenset[str]:
        """Every module that Python loads with one."""
        found, todo = set(), [name]
        while todo:
            for part in self.split(todo.pop())[0]:
                if part not in found:
                    found.add(part)
                    todo += [target for targets in self.module(part).imported.values() for target in targets]
        return frozenset(found)

    def places(self, code: Code, modules: Iterable[str]) -> set[Place]:
        """Returns the stored files and folders that a document reads, as far as they are stored by the project.

        Args:
            code: of a document.
            modules: from `modules`; what they read on import counts.

        Returns:
            Places; a folder stands for all that is in it.
        """
        found: set[Place] = set()
        for module in modules:
            found |= self._reached(module, "")
        for node, dotted, above in code.uses([code.tree]):
            call = above[-1] if above and isinstance(above[-1], ast.Call) and above[-1].func is node else None
            listed = None if call is None else _listed(call)
            found |= self._read(node, dotted, above) if listed is None else listed
        return found

    def _read(self, node: ast.expr, dotted: str, above: list[ast.AST]) -> set[Place]:
        """Places that a name leads to, one of the two sources itself included."""
        found: set[Place] = set()
        for definition in self._defined(dotted):
            if definition in _SOURCES:
                found.add(_SOURCES[definition] + _path_after(node, above))
            else:
                found |= self._reached(*definition)
        return found

    @cache  # noqa: B019
    def _reached(self, module: str, name: str) -> frozenset[Place]:
        """Places that a definition leads to, through all others that it uses."""
        found, todo, done = set(), [(module, name)], set()
        while todo:
            if (definition := todo.pop()) not in done:
                done.add(definition)
                places, others = self._step(*definition)
                found |= places
                todo += others
        return frozenset(found)

    @cache  # noqa: B019
    def _step(self, module: str, name: str) -> tuple[set[Place], set[tuple[str, str]]]:
        """Places that a definition names itself, and the definitions that it uses."""
        code, places, others = self.module(module), set(), set()
        for node, dotted, above in code.uses(code.tree.body if name == "*" else code.definitions.get(name, [])):
            for other in self._defined(dotted):
                if other in _SOURCES:
                    places.add(_SOURCES[other] + _path_after(node, above))
                else:
                    others.add(other)
        return places, others

    @cache  # noqa: B019
    def _defined(self, dotted: str) -> frozenset[tuple[str, str]]:
        """Where a dotted name is defined: modules, and names in them; "*" is all of a module."""
        through, rest = self.split(dotted)
        module = self.module(through[-1])
        if not rest:
            collected = [t for targets in module.imported.values() for t in targets] if module.is_facade else []
            return frozenset({(through[-1], "*")}.union(*(self._defined(target) for target in collected)))
        if rest[0] in module.definitions:
            return frozenset({(through[-1], rest[0])})
        if rest[0] in module.imported:
            return frozenset().union(
                *(self._defined(".".join([t, *rest[1:]])) for t in module.imported[rest[0]] if t != dotted)
            )
        return frozenset({(through[-1], "*")})


def _path_after(node: ast.expr, above: list[ast.AST]) -> Place:
    """The constant names that follow a call of a source: files.data_folder() / "results" / name gives ("results",)."""
    names = []
    if above and isinstance(above[-1], ast.Call) and above[-1].func is node:
        inner = above[-1]
        for outer in reversed(above[:-1]):
            if not (isinstance(outer, ast.BinOp) and isinstance(outer.op, ast.Div) and outer.left is inner):
                break
            if not (isinstance(outer.right, ast.Constant) and isinstance(outer.right.value, str)):
                break
            names.append(outer.right.value)
            inner = outer
    return tuple(names) if ".." not in "/".join(names) else ()


def _listed(call: ast.Call) -> set[Place] | None:
    """What a reader known to `status` opens, None for any other call."""
    called = ast.unparse(call.func)
    if called in status._READERS:
        read = status._READERS[called]
    elif called in status._GRID_READERS:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        texts = {text for value in given for text in status._texts(value)}
        plain = all(
            isinstance(node, ast.Constant | ast.List | ast.Tuple | ast.Load) for v in given for node in ast.walk(v)
        )
        known = {*grids.names(), "replay"}
        read = texts if plain and texts and texts <= known else known
    else:
        return None
    return {("data", *(name.split("/") if "/" in name else ("results", name))) for name in read}


def code_of(path: Path, library: Library) -> Code | None:
    """Returns the code of a document.

    Args:
        path: without ending, as in _toc.yml.
        library: where its imports are looked up.

    Returns:
        The code of its cells; None if it has none.

    Raises:
        UnclearError: if it is not plain Python.
    """
    notebook, page = path.with_name(f"{path.name}.ipynb"), path.with_name(f"{path.name}.md")
    if notebook.is_file():
        cells = nbformat.read(notebook, as_version=4).cells
    elif "{code-cell}" in (text := page.read_text(encoding="utf-8")):
        cells = read_myst_markdown_notebook(text).cells
    else:
        return None
    try:
        tree = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    except SyntaxError as error:  # a command of IPython
        raise UnclearError from error
    return Code(tree, library)


def inputs(root: Path, data_folder: Path) -> dict[Place, str]:
    """Returns the checksum of every file that the book may depend on.

    Args:
        root: the project.
        data_folder: the chapters' data.

    Returns:
        SHA-256 by place.
    """
    folders = {"lib": root / "lib", "params": root / "params", "data": data_folder, "chapters": root / "chapters"}
    return {
        place: hashlib.sha256(path.read_bytes()).hexdigest()
        for label, folder in folders.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_input(place := (label, *path.relative_to(folder).parts))
    }


def _is_input(place: Place) -> bool:
    """Tells source and stored results from what is made on the way, and from runs that no chapter reads."""
    if any(part.startswith((".", "__pycache__")) or part.endswith(".egg-info") for part in place):
        return False
    if place[:2] != ("data", "results"):
        return True
    ending = Path(place[-1]).suffix
    if len(place) == 3:
        return ending in {".json", ".md"}
    return place[2] in STORED and "unfinished" not in place and ending != ".damaged"


def dependencies(root: Path, places: Iterable[Place]) -> dict[str, set[Place]]:
    """Returns what each document with code depends on.

    Args:
        root: the project.
        places: of all inputs, as from `inputs`.

    Returns:
        Places by document (a name as in _toc.yml). Few and small files that seldom change are in all of them: the
        parameters, the published numbers and MNIST, and what is no code in the library and that no module names.
    """
    everything, library, found = set(places), Library(root / "lib"), {}
    naming = _naming(root, everything)
    for document in check_book.documents(root):
        try:
            code = code_of(root / document, library)
            if code is not None:
                own = _own(code, everything)
                named = {place for place, modules in naming.items() if modules & own or not modules}
                found[document] = {place for place in everything if _is_in_all(place)} | own | named
        except UnclearError:
            found[document] = everything
    return found


def _naming(root: Path, everything: set[Place]) -> dict[Place, set[Place]]:
    """Modules that name a file of the library which is no code (a style sheet, a script), by that file."""
    lib = {place for place in everything if place[0] == "lib"}
    modules = {place for place in lib if place[-1].endswith(".py")}
    trees = {place: ast.parse(root.joinpath(*place).read_text(encoding="utf-8")) for place in modules}
    names = {place: set(status._texts(tree)) for place, tree in trees.items()}
    return {file: {place for place in modules if file[-1] in names[place]} for file in lib - modules}


def _is_in_all(place: Place) -> bool:
    return place[0] == "params" or (place[0] == "data" and place[1] != "results")


def _own(code: Code, everything: set[Place]) -> set[Place]:
    """The modules of a document, and the places that it reads."""
    modules = code.library.modules(code)
    if not all(part.is_clear for part in (code, *map(code.library.module, modules))):
        raise UnclearError
    read = code.library.places(code, modules)
    files = {("lib", *code.library.file(name)) for name in modules}
    return files | {place for place in everything if any(place[: len(folder)] == folder for folder in read)}


def keys(root: Path, data_folder: Path, environment: str) -> dict[str, str]:
    """Returns a short hash of all that the results of each document with code depend on.

    Args:
        root: the project.
        data_folder: the chapters' data.
        environment: what else they depend on: Python, packages, settings.

    Returns:
        16 hexadecimal digits by document.
    """
    checksums = inputs(root, data_folder)
    return {
        document: hashlib.sha256(
            repr((environment, sorted((place, checksums[place]) for place in places))).encode()
        ).hexdigest()[:16]
        for document, places in dependencies(root, checksums).items()
    }
