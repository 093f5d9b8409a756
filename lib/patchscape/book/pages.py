"""Executed chapters as HTML pages that read as in the book, without building the book."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

_SOURCES = ("*.md", "_toc.yml", "references.bib", "_static/**/*", "chapters/*.ipynb", "api/*.md")


def render(executed: Mapping[str, str | Path], out_dir: str | Path, project: str | Path = ".") -> dict[str, Path]:
    """Renders executed chapters: numbers in place of `glue`, figures with captions, references and citations resolved.

    Sphinx reads the whole book, for the numbers of its sections, figures and equations, but executes nothing and writes
    the wanted pages only. What they say of other chapters is text without a link.

    Args:
        executed: executed notebooks by the name of the chapter.
        out_dir: folder of the pages; each needs the folders beside it.
        project: folder of the book's sources.

    Returns:
        The page of each chapter.

    Raises:
        ValueError: if Sphinx fails.
    """
    from jupyter_book.sphinx import build_sphinx

    project, out_dir = Path(project), Path(out_dir)
    with tempfile.TemporaryDirectory() as scratch:
        source, built = Path(scratch, "source"), Path(scratch, "built")
        for path in sorted(path for pattern in _SOURCES for path in project.glob(pattern)):
            if path.is_file():
                copy = source / path.relative_to(project)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        for path in sorted((source / "chapters").glob("*.ipynb")):
            if path.stem in executed:
                shutil.copyfile(executed[path.stem], path)
            else:
                _hold_places(path)
        config = yaml.safe_load((project / "_config.yml").read_text(encoding="utf-8"))
        (source / "_config.yml").write_text(yaml.safe_dump(_changed(config, executed)), encoding="utf-8")
        failed = build_sphinx(
            str(source),
            str(built),
            path_config=source / "_config.yml",
            noconfig=True,
            confoverrides={"latex_individualpages": False},  # jupyter-book takes it out unasked
            filenames=[str(source / "chapters" / f"{name}.ipynb") for name in executed],
            really_quiet=True,
        )
        if failed:
            raise ValueError(f"the page of {', '.join(executed)} could not be made ({failed}).")
        for folder in filter(lambda name: (built / name).is_dir(), ("_static", "_images", "chapters")):
            shutil.copytree(built / folder, out_dir / folder, dirs_exist_ok=True)
    return {name: out_dir / "chapters" / f"{name}.html" for name in executed}


def _hold_places(path: Path) -> None:
    """Gives every figure of a notebook that is not executed an output, so that it counts and can be referred to."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "figure" in cell.metadata.get("mystnb", {}):
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": ""})]
    nbformat.write(notebook, path)


def _changed(config: dict[str, Any], written: Iterable[str]) -> dict[str, Any]:
    """The book's configuration for pages that stand alone: nothing is executed, and no way leads to other pages."""
    config["execute"] = {"execute_notebooks": "off", "exclude_patterns": ["*"]}  # a page may ask for it on its own
    sphinx = config["sphinx"]
    own = sphinx.pop("local_extensions", {})
    settings = sphinx["config"]
    del settings["html_extra_path"]  # scripts of the previews
    left_out = {*own, "sphinx.ext.autodoc", "sphinx.ext.napoleon"}  # the API is not written, and takes a while to read
    settings["extensions"] = [*(name for name in settings["extensions"] if name not in left_out), __name__]
    for name in [name for name in settings if name.startswith(("autodoc_", "tippy_"))]:
        del settings[name]
    settings["suppress_warnings"] = ["mystnb.unknown_mime_type"]  # the numbers beside a figure: files hold them here
    settings["written_pages"] = list(written)
    settings["html_sidebars"] = {"**": []}
    settings.setdefault("html_theme_options", {}).update(
        article_header_start=[], show_prev_next=False, use_download_button=False
    )
    return config


def _unlink(app: Any, doctree: Any, docname: str) -> None:
    """Turns links to pages that are not written into text."""
    from docutils import nodes

    for link in list(doctree.findall(nodes.reference)):
        page = PurePosixPath(link.get("refuri", "").partition("#")[0])
        if link.get("internal") and page.name and page.stem not in app.config.written_pages:
            link.replace_self(link.children)


def setup(app: Any) -> dict[str, bool]:
    """Connects the step above with Sphinx.

    Args:
        app: the Sphinx application.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.add_config_value("written_pages", [], "env")
    app.connect("doctree-resolved", _unlink)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
