"""What CONTRIBUTING names is there, its rooms import what it says, and every module has its place in the API."""

import ast
import re

from cases import ROOT

PACKAGE = ROOT / "lib" / "patchscape"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def imports():
    """Returns the other rooms that each room imports."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    found = {room: set() for room in rooms - {"__init__"}}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if room in found and isinstance(node, ast.ImportFrom) and (node.module or "").startswith("patchscape"):
                words = node.module.split(".")
                found[room] |= {words[1]} if len(words) > 1 else {alias.name for alias in node.names} & rooms
    return {room: others - {room} for room, others in found.items()}


def test_the_table_of_rooms_is_that_of_the_imports():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE)
    expected = imports()
    assert "cli" not in set().union(*expected.values())
    del expected["cli"]
    assert {room: set(re.findall(r"`(\w+)`", others)) for room, others in rows} == expected


def test_every_file_that_is_named_exists():
    named = {
        name for name in re.findall(r"`([^`\s]+)`", TEXT) if "/" in name or name.endswith((".md", ".yml", ".yaml"))
    }
    assert len(named) > 15
    made = {".venv/bin/python"}
    assert [name for name in sorted(named - made) if not (ROOT / name).exists()] == []


def test_every_module_stands_on_one_page_of_the_api():
    listed = [
        name
        for page in (ROOT / "api").glob("*.md")
        for name in re.findall(r"^\.\. automodule:: patchscape\.(\S+)$", page.read_text(), re.MULTILINE)
    ]
    modules = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    packages = {name for name in modules if name.endswith("__init__")}
    assert sorted(name for name in listed if name != "figures") == sorted(modules - packages - {"cli"})


def test_every_module_that_moved_is_where_the_changelog_says():
    rows = re.findall(r"^\| `[\w.]+` \| `([\w.]+)` \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    for name in rows:
        path = PACKAGE.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or path.is_dir(), name
