"""What a figure says in words beside a line, its table of data says as well: a table has no places to point at."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from patchscape import figures, tables
from patchscape.figures import drawn


def series(fig):
    """Returns the named series of a figure, and closes it."""
    table = drawn.table(fig)
    plt.close(fig)
    return table.dropna(subset="series").groupby("series")


def test_the_lines_of_the_overview_are_named_by_their_depth():
    published = tables.published.eigenvalues()
    lines = series(figures.overview(np.zeros((14, 14)), published))
    assert set(lines.groups) == {"d = 50", "d = 100", "d = 150", "d = 200", r"$\propto 1/n$"}
    expected = published[published.depth == 200].sort_values("n_patches").lambda_max
    np.testing.assert_array_equal(lines.get_group("d = 200").y, expected)


def test_the_named_line_and_the_points_of_the_coherence_are_named():
    table = pd.DataFrame({"n_patches": [4, 4, 9], "where": ["trained", "start", "start"], "coherence": [0.7, 0.4, 0.3]})
    table = table.assign(redrawn_coherence=[0.8, np.nan, np.nan], expected_coherence=0.9)
    lines = series(figures.coherence(table))
    np.testing.assert_allclose(lines.get_group("1/n").y, [1 / 4, 1 / 9])
    np.testing.assert_array_equal(lines.get_group("trained").y, [0.7])
    np.testing.assert_array_equal(lines.get_group("start").y, [0.4, 0.3])
    np.testing.assert_array_equal(lines.get_group("blocks drawn anew").y, [0.8])
    np.testing.assert_array_equal(lines.get_group("E2").y, [0.9])
