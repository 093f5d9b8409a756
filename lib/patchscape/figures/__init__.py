"""Every figure of the book: functions of tidy data that return a matplotlib figure, in one style.

Figures are grouped by chapter in submodules and reached as `figures.<name>`.
"""

from patchscape.figures.style import colour, save, use_style

__all__ = ["colour", "save", "use_style"]
