"""The style of the figures does not depend on the reader's own settings."""

import sys
from types import SimpleNamespace

import matplotlib as mpl
import pytest
from matplotlib_inline.config import InlineBackend

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
    if asked:  # a figure is as wide as it says, not as what is drawn on it
        assert InlineBackend.instance().print_figure_kwargs == {"bbox_inches": None}


def test_outside_a_notebook_the_backend_is_left_alone(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    backend = mpl.get_backend()
    with mpl.rc_context():
        figures.use_style()
    assert mpl.get_backend() == backend
