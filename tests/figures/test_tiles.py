"""Figures in pieces: nothing that is drawn is lost, and each panel keeps the numbers of its axes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from patchscape.figures import style, tiles


@pytest.fixture(autouse=True)
def closed():
    style.use_style()
    yield
    plt.close("all")


def _panels(rows, columns, **shared):
    fig, axes = plt.subplots(rows, columns, figsize=(7, 3), squeeze=False, **shared)
    for ax in axes.flat:
        ax.plot([1, 1000], [1, 3], label="one")
        ax.errorbar([1, 1000], [3, 1], yerr=0.1, fmt="o-", capsize=3, label="another")
        ax.set(xlabel="time", title="panel")
    axes[0, 0].set_ylabel("height")
    return fig, axes


def _lost(fig, cut):
    """Number of pixels with something on them that lie in no piece."""
    fig.canvas.draw()
    drawn = np.asarray(fig.canvas.buffer_rgba())[..., :3].min(2) < 250
    across = drawn.shape[1]
    for tile in cut["tiles"]:
        for left, top, width, height in tile:
            ends = [round(across * end) for end in (top, top + height, left, left + width)]
            drawn[ends[0] : ends[1], ends[2] : ends[3]] = False
    return int(drawn.sum())


def _everything():
    fig, axes = _panels(2, 3, sharey=True, sharex=True)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _with_a_bar():
    fig, axes = _panels(1, 2)
    fig.colorbar(axes[0, 0].scatter([1, 2], [1, 2], c=[0, 1]), ax=axes, label="value")
    return fig


def _with_a_titled_legend():
    fig, axes = _panels(1, 2)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, title="kind")
    return fig


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: _panels(1, 1)[0], 1),
        (lambda: _panels(2, 1)[0], 1),
        (lambda: _panels(1, 2)[0], 2),
        (lambda: _panels(2, 3)[0], 3),
        (_everything, 3 + 2),  # columns of panels and of the legend
        (_with_a_bar, 2 + 1),
        (_with_a_titled_legend, 2 + 1),
    ],
)
def test_every_pixel_of_a_figure_is_in_one_of_its_pieces(make, count):
    fig = make()
    cut = tiles.cut(fig)
    assert len(cut["tiles"]) == count
    assert cut["height"] == pytest.approx(3 / 7, abs=1e-4)
    assert _lost(fig, cut) == 0
    if count > 1:  # and none of them is the whole
        assert max(sum(width for *_, width, _ in tile) for tile in cut["tiles"]) < 0.6
        assert _lost(fig, cut | {"tiles": cut["tiles"][1:]}) > 100


def test_a_panel_without_numbers_of_its_own_has_those_of_the_panel_that_it_shares_them_with():
    fig, (axes,) = _panels(1, 3, sharey=True)
    first, *others = tiles.cut(fig)["tiles"]
    (panel,) = first
    for numbers, own in others:
        assert numbers[0] == panel[0]
        labels = [label.get_window_extent() for label in axes[0].get_yticklabels()]
        right = numbers[0] + numbers[2]
        assert all(numbers[0] * fig.bbox.width <= box.x0 and box.x1 <= right * fig.bbox.width for box in labels)
        assert right * fig.bbox.width < axes[0].get_window_extent().x0
        assert own[0] > right
        assert numbers[1::2] == own[1::2]  # side by side, in one row


def test_panels_with_numbers_of_their_own_have_one_piece():
    assert [len(tile) for tile in tiles.cut(_panels(1, 3)[0])["tiles"]] == [1, 1, 1]


def test_columns_that_something_holds_together_are_not_cut():
    fig, axes = _panels(1, 3)
    axes[0, 0].text(1, 0.5, "a long name", transform=axes[0, 0].transAxes).set_in_layout(False)
    fig.draw_without_rendering()
    axes[0, 0].texts[0].set_in_layout(True)  # what comes later than the layout, as names at the ends of lines do
    fig.set_layout_engine("none")
    assert len(tiles.cut(fig)["tiles"]) == 2


def test_a_legend_is_above_where_it_was_above():
    first = tiles.cut(_with_a_titled_legend())["tiles"][0]
    assert first[0][1] < 0.02
    assert first[0][2] < 0.4
