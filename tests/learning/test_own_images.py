"""Images of the user's own: what is trained on them is measured on them, and what is lost on the way is said."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from patchscape import cli, config
from patchscape.learning import data, model, training
from patchscape.numerics import products
from patchscape.store import files, grids, records
from patchscape.study import jobs, verification

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.uniform(0, 1, (240, 4, 4)), np.arange(240) % 2


def pictures(pixels=PIXELS, labels=LABELS, **given):
    parts = pixels[:200], labels[:200], pixels[200:], labels[200:]
    return data.from_arrays(*parts, **{"n_qubits": 2, "pixel_max": 1.0} | given)


MINE = pictures(name="mine")
RUN = config.RunConfig(
    model=config.ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=2),
    train=config.TrainConfig(learning_rate=0.05, epochs=2, batch_size=50),
    dataset="mine",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The run file of a training on 200 images of one's own."""
    path = tmp_path_factory.mktemp("own") / f"{RUN.name()}.safetensors"
    training.store(path, RUN, training.train(RUN, MINE))
    return path


@pytest.mark.slow
def test_a_run_on_own_images_is_measured_on_these_or_not_at_all(stored):
    meta = records.read(stored).meta
    assert meta["run"]["dataset"] == "mine"
    assert meta["images"] == MINE.fingerprint
    asked = CliRunner().invoke(cli.app, ["curvature", str(stored)])
    assert asked.exit_code == 1
    assert "data set 'mine' cannot be loaded (only mnist, digits, fashion_mnist can): give its images" in asked.output
    assert "Traceback" not in asked.output

    params = files.minimum(records.read(stored), 0)
    dense = products.dense_hessian(lambda p: model.loss(RUN.model, p, MINE.train_angles, MINE.train_labels), params)
    found = jobs.eigenpairs(stored, images=MINE)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense)[-1:], rtol=1e-3)

    other = {"PIXELS": pictures(1 - PIXELS, name="mine"), "labels": pictures(labels=1 - LABELS, name="mine")}
    for images in other.values():
        with pytest.raises(ValueError, match="trained on other images than these of data set 'mine'") as refused:
            jobs.eigenpairs(stored, images=images)
        assert MINE.fingerprint[:12] in str(refused.value)


def test_a_run_that_says_to_be_of_a_known_data_set_and_is_not_is_refused_by_everything_that_loads_it(tmp_path, stored):
    run = config.digits(1, 1, epochs=2).model_copy(update={"n_train": 200, "n_test": 40})
    size = (240, 8, 8)
    own = pictures(RNG.uniform(0, 1, size), np.arange(240) % 10, n_qubits=6)._replace(name="digits")
    for dataset, images, sentence in (
        (run, own, "trained on other images than these of data set 'digits'"),
        (RUN, MINE, "data set 'mine' cannot be loaded"),
    ):
        job = grids.Job(dataset, (dataset.seed,), "core", ("test",))
        path, curvature_file = files.paths(job, tmp_path)
        params = {f"minimum/{k}": np.asarray(v)[None] for k, v in model.init(dataset.model, 0).items()}
        curves = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        arrays = params | {"minimum_epoch": np.zeros(1, int)} | {name: np.ones((1, 1)) for name in curves}
        meta = {"run": dataset.model_dump(mode="json"), "seeds": [dataset.seed], "images": images.fingerprint}
        records.write(path, arrays, meta)
        measured = {"run_file": records.checksum(arrays, meta)}
        for what in (
            lambda: jobs.eigenpairs(path),  # noqa: B023
            lambda: jobs.measure(job, tmp_path),  # noqa: B023
            lambda: jobs.images_of(records.read(path)),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=sentence):
                what()
        records.write(curvature_file, {"train_loss": np.ones(1), "lambda_max": np.ones(1)}, measured)
        for what in (lambda: verification.verify(path), lambda: jobs.complete(job, tmp_path)):  # noqa: B023
            with pytest.raises(ValueError, match=sentence):
                what()


def test_images_that_are_not_those_of_the_run_are_not_trained_on():
    small = {"image_side": 2, "n_patches": 1}
    for changes, sentence in (
        ({"dataset": "own"}, r"the images are called 'mine' and the data set of the run 'own': .*dataset='mine'"),
        ({"dataset": "mnist"}, "the data set of the run 'mnist'"),
        ({"model": RUN.model.model_copy(update=small)}, r"the images have \(4, 4\) pixels: give .* image_side=4"),
        ({"n_train": 199}, "n_train=199 of the run and 200 images"),
        ({"n_test": 41}, "n_test=41 of the run and 40 images"),
    ):
        with pytest.raises(ValueError, match=sentence):
            training.train(RUN.model_copy(update=changes), MINE)
    with pytest.raises(ValueError, match="train label 3 needs more than the 2 classes of the run"):
        training.train(RUN, pictures(labels=np.arange(240) % 4, name="mine"))


def test_a_fingerprint_is_that_of_the_pixels_and_labels_and_not_of_the_name():
    assert pictures().name == "own"
    assert pictures().fingerprint == MINE.fingerprint == pictures(PIXELS.copy(), name="other").fingerprint
    assert len({MINE.fingerprint, pictures(1 - PIXELS).fingerprint, pictures(labels=1 - LABELS).fingerprint}) == 3
    swapped = MINE._replace(test_labels=MINE.test_labels[::-1])
    assert swapped.fingerprint != MINE.fingerprint
    assert data.load("digits", n_train=50).fingerprint == data.load("digits", n_train=50).fingerprint
    with pytest.raises(ValueError, match=r"^name='mnist' is a data set that"):
        pictures(name="mnist")
    with pytest.raises(ValueError, match="dataset='my images': choose"):
        pictures(name="my images")


def test_labels_that_are_left_out_are_counted_aloud():
    labels = np.arange(240) % 4
    with pytest.warns(
        UserWarning, match="n_classes=2 leaves out 100 of 200 training and 20 of 40 test images.*=4 keeps"
    ):
        few = pictures(labels=labels, n_classes=2)
    assert len(few.train_labels) == 100
    assert len(pictures(labels=labels).train_labels) == 200  # and no warning, which would be an error here


@pytest.mark.parametrize(
    ("n_patches", "share", "what_fits"),
    [
        (4, "16%", "a pool 4 times as large or n_qubits=10 would show all"),
        (9, "36%", "a pool 2 times as large or n_qubits=8 would show all"),
        (1, "4%", "a pool 5 times as large would show all"),
    ],
)
def test_patches_that_leave_gaps_say_how_much_they_see_and_what_would_fit(n_patches, share, what_fits):
    images = pictures(RNG.uniform(0, 1, (240, 20, 20)), n_qubits=4)
    cfg = config.ModelConfig(n_patches=n_patches, depth=1, n_qubits=4, image_side=20, n_classes=2)
    with pytest.warns(UserWarning, match=rf"see {share} of the 20 x 20 pixels of an image: {what_fits}\.$"):
        data.check(config.RunConfig(model=cfg, dataset="own"), images)


def test_the_gaps_of_a_stored_study_and_patches_that_cover_the_image_are_no_news():
    gaps = config.RunConfig(
        model=config.ModelConfig(n_patches=4, n_qubits=6, image_side=8, stride=0), dataset="digits", n_train=50
    )
    data.check(gaps, data.load_run(gaps))
    data.check(RUN, MINE)


def test_pixels_that_use_little_of_their_range_are_mentioned():
    with pytest.warns(
        UserWarning, match=r"the brightest pixel is .* of pixel_max=255, so that the angles are close to 0"
    ):
        pictures(pixel_max=255)
    for impossible in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"pixel_max={impossible}: give the largest possible pixel value"):
            pictures(pixel_max=impossible)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array(["a", "b"])[LABELS], r"got type <U1; give number all classes at once, `np.unique\(labels, return"),
        (np.array(["a", "b"], object)[LABELS], r"got type object; .*np.unique"),
        (LABELS * 1.0, r"got type float64; give `labels.astype\(int\)`"),
        (LABELS == 1, r"got type bool; give `labels.astype\(int\)`"),
        (LABELS + 0.5, r"got type float64; .*np.unique"),
        (np.where(LABELS, np.nan, 0), r"got type float64; .*np.unique"),
        (np.eye(2, dtype=int)[LABELS], r"got shape \(200, 2\); give `labels.argmax\(1\)`"),
        (LABELS[:, None], r"got shape \(200, 1\); give `labels.ravel\(\)`"),
        (LABELS - 1, r"got -1; .*np.unique"),
        (LABELS[:220], r"test labels .* got shape \(20,\) for 40 images; give one for each"),
        (LABELS * 2, "no training image has label 1: n_classes=3 needs every class, without gaps"),
        (LABELS + 1990, "no training image has label 0: n_classes=1992"),
        (LABELS + 10**9, "no training image has label 0"),
    ],
)
def test_labels_that_are_no_class_numbers_get_the_hint_that_helps(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        pictures(labels=labels)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.ones((240, 8, 8, 3)), r"make colours grey, `images\[\.\.\., :3\]\.mean\(-1\)`"),
        (np.ones((240, 8, 8, 4)), r"make colours grey, `images\[\.\.\., :3\]\.mean\(-1\)`"),
        (np.ones((240, 3, 8, 8)), r"make colours grey, `images\.mean\(1\)`"),
        (np.ones((240, 8, 8, 1)), r"take the one channel, `images\.squeeze\(-1\)`"),
        (np.ones((240, 1, 8, 8)), r"take the one channel, `images\.squeeze\(1\)`"),
        (np.ones((240, 64)), r"one row an image is `images\.reshape\(-1, 8, 8\)`"),
        (np.ones((240, 8, 6)), "cut or pad them to squares"),
        ([[[1.0]]] * 239 + [[[1.0, 2.0]]], "one array of real numbers"),
        (np.full((240, 4, 4), "x"), "one array of real numbers"),
        (np.full((240, 4, 4), 1j), "one array of real numbers"),
    ],
)
def test_images_of_another_shape_get_the_hint_that_helps(pixels, sentence):
    with pytest.raises(ValueError, match=sentence):
        pictures(pixels)


def test_a_missing_part_and_impossible_numbers_are_named():
    for parts in ((PIXELS, LABELS, None, None), (PIXELS, None, PIXELS, LABELS), (None, LABELS, PIXELS, LABELS)):
        with pytest.raises(ValueError, match=r"images or labels are missing \(None\)"):
            data.from_arrays(*parts, n_qubits=2, pixel_max=1)
    for given, sentence in (
        ({"n_qubits": 0}, "n_qubits=0: give the number of wires"),
        ({"pool": 0}, "side divisible by pool=0"),
        ({"n_classes": 0}, "n_classes=0: give a number of classes"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pictures(**given)
    with pytest.raises(ValueError, match="chunk=0: give a number of images at once, at least 1"):
        data.chunks(MINE.train_angles, MINE.train_labels, 0)


@pytest.mark.parametrize(("side", "classes", "share"), [(8, 4, 1), (10, 3, 0.64), (28, 7, 4 / 49)])
def test_in_the_example_of_chapter_8_only_the_pictures_and_labels_need_replacing(side, classes, share):
    notebook = json.loads((Path(__file__).parents[2] / "chapters" / "09_beyond.ipynb").read_text())
    (cell,) = (c["source"] for c in notebook["cells"] if "data.from_arrays(\n" in "".join(c["source"]))
    lines = "".join(cell).splitlines()
    code = "\n".join(lines[5 : next(i for i, line in enumerate(lines) if line.startswith("found ="))])
    names = {"np": np, "data": data, "config": config}
    names |= {"labels": np.arange(300) % classes, "pictures": RNG.integers(0, 256, (300, side, side))}
    exec(code, names)
    run, mine = names["run"], names["mine"]
    assert run.dataset == mine.name
    assert run.model.image_side == side
    assert 0 <= run.model.n_classes - classes <= 1
    with pytest.warns(UserWarning, match=f"see {share:.0%} of") if share < 1 else nullcontext():
        data.check(run, mine)


def test_other_files_of_a_run_are_not_taken_for_its_run_file(tmp_path):
    path = tmp_path / "run-curvature.safetensors"
    records.write(path, {"lambda_max": np.ones(1)}, {"run": RUN.model_dump(mode="json"), "seeds": [0]})
    with pytest.raises(ValueError, match="holds no minima: give the run file"):
        jobs.eigenpairs(path)
