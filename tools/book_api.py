"""Sphinx extension: the pages of the API, from the docstrings.

Docstrings are plain text in Google's style with code in single backticks and citations as {cite}`key`. Here they become
what Sphinx reads: names of the library turn into links, all other code into code, and nothing else is markup.
"""

import re
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

CODE = re.compile(r"(\{cite\})?`([^`]+)`")
MARKUP = re.compile(r"([\\*|]|_(?!\w))")  # outside of code: a state |0>, a product a * b, a name that ends in _
NAME = re.compile(r"patchscape(\.\w+)+")


def to_restructured_text(lines: list[str]) -> list[str]:
    """Turns a docstring into reStructuredText, before Google's sections are read.

    Args:
        lines: of the docstring.

    Returns:
        The same with links, code and citations as Sphinx writes them; lines of examples stay as they are.
    """
    return [line if line.lstrip().startswith((">>>", "...")) else _line(line) for line in lines]


def with_formulas(lines: list[str]) -> list[str]:
    """Marks what is indented by four after an empty line, formulas in docstrings of modules, to be shown as it is."""
    out = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("    ") and not before.strip():
            out += ["::", ""] if not (out[-2:] and out[-2].startswith("    ")) else []
        out.append(line)
    return out


def with_returns(lines: list[str]) -> list[str]:
    """Writes the section Returns or Yields as a field: before a colon stands no type there."""
    out, inside = [], False
    for line in lines:
        if line in {"Returns:", "Yields:"}:
            inside, field = True, ":returns:" if line == "Returns:" else ":Yields:"
            out.append(field)
        elif inside and out[-1] == field:
            out[-1] += f" {line.strip()}"
        else:
            inside = inside and (line.startswith(" ") or not line)
            out.append(line)
    return out


def _line(line: str) -> str:
    out, end = [], 0
    for found in CODE.finditer(line):
        out += [MARKUP.sub(r"\\\1", line[end : found.start()]), _code(*found.groups())]
        end = found.end()
    return "".join(out) + MARKUP.sub(r"\\\1", line[end:])


def _code(cite: str | None, text: str) -> str:
    if cite:
        return f":cite:`{text}`"
    return f":py:obj:`{text}`" if NAME.fullmatch(text) else f"``{text}``"


def signature(cls: type[BaseModel]) -> str:
    """Returns what a configuration takes, without the ranges that pydantic checks."""
    fields = (
        f"{name}: {getattr(field.annotation, '__name__', None) or field.annotation}"
        + ("" if field.is_required() else f" = {field.default!r}")
        for name, field in cls.model_fields.items()
    )
    return f"(*, {', '.join(fields)})".replace("typing.", "")


def _docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    new = with_returns(to_restructured_text(lines))
    lines[:] = with_formulas(new) if what == "module" else new


def _signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str, returned: str) -> Any:
    configuration = what == "class" and issubclass(obj, BaseModel)
    return (signature(obj), None) if configuration else None


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields of named tuples, which the docstring of the class describes."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the steps above; that of the docstrings comes before napoleon's.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
