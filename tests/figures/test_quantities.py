"""Every figure of numbers shows the right quantity on the right axis, and its labels say the units."""

from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from patchscape import figures, law
from patchscape.config import ModelConfig
from patchscape.numerics.planes import Plane
from patchscape.store import columns
from patchscape.store.records import Record

LAMBDA = r"\lambda_{\max}"
UNIT = ("nats / rad$^2$", "nats per rad$^2$")
NATS = "(nats)"
RNG = np.random.default_rng(0)

# Runs whose columns all differ, so that a wrong one is not where the right one should be.
RUNS = pd.DataFrame(
    {
        "n_patches": [1, 1, 4, 4, 9, 9],
        "depth": [2, 6, 2, 6, 2, 6],
        "angles": [110, 330, 120, 340, 130, 350],
        "m": [110, 330, 120, 340, 130, 350],
        "where": ["start", "trained"] * 3,
        "noise": [0.0, 0.1, 0.0, 0.1, 0.0, 0.1],
        "lambda_min": [-0.5, -0.25, -1.0, -2.0, -0.1, -0.2],
    }
)
LARGE = [
    "lambda_max",
    "lambda_max_phi",
    "refined_lambda_max",
    "t1",
    "t1_uniform",
    "t2",
    "t2_a_priori",
    "weyl",
    "scaled",
    "raw",
    "per_loss",
]
SMALL = [
    "train_loss",
    "refined_train_loss",
    "test_loss",
    "gap",
    "gradient_norm",
    "coherence",
    "accuracy",
    "pca_1",
    "pc1",
]
for _start, _name in enumerate(LARGE, 11):
    RUNS[_name] = _start * np.array([1.0, 1.3, 0.7, 1.9, 0.4, 2.3])
for _start, _name in enumerate(SMALL, 1):
    RUNS[_name] = _start * np.array([0.011, 0.017, 0.013, 0.019, 0.007, 0.023])
ONE_DEPTH = RUNS[RUNS.depth == 2]
POINT = {
    name: np.abs(RNG.normal(1, 0.1, (1, *shape)))
    for name, shape in {
        "path_loss": (5,), "projected_loss": (5,), "step_outside": (4,), "coordinates": (5, 2), "eigenvalues": (2,),
        "slopes": (2,), "from_start": (len(columns.FROM_START),), "between": (3, len(columns.BETWEEN)),
        **{f"line/{name}": (len(columns.LINE),) for name in columns.LINES},
        **{f"{name}/loss": (3, 4) for name in ("pca_near", "eigen", "random_0", "random_1")},
    }.items()
}  # fmt: skip
for _name in ("pca_near", "eigen", "random_0", "random_1"):
    POINT[f"{_name}/axes"] = np.array([[[-1.0, 0, 1, 2], [-2.0, 0, 2, 4]]])
    POINT[f"{_name}/loss"] = np.abs(RNG.normal(1, 0.3, (1, 4, 4)))
RECORDS = {(4, 6): Record(POINT, {"seeds": [0]})}
VALUES = np.array([9.0, 7.0, 0.5, 0.2, 0.1, -0.3])
NODES, WEIGHTS = np.array([[9.0, 0.3, -0.3]] * 2), np.array([[0.25, 0.5, 0.25]] * 2)
SPECTRA = np.array([[8.0, 4.0, 1.0, 0.5], [8.0, 2.0, 1.0, 0.25]])
OVERLAPS = np.array([[0.9, 0.8, 0.3, 0.2], [0.7, 0.6, 0.1, 0.4]])
PUBLISHED = pd.DataFrame(
    [
        {"n_patches": n, "depth": d, "epoch": e, "valid_loss": 1 + 0.1 * e + n / d, "valid_acc": 0.5 + 0.01 * (e + n)}
        for n in (4, 9) for d in (50, 100) for e in range(3)
    ]
)  # fmt: skip
TRAINED = SimpleNamespace(
    train_loss=np.array([[3.0, 2.0, 1.0]]),
    test_loss=np.array([[4.0, 2.5, 2.0]]),
    test_accuracy=np.array([[0.1, 0.5, 0.7]]),
)
BENCH = pd.DataFrame(
    [
        {"qubits": q, "depth": d, "images": i, "simulator": "this book", "gradient": 0.001 * q * d * i**0.5}
        for q, d, i in ((8, 10, 100), (8, 20, 100), (8, 10, 1000), (6, 10, 100))
    ]
)  # fmt: skip
LOSS = 1 - np.exp(-RUNS.train_loss)
EPOCHS = np.arange(3)

# Figure, and by panel: points that are drawn, and what stands on its axes.
CASES = {
    "against_noise": (lambda: figures.against_noise(RUNS), {
        0: (RUNS.noise, RUNS.lambda_max, "depolarising probability", LAMBDA + "$ (nats / rad$^2$)"),
        1: (RUNS.noise, RUNS.per_loss, "depolarising probability", "e^{-L})$ (nats / rad$^2$)"),
        2: (RUNS.noise, RUNS.accuracy, "depolarising probability", "accuracy")}),
    "bound_against_measured": (lambda: figures.bound_against_measured(RUNS), {
        0: (RUNS.lambda_max, RUNS.t1, "H_\\varphi)$ (nats / rad$^2$)", "bound (nats / rad$^2$)"),
        1: (RUNS.lambda_max, RUNS.t2, "H_\\varphi)$ (nats / rad$^2$)", "")}),
    "published_collapse": (lambda: figures.published_collapse(RUNS), {
        0: (RUNS.m, RUNS.raw, "angles of one circuit", "nats / rad$^2$"),
        1: (RUNS.m, RUNS.scaled, "angles of one circuit", "")}),
    "bound_stored": (lambda: figures.bound_stored(RUNS), {
        0: (RUNS.lambda_max_phi, RUNS.t1, "H_\\varphi)$ (nats / rad$^2$)", "T1 (nats / rad$^2$)")}),
    "checkpoint_and_refined": (lambda: figures.checkpoint_and_refined(RUNS), {
        0: (np.r_[RUNS.train_loss, RUNS.refined_train_loss], np.r_[RUNS.lambda_max, RUNS.refined_lambda_max],
            "training loss (nats)", "(nats / rad$^2$)"),
        1: (np.r_[RUNS.train_loss, RUNS.refined_train_loss],
            np.r_[RUNS.lambda_max / LOSS, RUNS.refined_lambda_max / law.loss_factor(RUNS.refined_train_loss)],
            "training loss (nats)", "(nats / rad$^2$)")}),
    "generalisation": (lambda: figures.generalisation(RUNS), {
        0: (RUNS.lambda_max, RUNS.test_loss, "(nats / rad$^2$)", "test loss (nats)"),
        1: (RUNS.lambda_max, RUNS.gap, "(nats / rad$^2$)", "training loss (nats)")}),
    "lambda_rescaled": (lambda: figures.lambda_rescaled(RUNS, RUNS.assign(scaled=3 * RUNS.scaled)), {
        0: (RUNS.angles, RUNS.scaled, "angles of one circuit", "(nats / rad$^2$)"),
        1: (RUNS.angles, 3 * RUNS.scaled, "angles of one circuit", "")}),
    "lambda_against_patches_and_depth": (
        lambda: figures.lambda_against_patches_and_depth(ONE_DEPTH, RUNS[RUNS.n_patches == 4]), {
        0: (ONE_DEPTH.n_patches, ONE_DEPTH.lambda_max, "number of patches", "(nats / rad$^2$)"),
        1: ([2, 6], RUNS[RUNS.n_patches == 4].lambda_max, "layers per block", "")}),
    "not_converged": (lambda: figures.not_converged(RUNS), {
        0: (RUNS.train_loss, RUNS.gradient_norm, NATS, "gradient norm (nats / rad)"),
        1: (RUNS.train_loss, 100 * RUNS.lambda_min / RUNS.lambda_max, NATS, "(%)")}),
    "replay": (lambda: figures.replay({(4, 50): (np.array([4.0, 2.0]), np.array([4.4, 2.1]))}), {
        0: ([0, 1, 0, 1], [4.0, 2.0, 4.4, 2.1], "", "batch loss (nats)"),
        1: ([0, 1], [0.1, 0.05], "iteration", "relative difference")}),
    "density_and_rank": (lambda: figures.density_and_rank(VALUES, 2, 2), {
        1: ([1, 2, 3, 4, 5], VALUES[:5], "rank", UNIT)}),
    "parts": (lambda: figures.parts({"H": VALUES, "G": np.maximum(VALUES, 0), "R": VALUES[::-1] * -1}, 2), {
        0: ([1, 2, 1], [9, 7, 0.3], "rank", UNIT), 1: ([1, 1], [0.3, 9.0], "rank from the bottom", "")}),
    "eigenvector_overlap": (lambda: figures.eigenvector_overlap(
        pd.DataFrame({"rank": [1, 2, 3], "class_means": [0.9, 0.5, 0.1], "gauss_newton": [0.8, 0.6, 0.2]}), 0.05, 3), {
        0: ([1, 2, 3], [0.8, 0.6, 0.2], "eigenvector", "share")}),
    "outliers_against_classes": (lambda: figures.outliers_against_classes(
        pd.DataFrame({"classes": 4, "seed": 0, "rank": [1, 2], "relative": [1.0, 0.4]}),
        pd.DataFrame({"classes": [4, 4], "seed": [0, 1], "outliers": [3, 5]})), {
        0: ([0.25, 0.5], [1.0, 0.4], "number of classes", "lambda_1"),
        1: ([4, 4], [3, 5], "number of classes C", "above the gap")}),
    "gaps_and_classes": (lambda: figures.gaps_and_classes({(4, 2): SPECTRA}, {(4, 2): OVERLAPS}, 3), {
        0: ([1, 2, 3], [3, 3, 3], "", "lambda_{r+1}"), 1: ([1, 2, 3, 4], OVERLAPS.mean(0), "rank", "class-mean")}),
    "gaps_by_classes": (lambda: figures.gaps_by_classes(
        {"all": {3: {"eigenvalues": SPECTRA, "class_mean_overlap": OVERLAPS}}}), {
        0: ([1, 2, 3], [8**0.5, 8**0.5, 8**0.5], "", "lambda_{r+1}"),
        1: ([1, 2, 3, 4], OVERLAPS.mean(0), "rank", "class-mean")}),
    "expected_outliers": (lambda: figures.expected_outliers({4: {2: (SPECTRA, 2 * SPECTRA)}}, 3), {
        0: ([1, 2, 1], [8, 8**0.5, 16], "rank", "expected trace")}),
    "where_eigenvectors_live": (lambda: figures.where_eigenvectors_live(
        {(1, 2): {"vector_shares": np.tile([0.7, 0.3], (2, 4, 1)), "gradient_overlap": np.full((2, 4), 0.2)}}, 3), {
        0: ([0], [0.3], "patches", "share"), 1: ([0], [1.0], "patches", ""), 2: ([0], [0.4], "patches", "")}),
    "cumulative_density": (lambda: figures.cumulative_density(VALUES, NODES, WEIGHTS), {
        0: ([9e-6], [5 / 6], "level (nats per rad$^2$)", "share"),
        1: ([0.3e-6], [1 / 6], "level (nats per rad$^2$)", "")}),
    "whole_gauss_newton": (lambda: figures.whole_gauss_newton(VALUES[:5], np.array([8.0, 6.0]), NODES, WEIGHTS, 2), {
        0: ([1, 5, 1, 2], [9, 0.1, 8, 6], "rank", UNIT), 1: ([9e-8], [1.0], "level (nats per rad$^2$)", "share")}),
    "whole_runs": (lambda: figures.whole_runs({(4, 50): (np.array([3.0, 2]), np.array([2.5, 1.5]), 1)}, [0]), {
        0: ([0, 1, 0, 1], [3, 2, 2.5, 1.5], "epoch", "batch loss (nats)")}),
    "against_published": (lambda: figures.against_published(pd.DataFrame(
        [[9.0, 8.0, 0.2, 0.3]], index=pd.MultiIndex.from_tuples([(4, 50)]), columns=pd.MultiIndex.from_product(
            [["lambda_max", "train_loss"], ["published", "ours"]]))), {
        0: ([9], [8], "(nats per rad$^2$), published", "(nats per rad$^2$), ours"),
        1: ([0.2], [0.3], "(nats), published", "(nats), ours")}),
    "from_shots": (lambda: figures.from_shots(
        pd.DataFrame({"shots": [0, 100, 100], "curvature": [5.0, 4.0, 6.5]})), {
        0: ([100, 100], [4, 6.5], "measurements", "curvature (nats / rad$^2$)")}),
    "against_redrawn": (lambda: figures.against_redrawn(pd.DataFrame(
        {"n_patches": 4, "depth": 2, "seed": 0, "quantity": list(figures.REDRAWN), "low": 0.9, "high": 1.1,
         "ratio": [1.1, 1.2, 1.3, 1.4, 1.5]})), {
        0: ([0, 1, 2, 3, 4], [1.1, 1.2, 1.3, 1.4, 1.5], "", "trained blocks / redrawn blocks")}),
    "at_equal_losses": (lambda: figures.at_equal_losses(pd.DataFrame({"preset": [1, 1, 0.2, 0.2],
        "n_patches": [4, 9, 4, 9], "depth": 2, "lambda_max": [8.0, 4.0, 6.0, 3.0]}), "lambda_max"), {
        0: ([4, 9], [8, 4], "number of patches", "(nats / rad$^2$)"), 1: ([4, 9], [6, 3], "number of patches", "")}),
    "proof_slack": (lambda: figures.proof_slack(RUNS[RUNS.n_patches == 4]), {
        0: ([0, 2, 5], [1, 14 / 11, 17 / 11], "", f"value / ${LAMBDA}")}),
    "cost_model": (lambda: figures.cost_model(
        pd.DataFrame({"depth": [1, 2], "seconds": [0.002, 0.003], "build": [1e6, 2e6], "images": [3e6, 3e6]}), 1e9), {
        0: ([1, 2], [2, 3], "layers per block", "forward pass (ms)")}),
    "time_against": (lambda: figures.time_against(BENCH, {"depth": {"images": 100, "qubits": 8},
        "images": {"depth": 10, "qubits": 8}, "qubits": {"depth": 10, "images": 100}}), {
        0: ([10, 20], [8, 16], "layers per block", "ms per image"), 1: ([100, 1000], [8, 8 / 10**0.5], "images", ""),
        2: ([6, 8], [6, 8], "qubits", "")}),
    "published_curves": (lambda: figures.published_curves(PUBLISHED, [0]), {
        0: (EPOCHS, PUBLISHED.valid_loss[:3], "", "test loss (nats)"),
        2: (EPOCHS, PUBLISHED.valid_acc[:3], "epoch", "test accuracy")}),
    "quick_curves": (lambda: figures.quick_curves({4: TRAINED}, np.array([0.02, 0.01, 0.0])), {
        1: (EPOCHS, [3, 2, 1], "", "training loss (nats)"), 2: (EPOCHS, [4, 2.5, 2], "epoch", "test loss (nats)"),
        3: (EPOCHS, [0.1, 0.5, 0.7], "epoch", "test accuracy")}),
    "four_directions": (lambda: figures.four_directions(RECORDS, columns.LINE, columns.LINES), {
        0: (np.tile(columns.LINE, 4), np.concatenate([POINT[f"line/{name}"][0] for name in columns.LINES]),
            "distance (rad)", "loss (nats)")}),
    "start_and_other_minima": (lambda: figures.start_and_other_minima(RECORDS, columns.FROM_START, columns.BETWEEN), {
        0: (columns.FROM_START, POINT["from_start"][0], "0: start, 1: minimum", "loss (nats)"),
        1: (np.tile(columns.BETWEEN, 3), POINT["between"][0].ravel(), "minimum of seed 0", "")}),
    "hidden_by_the_plane": (lambda: figures.hidden_by_the_plane(RECORDS), {
        0: (np.tile(np.arange(5), 2), np.r_[POINT["path_loss"][0], POINT["projected_loss"][0]], "", "loss (nats)"),
        1: (np.arange(1, 5), 100 * POINT["step_outside"][0], "epochs", "(%)")}),
    "quadratic_model": (lambda: figures.quadratic_model(RECORDS, columns.LINE), {
        0: ([0.0, 0.6], [POINT["line/top eigenvector"][0, 40], POINT["line/top eigenvector"][0, 40]
            + 0.6 * POINT["slopes"][0, 0] + 0.18 * POINT["eigenvalues"][0, 0]], "(rad)", "loss (nats)")}),
    "explained_stored": (lambda: figures.explained_stored(
        RUNS, ONE_DEPTH, {"stored": (0.5, 0.6), "published": (0.5, 0.6)}), {
        0: (range(6), RUNS.pca_1, "layers per block", "variance along PC1"),
        1: (range(3), ONE_DEPTH.pc1, "layers", "")}),
    "kinds_of_planes": (lambda: figures.kinds_of_planes(RECORDS), {
        0: (*POINT["coordinates"][0].T, "PC1 (rad)", ""), 1: ([0], [0], "first eigenvector (rad)", "")}),
    "surfaces": (lambda: figures.surfaces(
        [("near", np.array([-1.0, 0, 1]), np.array([-2.0, 0, 2]), np.arange(1.0, 10).reshape(3, 3))],
        Plane(np.zeros(4), np.eye(2, 4), POINT["coordinates"][0], np.ones(2)), 4), {
        0: (*POINT["coordinates"][0].T, "PC1 (rad)", "PC2 (rad)")}),
}  # fmt: skip


@pytest.fixture
def own_settings():
    with mpl.rc_context():
        yield


def points(ax):
    """Points of the lines and dots of a panel, the places of names as numbers."""
    found = [np.c_[line.get_xdata(orig=False), line.get_ydata(orig=False)] for line in ax.lines]
    found += [np.asarray(collection.get_offsets()) for collection in ax.collections if len(collection.get_offsets())]
    return np.concatenate(found).astype(float)


@pytest.mark.parametrize("name", CASES)
def test_the_right_quantity_is_on_the_right_axis_with_its_unit(name):
    draw, panels = CASES[name]
    axes = draw().axes
    for place, (x, y, across, up) in panels.items():
        shown = points(axes[place])
        for pair in zip(np.asarray(x, float), np.asarray(y, float), strict=True):
            # runs are drawn side by side along x
            near = np.isclose(shown[:, 0], pair[0], rtol=0.2, atol=0.3) & np.isclose(shown[:, 1], pair[1], rtol=1e-6)
            assert near.any(), (place, pair)
        for label, wanted in ((axes[place].get_xlabel(), across), (axes[place].get_ylabel(), up)):
            assert any(text in label for text in ((wanted,) if isinstance(wanted, str) else wanted)), (place, label)
    plt.close("all")


def test_labels_of_quantities_that_have_a_unit_say_it():
    units = {name: c.unit for c in (*columns.SCHEMA["curvature"], *columns.TABLE) for name in c.names}
    labels = figures.controls.LABELS
    compared = [name for name in labels if units.get(name, "1") not in {"1", ""}]
    assert len(compared) > 5
    for name in compared:
        assert units[name].replace("/", " / ").replace("²", "$^2$") in labels[name], name


def test_the_blocks_of_the_hessian_are_drawn_row_by_row_over_the_largest():
    norms = np.array([[4.0, 1.0], [2.0, 3.0]])
    ax, bar = figures.block_matrix({2: norms}).axes
    np.testing.assert_allclose(ax.images[0].get_array(), norms / 4)
    assert ax.get_xlabel() == "circuit $p'$"
    assert ax.get_ylabel() == "circuit $p$"
    assert "largest" in bar.get_ylabel()
    plt.close("all")


@pytest.mark.usefixtures("own_settings")
def test_one_forward_pass_shows_angles_expectation_values_logits_and_their_softmax():
    cfg = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=6, n_classes=4)
    image, expectations = RNG.uniform(0, 1, (6, 6)), RNG.uniform(-1, 1, (4, 4))
    logits = np.array([1.0, 2.0, 0.5, 0.0])
    figures.use_style()
    a, b, c, d, *bars = figures.forward_pass(cfg, image, expectations, logits, 1).axes
    np.testing.assert_array_equal(a.images[0].get_array(), image)
    np.testing.assert_allclose(b.images[0].get_array(), np.vstack([expectations, expectations.mean(0)]))
    np.testing.assert_allclose([bar.get_height() for bar in c.patches], logits)
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([bar.get_height() for bar in d.patches], softmax)
    assert f"{-np.log(softmax[1]):.2f} nats" in d.get_title()
    assert "angle (rad)" in {bar.get_ylabel() for bar in bars}
    plt.close("all")


def test_every_patch_is_outlined_and_every_pixel_counted():
    cfg = ModelConfig(n_patches=4, n_qubits=4, image_side=6, n_classes=4)
    top, bottom = figures.patches_and_coverage(np.zeros((6, 6)), [cfg]).axes
    assert [text.get_text() for text in top.texts] == ["1", "2", "3", "4"]
    counts = bottom.images[0].get_array()
    assert (counts[0, 0], counts[0, 3], counts[3, 3]) == (1, 2, 4)
    assert counts.max() == cfg.max_coverage
    plt.close("all")


def test_drawings_name_the_parts_of_the_circuit_and_count_its_angles():
    cfg = ModelConfig(n_patches=4, depth=3, n_qubits=4, image_side=6, n_classes=4)
    words = "\n".join(text.get_text() for ax in figures.block_structure(cfg).axes for text in ax.texts)
    assert words.count(f"{2 * 3 * 4} angles") == 3
    assert words.count(f"{4 * 4} angles") == 2
    said = [text.get_text() for text in figures.block_idea().axes[0].texts]
    assert [text for text in said if text.startswith("block")] == ["block 1\non $|0\\rangle$", "block 2", "block 3"]
    plt.close("all")
