"""The style of the figures does not depend on the reader's own settings."""

import sys
from io import StringIO
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib_inline.config import InlineBackend

from patchscape import figures
from patchscape.figures import style


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
@pytest.mark.filterwarnings("ignore:InlineBackend._print_figure_kwargs_changed:DeprecationWarning")
def test_a_notebook_shows_its_figures_whatever_the_machine_says(backend, asked, monkeypatch):
    found = []
    InlineBackend.clear_instance()
    shell = SimpleNamespace(kernel=None, enable_matplotlib=found.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv("MPLBACKEND", backend)
    with mpl.rc_context():
        figures.use_style()
    assert found == asked
    # A figure is as wide as it says, not as what is drawn on it.
    assert InlineBackend.instance().print_figure_kwargs == {"bbox_inches": None}


def test_outside_a_notebook_the_backend_is_left_alone(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    backend = mpl.get_backend()
    with mpl.rc_context():
        figures.use_style()
    assert mpl.get_backend() == backend


def test_depths_are_told_apart_by_greys_dashes_and_markers():
    looks = style.by_depth([18, 2, 6, 2])
    assert list(looks) == [2, 6, 18]
    greys = [float(look["color"]) for look in looks.values()]
    assert greys == sorted(greys, reverse=True)
    assert greys[-1] == 0  # the deepest is black
    for name in ("linestyle", "marker"):
        assert len({look[name] for look in looks.values()}) == 3


def test_names_at_the_ends_of_lines_do_not_overlap():
    fig, ax = plt.subplots(figsize=(7, 3), layout="none")
    ax.set(yscale="log", xlim=(0, 1), ylim=(1, 100))
    style.name_ends(ax, [(1, 10, "a", "black"), (1, 10.1, "b", "black"), (1, 100, "c", "black")])
    low, middle, high = (text.get_window_extent() for text in ax.texts)
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    assert low.y1 <= middle.y0
    assert middle.y1 <= high.y0
    plt.close(fig)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 30, ["1", "2", "5", "10", "20"]),
        (0.5, 2000, ["1", "10", "100", "1000"]),
        (
            1e-7,
            1,
            [
                r"$\mathdefault{10^{-6}}$",
                r"$\mathdefault{10^{-4}}$",
                r"$\mathdefault{10^{-2}}$",
                r"$\mathdefault{10^{0}}$",
            ],
        ),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_plain_numbers_while_these_are_short(low, high, ticks):
    fig, ax = plt.subplots()
    ax.set(yscale="log", ylim=(low, high))
    style.decades(ax.yaxis)
    shown = zip(ax.get_yticks(), ax.yaxis.get_ticklabels(), strict=True)
    assert [label.get_text() for tick, label in shown if low <= tick <= high] == ticks
    plt.close(fig)


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


def test_a_saved_figure_stands_still_however_often_it_is_drawn():
    """Else panels of equal sides beside a colour bar wander, and a phone shows them cut."""
    with mpl.rc_context():
        style.use_style()
        fig, axes = plt.subplots(3, 4, figsize=(7, 4.4), sharex=True, sharey=True)
        for ax in axes.flat:
            image = ax.imshow(np.eye(3))
            ax.set_title("a title")
        axes[0, 0].set_ylabel("a label")
        fig.colorbar(image, ax=axes, label="another")
        style.save(fig, "still", {})
        found = []
        for _ in range(3):
            fig.draw_without_rendering()
            found.append([ax.get_position().bounds for ax in fig.axes])
        plt.close(fig)
    np.testing.assert_array_equal(found[1:], [found[0]] * 2)
