"""What holds for the whole process: where the project is, and switches of JAX, XLA and memory.

Only a chapter or the command line asks for a switch, never an import.
"""

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any


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


def compile_fast() -> None:
    """Asks XLA to compile fast, if it is known to understand that and the reader asks for nothing.

    On a CPU, its older code generator takes clearly less time for the programs of the chapters, which run as fast; a
    lower level of optimisation takes half of what is left, for programs that run up to 1.4 times as long. Chapters
    train for seconds: for hours, leave it out. It has to be said before the first computation, and only to a jaxlib
    that has the flags: others would stop.
    """
    if version("jaxlib").startswith("0.10."):
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1")


def keep_programs() -> None:
    """Lets JAX keep compiled programs between processes, unless the reader has set JAX's own cache.

    They lie in the environment's own folder (`.venv/var/jax`), without an environment in the user's cache folder, and
    nowhere if neither can be written. A program takes some hundred kilobytes, those of the whole book some ten
    megabytes. JAX alone keeps what takes a second to compile; half of the time goes into smaller programs. It has to
    be said before the first computation.
    """
    jax = sys.modules.get("jax")
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR") if jax is None else jax.config.jax_compilation_cache_dir
    if given is not None or (folder := _programs()) is None:
        return
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        # JAX would also keep the autotuning of GPUs in that folder, and make its path part of the name of every
        # program, on a CPU too: in a moved or copied folder, it would find none of them.
        "jax_persistent_cache_enable_xla_caches": "none",
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    settings = {name: value for name, value in wanted.items() if name.upper() not in os.environ}
    if jax is None:
        os.environ |= {name.upper(): str(value) for name, value in settings.items()}
    else:
        for name, value in settings.items():
            jax.config.update(name, value)


def _programs() -> Path | None:
    """Returns the first folder for compiled programs that can be written, made if it is missing."""
    for folder in _own_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


def _own_folders() -> Iterator[Path]:
    if sys.prefix != sys.base_prefix:
        yield Path(sys.prefix) / "var" / "jax"
    import pooch  # slow, and seldom needed

    yield Path(pooch.os_cache("patchscape")) / "jax"


@functools.cache
def save_memory() -> None:
    """From now on drops programs that are `finished`, and gives back what a compilation of over a second leaves behind.

    XLA takes hundreds of megabytes to compile one training step, and the C library keeps them afterwards, in pieces
    that the next compilation uses badly. Without this, a chapter that compiles several models needs more memory than
    Binder may give. Does nothing where the C library is not glibc.
    """
    import jax

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:

        def after(event: str, duration_secs: float, **_: str | int) -> None:
            if event.endswith("backend_compile_duration") and duration_secs > 1:
                trim(0)

        jax.monitoring.register_event_duration_secs_listener(after)


def finished(*programs: Any) -> None:
    """Says that compiled programs will not be called again, or only for other shapes: those named, or all there are.

    They are dropped if the process has asked to `save_memory`, as chapters do, and kept otherwise: what a process
    keeps is not for a function of the library to decide.
    """
    if save_memory.cache_info().currsize:
        release(*programs)


def release(*programs: Any) -> None:
    """Drops compiled programs, and gives free memory back to the system.

    Compiling leaves hundreds of megabytes in the allocator of the C library, which keeps them unless asked.

    Args:
        programs: functions made by `jax.jit` that will not be called again, or only for other shapes; none stands for
            all there are, their traces included.
    """
    import jax

    for program in programs:
        program.clear_cache()
    if not programs:
        jax.clear_caches()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not the GNU C library
        return
