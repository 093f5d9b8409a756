"""The style of the figures does not depend on the reader's own settings."""

import sys
from io import StringIO
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from patchscape import figures


def test_figures_look_the_same_whatever_the_reader_s_own_settings_are():
    with mpl.rc_context():
        figures.use_style()
        expected = dict(mpl.rcParams)
        mpl.rcParams.update(
            {
                "text.usetex": True,
                "font.family": "serif",
                "savefig.bbox": "tight",
                "axes.grid": True,
                "lines.color": "r",
            }
        )
        figures.use_style()
        assert dict(mpl.rcParams) == expected


@pytest.mark.parametrize(
    ("backend", "asked"),
    [
        ("Agg", ["inline"]),
        ("TkAgg", ["inline"]),
        ("module://matplotlib_inline.backend_inline", []),
        ("module://ipympl", []),
    ],
)
def test_a_notebook_shows_its_figures_whatever_the_machine_says(backend, asked, monkeypatch):
    found = []
    shell = SimpleNamespace(kernel=None, enable_matplotlib=found.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv("MPLBACKEND", backend)
    with mpl.rc_context():
        figures.use_style()
    assert found == asked


def test_outside_a_notebook_the_backend_is_left_alone(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    backend = mpl.get_backend()
    with mpl.rc_context():
        figures.use_style()
    assert mpl.get_backend() == backend


def test_a_notebook_keeps_the_numbers_of_a_saved_figure_beside_its_picture(monkeypatch):
    monkeypatch.delenv("PATCHSCAPE_FIGURES", raising=False)
    drawn, ax = plt.subplots()
    ax.plot([1, 2], [3.0, 4.5])
    empty = plt.figure()
    shell = InteractiveShell()
    try:
        kept, _ = shell.display_formatter.format(figures.save(drawn, "a", {}))
        nothing, _ = shell.display_formatter.format(figures.save(empty, "b", {}))
    finally:
        shell.reset()
        plt.close("all")
    rows = pd.read_csv(StringIO(kept["text/csv"]))
    assert rows[["x", "y"]].to_numpy().tolist() == [[1, 3], [2, 4.5]]
    assert "text/csv" not in nothing
