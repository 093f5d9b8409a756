"""Products with a matrix that are kept in a file as they are computed, so that hours of them survive a stopped machine.

An iteration that is started again asks for the same products in the same order: those that are kept cost nothing, and
it goes on where it was.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from patchscape.store import records

Matvec = Callable[[np.ndarray], np.ndarray]
_SAME = 1e-4  # ours: relative; single precision on another machine changes a vector by less


def recorded(matvec: Matvec, path: str | Path, identity: str) -> Matvec:
    """Returns a product that keeps its results in a file.

    Args:
        matvec: (size,) -> (size,); single precision is kept of its results.
        path: the file, rewritten after every product that is not in it.
        identity: of the matrix; a file with another one is not used.

    Returns:
        The product. It raises a ValueError if a vector differs from the one that the file has in its place.
    """
    path, kept, count = Path(path), [], 0
    if path.exists():
        arrays, meta = records.read(path)
        if meta["identity"] == identity:
            kept = list(zip(arrays["marks"], arrays["products"], strict=True))

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal count
        mark = np.random.default_rng(0).standard_normal(len(v)) @ v  # tells vectors apart
        if count == len(kept):
            kept.append((mark, np.asarray(matvec(v), np.float32)))
            marks, products = zip(*kept, strict=True)
            records.write(path, {"marks": np.array(marks), "products": np.stack(products)}, {"identity": identity})
        elif abs(mark - kept[count][0]) > _SAME * np.linalg.norm(v):
            raise ValueError(f"{path} has products of other vectors: delete it and run the job again.")
        count += 1
        return kept[count - 1][1].astype(np.float64)

    return product
