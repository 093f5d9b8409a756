"""Executable companion of arXiv:2504.19239: quantum neural networks on overlapping patches.

Two columns of rooms. One makes results: `numerics`, `circuit`, `learning`, `curvature`, and on top `study` (what is
stored) and `live` (what a chapter computes on the spot). The other reads them: `store`, `tables`, `figures`, `book`.
Both stand on `config` (what a run is), `law` (the formulas of the theory) and `runtime` (what holds for the process).

Modules are imported one by one (`from patchscape.learning import model`), so that importing the package costs nothing.
"""

__version__ = "0.1.0"
