"""Configurations: what is allowed, what an error says, and a hash that never moves."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from patchscape import config
from patchscape.config import ModelConfig, RunConfig, TrainConfig


@pytest.mark.parametrize(
    ("n_patches", "offsets"),
    [(4, (0, 6)), (9, (0, 3, 6)), (16, (0, 2, 4, 6)), (49, (0, 1, 2, 3, 4, 5, 6)), (1, (3,))],
)
def test_patches_lie_where_the_author_puts_them(n_patches, offsets):
    assert ModelConfig(n_patches=n_patches).offsets == offsets


@pytest.mark.parametrize(
    ("side", "q", "allowed"),
    [(14, 8, (1, 4, 9, 16, 49)), (8, 6, (1, 4, 9)), (6, 6, (1,)), (5, 6, ()), (4, 2, (1, 4, 9))],
)
def test_allowed_patch_counts_are_those_that_fit(side, q, allowed):
    assert config.allowed_patch_counts(side, q) == allowed


@given(st.sampled_from([2, 4, 6, 8, 10]), st.integers(0, 12), st.integers(1, 15))
def test_a_square_number_of_patches_is_allowed_exactly_if_they_start_at_whole_pixels(q, slack, k):
    side = q + slack
    fits = k == 1 or (slack >= k - 1 and slack % (k - 1) == 0)
    assert (k * k in config.allowed_patch_counts(side, q)) == fits
    if fits:
        cfg = ModelConfig(n_patches=k * k, n_qubits=q, image_side=side, n_classes=2)
        steps = {b - a for a, b in zip(cfg.offsets, cfg.offsets[1:], strict=False)}
        assert len(cfg.offsets) == k
        assert len(steps) <= 1
        assert min(cfg.offsets) >= 0
        assert max(cfg.offsets) + q <= side


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"n_patches": 5},
            "n_patches=5 does not tile image_side=14 with patches of 8 x 8 pixels: choose one of 1, 4, 9, 16, 49.",
        ),
        (
            {"n_patches": 16, "n_qubits": 6, "image_side": 8},
            "n_patches=16 does not tile image_side=8 with patches of 6 x 6 pixels: choose one of 1, 4, 9.",
        ),
        ({"n_qubits": 7}, "n_qubits=7 is odd; the encoding needs an even number from 2 to 10."),
        (
            {"n_classes": 3},
            "n_classes=3 does not fit n_qubits=8: choose an even number from 2 to 16 (half X and half Z observables).",
        ),
        (
            {"n_classes": 14, "n_qubits": 6, "image_side": 8},
            "n_classes=14 does not fit n_qubits=6: choose an even number from 2 to 12 (half X and half Z observables).",
        ),
        ({"image_side": 6}, "image_side=6 is smaller than a patch: choose at least n_qubits=8."),
        (
            {"n_patches": 4, "stride": 7},
            "n_patches=4 with stride=7 does not fit image_side=14: "
            "choose a square n with (sqrt(n) - 1) * stride + 8 <= 14.",
        ),
        (
            {"n_patches": 5, "stride": 1},
            "n_patches=5 with stride=1 does not fit image_side=14: "
            "choose a square n with (sqrt(n) - 1) * stride + 8 <= 14.",
        ),
    ],
)
def test_an_impossible_model_is_refused_in_one_sentence_that_says_what_is_allowed(fields, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole sentence is compared)
        ModelConfig(**fields)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ModelConfig, {"n_qubits": 12}),
        (ModelConfig, {"n_qubits": 0}),
        (ModelConfig, {"depth": 0}),
        (ModelConfig, {"scale": 0.0}),
        (ModelConfig, {"scale": float("inf")}),
        (ModelConfig, {"scale": float("nan")}),
        (ModelConfig, {"aggregation": "max"}),
        (TrainConfig, {"learning_rate": 0.0}),
        (TrainConfig, {"weight_decay": -1e-9}),
        (TrainConfig, {"epochs": -1}),
        (TrainConfig, {"batch_size": 0}),
        (TrainConfig, {"lr_half_period": 0}),
        (RunConfig, {"n_train": 0}),
        (RunConfig, {"seed": -1}),
        (RunConfig, {"seed": 2**32}),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(kind, fields):
    ((name, value),) = fields.items()
    with pytest.raises(ValueError, match="^" + re.escape(f"{name}={value!r}: input should be ")) as error:
        kind(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig, RunConfig])
def test_an_unknown_field_is_refused(kind):
    with pytest.raises(ValueError, match="'layers' is not a field of this configuration"):
        kind(layers=3)


def test_a_data_set_may_have_any_name_that_a_file_name_can_hold():
    assert RunConfig(dataset="own").name().startswith("own-n4-d50-s1001-")
    for name in ("", "my images", "../up", "mnist-n4", "ü", "x" * 41):
        with pytest.raises(ValueError, match=re.escape(f"dataset={name!r}: choose up to 40 letters, digits and")):
            RunConfig(dataset=name)


@pytest.mark.parametrize(
    ("cfg", "share"),
    [
        ({"n_patches": 4}, 1),
        ({"n_patches": 1}, 64 / 196),
        ({"n_patches": 4, "stride": 0}, 64 / 196),
        ({"n_patches": 9, "n_qubits": 4, "image_side": 20, "n_classes": 4}, 0.36),
    ],
)
def test_the_coverage_is_the_share_of_pixels_in_some_patch(cfg, share):
    assert ModelConfig(**cfg).coverage == pytest.approx(share)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig().depth = 3
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 3


def test_equal_configurations_are_equal_and_hashable():
    assert ModelConfig(depth=3) == ModelConfig(depth=3)
    assert len({ModelConfig(depth=3), ModelConfig(depth=3), ModelConfig(depth=4)}) == 2


def test_the_hash_of_a_run_is_pinned():
    # If this fails, every stored result loses its name: change the digests only together with data/results.
    assert RunConfig().digest() == "99aaabd7a733"
    assert config.paper(9, 200).digest() == "cb9fe6240d9f"
    assert RunConfig().name() == "mnist-n4-d50-s1001-99aaabd7a733"
    assert RunConfig(data_classes=4).digest() != RunConfig().digest() == RunConfig(data_classes=None).digest()


def test_a_run_has_as_many_classes_as_outputs_or_says_how_many_fewer():
    assert RunConfig().classes == 10
    assert RunConfig(data_classes=4).classes == 4
    for too_many in (6, 8):  # six of six would be a second name for the run without the field
        with pytest.raises(ValueError, match=rf"^data_classes={too_many} is not fewer than n_classes=6: choose"):
            RunConfig(model=ModelConfig(n_classes=6), data_classes=too_many)


def test_the_hash_depends_on_values_and_not_on_how_they_were_written():
    assert ModelConfig(scale=100, n_patches=4).digest() == ModelConfig().digest()
    assert RunConfig.model_validate_json(RunConfig(seed=7).canonical_json()) == RunConfig(seed=7)


@pytest.mark.parametrize(
    "other",
    [
        RunConfig(seed=1),
        RunConfig(n_train=600),
        RunConfig(n_test=600),
        RunConfig(dataset="fashion_mnist"),
        RunConfig(model=ModelConfig(shared_bias=False)),
        RunConfig(model=ModelConfig(aggregation="sum")),
        RunConfig(model=ModelConfig(scale=99.0)),
        RunConfig(model=ModelConfig(stride=6)),
        RunConfig(train=TrainConfig(weight_decay=0.0)),
        RunConfig(train=TrainConfig(epochs=51)),
    ],
)
def test_every_field_changes_the_hash(other):
    assert other.digest() != RunConfig().digest()


@pytest.mark.parametrize(("depth", "rate"), [(50, 1e-2), (100, 5e-3), (150, 2.5e-3), (200, 1e-3)])
@pytest.mark.parametrize("n_patches", [4, 9, 16])
def test_the_paper_preset_is_the_authors_protocol(n_patches, depth, rate):
    run = config.paper(n_patches, depth)
    assert run.model_dump() == {
        "model": {
            "n_patches": n_patches,
            "depth": depth,
            "n_qubits": 8,
            "image_side": 14,
            "n_classes": 10,
            "scale": 100.0,
            "aggregation": "mean",
            "shared_bias": True,
            "stride": None,
        },
        "train": {
            "learning_rate": rate,
            "weight_decay": 5e-5,
            "epochs": 50,
            "batch_size": 1000,
            "lr_half_period": 5,
        },
        "dataset": "mnist",
        "n_train": None,
        "n_test": None,
        "seed": 1001,
    }


@pytest.mark.parametrize(("n_patches", "depth"), [(4, 60), (49, 50), (1, 50)])
def test_a_point_outside_the_papers_grid_is_refused(n_patches, depth):
    with pytest.raises(ValueError, match="is not in the paper's grid: choose n_patches from") as error:
        config.paper(n_patches, depth)
    assert f"n_patches={n_patches}, depth={depth}" in str(error.value)
    assert "(4, 9, 16) and depth from (50, 100, 150, 200)" in str(error.value)


@pytest.mark.parametrize(("depth", "count"), [(50, 2528), (100, 4928), (150, 7328), (200, 9728)])
def test_parameter_counts_are_those_of_the_paper(depth, count):
    cfg = ModelConfig(n_patches=9, depth=depth)
    assert cfg.n_params_per_qnn == count
    assert cfg.n_params == 9 * count + 14 * 14
    assert cfg.model_copy(update={"shared_bias": False}).n_params == 9 * count


@pytest.mark.parametrize("n_patches", [1, 4, 9, 16, 49])
def test_the_central_pixel_lies_in_every_patch_of_the_papers_images(n_patches):
    assert ModelConfig(n_patches=n_patches).max_coverage == n_patches


@pytest.mark.parametrize(("stride", "offsets"), [(0, (3, 3, 3)), (1, (2, 3, 4)), (2, (1, 3, 5)), (3, (0, 3, 6))])
def test_a_stride_centres_the_patches(stride, offsets):
    assert ModelConfig(n_patches=9, stride=stride).offsets == offsets


def test_coverage_of_disjoint_patches_is_one():
    assert ModelConfig(n_patches=4, n_qubits=4, image_side=8, n_classes=2).max_coverage == 1


def test_the_digits_preset_is_the_quick_tier():
    run = config.digits(n_patches=9, depth=2, seed=5, epochs=7)
    m = run.model
    assert (m.n_patches, m.depth, m.n_qubits, m.image_side, m.n_classes) == (9, 2, 6, 8, 10)
    assert (run.dataset, run.seed, run.train.epochs) == ("digits", 5, 7)
