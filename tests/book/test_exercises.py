"""What the answers of the exercises say, against what they speak of: stored runs, or the calls that they print."""

import functools
import json
import re
import shlex

import golden_facts
import nbformat
import numpy as np
import pytest
from cases import ROOT

from patchscape import config, tables
from patchscape.book import chapters
from patchscape.live import exact_spectrum, speed
from patchscape.numerics import statistics

PATHS = chapters.find_chapters(ROOT / "chapters")
# Read by the tests of this file or by those of stored results, or run here.
CHECKED = (
    "patchscape figures --chapter 1 -p n_patches=16",
    "patchscape figures --chapter 1 -p depth=50",
    "patchscape figures --chapter 1 -p dataset=digits",
    "patchscape figures --chapter 2 -p n_classes=2 -p 'patches=[1, 4]'",
    "patchscape figures --chapter 3 -p layers=0",  # tests/claims/test_verdicts.py
    "patchscape figures --chapter 5 -p n_classes=2",
    "patchscape figures --chapter 5 -p epochs=1",
    "patchscape figures --chapter 8 -p quantity=gauss_newton",
    "patchscape figures --chapter 8 -p seeds=5",
    "patchscape figures --chapter 9 -p 'noise=[0.0, 0.03]'",
    "patchscape figures --chapter 9 -p 'patches=[1, 4]'",
    "patchscape figures --chapter 10 -p n_images=800",
    "patchscape figures --chapter 10 -p 'depths=[50, 200]' -p n_images=100",
)
# They train for a minute or more, or take tens of seconds to open the images of MNIST.
LEFT_OUT = (
    "patchscape figures --chapter 4 -p 'patches=[4, 9]'",
    "patchscape figures --chapter 4 -p n_patches=1",
    "patchscape figures --chapter 6 -p view=pca_author",
    "patchscape figures --chapter 6 -p n_patches=9",
    "patchscape figures --chapter 7 -p images=100",
    "patchscape figures --chapter 7 -p products=4",
    "patchscape figures --chapter 8 -p 'replicas=[1, 16]'",  # the equality is a test of curvature
    "patchscape figures --chapter 9 -p 'shots=[3000]' -p repeats=100",
)


def exercises(path):
    """The text of a chapter's exercises, and that of the whole chapter."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    (found,) = (source.split("## Exercises")[1] for source in cells if "## Exercises" in source)
    return found, "\n".join(cells)


@pytest.mark.parametrize("path", PATHS.values(), ids=list(PATHS))
def test_every_call_of_an_answer_is_checked_or_left_out_for_its_time(path):
    text, _ = exercises(path)
    printed = re.findall(r"`(patchscape figures [^`]*)`", text)
    assert printed
    assert set(printed) <= {*CHECKED, *LEFT_OUT}


def test_no_call_is_listed_that_no_answer_prints():
    text = "".join(exercises(path)[0] for path in PATHS.values())
    assert all(f"`{call}`" in text for call in (*CHECKED, *LEFT_OUT))


@pytest.mark.parametrize("path", PATHS.values(), ids=list(PATHS))
def test_every_number_that_an_answer_names_is_one_of_its_chapter(path):
    text, whole = exercises(path)
    named = re.findall(r"(?<!\})`([a-z]+(?:-[a-z0-9]+)+)`", text)  # what follows a brace is a reference
    assert named
    missing = [name for name in named if f"{{glue:text}}`{name}`" not in whole]
    assert not missing


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Function that runs a call of `CHECKED` and returns its numbers."""

    @functools.cache
    def run(call):
        options = shlex.split(call.removeprefix("patchscape figures --chapter "))
        (path,) = chapters.choose(options[:1], PATHS).values()
        folder = tmp_path_factory.mktemp("figures")
        values = chapters.read_values(options[2::2])
        chapters.run_chapter(path, values, folder / "page.ipynb", figures=folder)
        found = json.loads((folder / f"facts-{path.stem[:2]}.json").read_text(encoding="utf-8"))["facts"]
        return numbers(found)

    return run


def numbers(found):
    """The facts that are one number."""
    return {n: float(t.replace("−", "-")) for n, t in found.items() if re.fullmatch(r"−?\d+([.]\d+)?", t)}


@pytest.fixture(scope="module")
def book():
    """The numbers of every page as the book was built, by chapter."""
    return {name: numbers(found) for name, found in golden_facts.of_the_book(live=True).items()}


@pytest.mark.slow
@pytest.mark.book
def test_1_untrained_logits_shrink_with_the_root_of_the_patches_and_not_with_the_depth(facts, book):
    page, many = book["01_architecture"], facts(CHECKED[0])
    assert many["arch-rms"] == pytest.approx(page["arch-rms"], rel=0.15)
    assert many["arch-logit-rms"] / page["arch-logit-rms"] == pytest.approx(0.5, abs=0.2)  # one draw of ten logits
    deep = facts(CHECKED[1])
    assert deep["arch-rms"] == pytest.approx(deep["arch-random"], rel=0.2)


@pytest.mark.slow
def test_1_two_qubits_fewer_double_the_expectation_values(facts):
    found = facts(CHECKED[2])
    assert found["arch-random"] == pytest.approx((2**6 + 1) ** -0.5, rel=0.01)
    assert found["arch-random"] / (2**8 + 1) ** -0.5 == pytest.approx(2, rel=0.02)
    assert found["arch-rms"] == pytest.approx(found["arch-random"], rel=0.3)


@pytest.mark.slow
def test_2_with_two_classes_t2_is_nearer_and_t1_nearly_equal(facts):
    found = facts(CHECKED[3])
    assert found["t-slack-t2"] == pytest.approx(20, rel=0.15)
    assert found["t-slack-t1"] == pytest.approx(1.05, abs=0.01)


def spectrum(classes, epochs):
    """The exact spectrum that chapter 5 shows in detail."""
    model = config.ModelConfig(n_patches=4, depth=3, n_qubits=4, image_side=8, n_classes=classes)
    train = config.TrainConfig(learning_rate=2e-2, epochs=epochs, batch_size=60)
    run = config.RunConfig(model=model, train=train, dataset="digits", n_train=240, seed=0)
    return exact_spectrum.exact_spectrum(run, 240)


@pytest.mark.slow
@pytest.mark.book
def test_5_early_in_training_the_class_means_are_there_and_the_negative_part_is_not_small(optimised, book):
    early, late = spectrum(8, 1), book["05_spectrum"]
    assert early["loss"] > np.log(8)
    share = exact_spectrum.eigenvector_table(early, 8).class_means[:7].mean()
    assert late["s-overlap"] > 0.4
    assert share > late["s-overlap"] - 0.1
    assert -early["H"][-1] / early["H"][0] == pytest.approx(0.11, abs=0.03)
    assert -late["s-low"] / late["s-top"] == pytest.approx(0.02, abs=0.01)


@pytest.mark.slow
def test_5_two_layers_of_angles_outside_the_light_cone_of_one_wire_are_flat(optimised):
    assert spectrum(2, 4)["flat"] == 4 * (2 * 3 + 2)


@pytest.fixture(scope="module")
def grid():
    table = tables.runs.with_law(tables.runs.table(["laptop", "controls"]))
    for name in ("lambda_max", "gauss_newton"):
        table[f"{name} per loss"] = table[name] / table.loss_factor
    return tables.runs.vary(table, "n_patches", "depth")


def powers(grid, column):
    several = grid[grid.n_patches >= 4]
    return {d: statistics.exponents(rows, column, ["n_patches"])["n_patches"] for d, rows in several.groupby("depth")}


def test_8_no_power_of_n_rests_on_the_residual_part(grid):
    whole, part = (powers(grid, f"{name} per loss") for name in ("lambda_max", "gauss_newton"))
    for depth in (2, 6, 18):
        assert abs(whole[depth].value - part[depth].value) < 0.05
        assert (whole[depth].low > -1, whole[depth].high < -1) == (part[depth].low > -1, part[depth].high < -1)


def test_8_five_seeds_are_enough_for_the_powers_of_n_and_not_for_depth_at_16_patches(grid):
    few = grid[grid.seed < 5]
    of_ten, of_five = (powers(rows, "lambda_max per loss") for rows in (grid, few))
    assert of_five[2].low > -1 > max(of_five[6].high, of_five[18].high)
    assert all(of_five[d].high - of_five[d].low > of_ten[d].high - of_ten[d].low for d in of_ten)
    low = {}
    for name, rows in (("ten", grid), ("five", few)):
        own = rows[rows.n_patches == 16]
        low[name] = statistics.ratio(own, "lambda_max per loss", own.depth == 6, own.depth == 2).low
    assert low["ten"] > 1 > low["five"]


@pytest.fixture(scope="module")
def beyond():
    return tables.beyond.table()


def test_9_a_little_noise_flattens_much_and_costs_little_accuracy(beyond):
    noisy = beyond[beyond.kind == "noisy"]
    kept = noisy.assign(height=np.log(noisy.lambda_max)).groupby(["noise", "n_patches"])[["height", "accuracy"]].mean()
    assert np.exp(kept.height[0, 1] - kept.height[0.03, 1]) == pytest.approx(6, abs=0.5)
    for n, cost in ((4, 0.04), (9, 0.06)):
        assert np.exp(kept.height[0, n] - kept.height[0.03, n]) == pytest.approx(4, abs=0.5)
        assert kept.accuracy[0, n] - kept.accuracy[0.03, n] == pytest.approx(cost, abs=0.006)
        assert kept.accuracy[0, n] - kept.accuracy[0.1, n] > 0.2


def test_9_one_and_four_patches_alone_would_set_the_classical_layer_apart(beyond):
    few = beyond[(beyond.aggregation == "mean") & beyond.n_patches.isin([1, 4])]
    found = {
        kind: statistics.exponents(few[few.kind == kind], "per_loss", ["n_patches"])["n_patches"]
        for kind in ("tanh", "paper")
    }
    assert found["tanh"].low > 0 > found["paper"].high


@pytest.mark.parametrize(
    ("images", "depth", "share", "longer"),
    [(800, 50, 0.5, None), (60_000, 200, 0.05, None), (100, 50, None, 3.7), (10_000, 50, None, 1.2)],
)
def test_10_building_costs_as_much_as_16_images_a_layer(images, depth, share, longer):
    once, deeper = (speed.operation_count(config.ModelConfig(n_patches=4, depth=d)) for d in (depth, 4 * depth))
    total, of_deeper = (count["build"] + images * count["image"] for count in (once, deeper))
    if share:
        assert once["build"] / total == pytest.approx(share, abs=0.005)
    else:
        assert of_deeper / total == pytest.approx(longer, abs=0.05)
