"""Giving memory back between the steps of a long computation."""

import ctypes
import gc
from collections.abc import Callable

import jax


def release(*programs: Callable) -> None:
    """Drops compiled programs, and gives free memory back to the system.

    Compiling leaves hundreds of megabytes in the allocator of the C library, which keeps them unless asked.

    Args:
        programs: functions made by `jax.jit` that will not be called again, or only for other shapes; none stands for
            all there are, their traces included.
    """
    for program in programs:
        program.clear_cache()
    if not programs:
        jax.clear_caches()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not the GNU C library
        return
