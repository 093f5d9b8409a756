"""Where the project is whose chapters and data the package reads, if it is in one."""

from pathlib import Path


def _checkout() -> Path | None:
    """Returns the folder that holds this package as lib/patchscape beside the chapters, None for a plain install."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "chapters").is_dir() else None


ROOT = _checkout()


def root() -> Path:
    """Returns the project's folder.

    Raises:
        ValueError: if the package was installed without the project.
    """
    if ROOT is None:
        raise ValueError(
            f"patchscape is installed in {Path(__file__).parent} without its project: install a clone of the project "
            "with 'pip install -e .', or let the environment variable PATCHSCAPE_DATA name the data folder of one."
        )
    return ROOT
