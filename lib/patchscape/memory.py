"""Giving memory back between the steps of a long computation."""

import ctypes
import gc
from collections.abc import Callable


def release(*programs: Callable) -> None:
    """Drops what some compiled functions have compiled, and gives free memory back to the system.

    Compiling leaves hundreds of megabytes in the allocator of the C library, which keeps them unless asked.

    Args:
        programs: functions made by `jax.jit` that will not be called again, or only for other shapes. Those that
            nothing refers to any more need not be named.
    """
    for program in programs:
        program.clear_cache()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not the GNU C library
        return
