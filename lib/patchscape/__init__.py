"""Executable companion of arXiv:2504.19239: quantum neural networks on overlapping patches.

Modules are imported one by one (`from patchscape import model, curvature`), so that importing the
package costs nothing.
"""

__version__ = "0.1.0"
