"""What a stranger may give: every mistake ends in one sentence that names it, before any work, and nothing is lost."""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from patchscape import cli, config
from patchscape.book import chapters
from patchscape.learning import data, model, training
from patchscape.numerics import products, spectra
from patchscape.store import files, grids, records
from patchscape.study import jobs, views, whole

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.uniform(0.5, 1, (24, 4, 4)), np.arange(24) % 2
RUN = config.RunConfig(
    model=config.ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=2),
    train=config.TrainConfig(epochs=1, batch_size=6),
    dataset="own",
)
SEEDS = [1001, 7]
META = {"run": RUN.model_dump(mode="json"), "seeds": SEEDS, "wall_s": 1.0}
CURVES = {name: np.ones((2, 1)) for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")}
PHI = np.zeros((2, 4, RUN.model.n_params_per_qnn))
ARRAYS = CURVES | {"minimum_epoch": np.zeros(2, int), "minimum/phi": PHI, "minimum/bias": np.zeros((2, 4, 4))}


class Tensor:
    """Refuses to be an array, as a tensor with a gradient or on a GPU does."""

    def __array__(self, *_, **__):
        raise RuntimeError("call detach first")


def pictures(**given):
    arrays = {"train_images": PIXELS, "train_labels": LABELS, "test_images": PIXELS[:8], "test_labels": LABELS[:8]}
    return data.from_arrays(**(arrays | {"n_qubits": 2, "pixel_max": 1.0} | given))


def square(p):
    return jnp.sum(jnp.abs(p) ** 2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"train_images": np.ma.masked_less(PIXELS, 0.6)}, "some images are masked"),
        ({"train_labels": np.ma.masked_equal(LABELS, 1)}, "some train labels are masked"),
        ({"test_labels": [[1], [0, 1]]}, "test labels cannot be made one array"),
        ({"train_images": Tensor()}, "call detach first"),
        ({"train_labels": Tensor()}, "call detach first"),
        ({"train_images": PIXELS[:, :0, :0]}, "there is no image, or one without pixels"),
        ({"n_qubits": float("nan")}, "n_qubits=nan: give the number of wires"),
        ({"n_qubits": 2.5}, "n_qubits=2.5: give the number of wires"),
        ({"n_qubits": True}, "n_qubits=True: give the number of wires"),
        ({"n_qubits": "2"}, "n_qubits=2: give the number of wires"),
        ({"pool": 2.0}, "side divisible by pool=2.0"),
        ({"n_classes": 1.5}, "n_classes=1.5: give a number of classes"),
        ({"n_classes": "2"}, "n_classes=2: give a number of classes"),
        ({"n_train": 5.0}, "n_train=5.0: choose 1 to 24"),
        ({"n_test": "5"}, "n_test=5: choose 1 to 8"),
        ({"pixel_max": 1e-50}, "pixel_max=1e-50: give the largest possible"),
        ({"pixel_max": 1e300}, r"pixel_max=1e\+300: give the largest possible"),
        ({"pixel_max": None}, "pixel_max=None: give the largest possible"),
        ({"pixel_max": np.ones(2)}, r"pixel_max=\[1. 1.\]: give the largest possible"),
    ],
)
def test_images_that_would_be_misread_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        pictures(**given)


def test_a_brightest_pixel_may_be_a_number_of_any_kind():
    for given in (1, np.float16(1), np.array(1.0), jnp.float32(1)):
        np.testing.assert_array_equal(pictures(pixel_max=given).train_angles, pictures().train_angles)


def test_no_wires_are_not_taken_for_the_usual_number(monkeypatch):
    monkeypatch.setitem(data._READERS, "digits", lambda: ([PIXELS, LABELS, PIXELS, LABELS], 1.0, 1))
    with pytest.raises(ValueError, match="n_qubits=0: give the number of wires"):
        data.load("digits", n_qubits=0, n_classes=2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"test_angles": np.zeros((8, 6, 6))}, r"the images have \(6, 6\) pixels"),
        ({"test_labels": LABELS[:5]}, r"test labels must be .* got shape \(5,\) for 8 images"),
        ({"train_labels": LABELS - 1}, "train labels must be .* got -1"),
        ({"train_labels": LABELS.astype(float)}, "train labels must be .* got type float64"),
        ({"test_labels": LABELS[:8] + 1}, "test label 2 needs more than the 2 classes"),
        ({"train_angles": np.full((24, 4, 4), np.nan)}, "train angles go from nan to nan"),
        ({"train_angles": PIXELS * 255}, r"train angles go from .* make them for n_qubits=2"),
        ({"test_angles": -PIXELS[:8]}, "test angles go from -"),
    ],
)
def test_a_training_refuses_images_that_do_not_fit_its_run(changes, sentence, monkeypatch):
    monkeypatch.setattr(model, "init", None)  # nothing begins
    with pytest.raises(ValueError, match=sentence):
        training.train(RUN, pictures()._replace(**changes))


@pytest.mark.parametrize(
    ("run", "given", "sentence"),
    [
        (RUN, {"images": tuple(pictures())}, "images are of type tuple: make them by"),
        (RUN, {"images": None}, "images are of type NoneType: make them by"),
        (RUN, {"seeds": [1.5]}, "seed=1.5: input should be a valid integer"),
        (RUN, {"seeds": [-1]}, "seed=-1: input should be greater"),
        (RUN, {"seeds": [2**32]}, "seed=4294967296: input should be less"),
        (RUN.model_copy(update={"train": config.TrainConfig(batch_size=13)}), {}, "batch_size=13 gives 1 batches"),
        (RUN.model_copy(update={"n_train": -3}), {}, "n_train=-3: input should be greater"),
    ],
)
def test_a_training_refuses_a_wrong_run_before_anything_is_compiled(run, given, sentence, monkeypatch):
    monkeypatch.setattr(model, "init", None)
    with pytest.raises(ValueError, match=sentence):
        training.train(run, **{"images": pictures()} | given)


@pytest.mark.parametrize(
    ("loss", "params", "sentence"),
    [
        (square, jnp.arange(4), "parameters are of type int32: give floating-point numbers"),
        (lambda p: p["a"] * 1.0, {"a": 1.0, "n": 3}, r"parameters\['n'\] are of type int"),
        (square, jnp.ones(3, complex), "parameters are of type complex64"),
        (lambda p: p**2, jnp.ones(3), r"the loss returns .*shape=\(3,\).*: return one real"),
        (lambda p: jnp.sum(p) + 1j, jnp.ones(3), "the loss returns .*complex64.*: return one real"),
        (lambda p: (jnp.sum(p), p), jnp.ones(3), "the loss returns .*: return one real"),
        (lambda p: None, jnp.ones(3), "the loss returns None: return one real"),
        (lambda p: 1, jnp.ones(3), "the loss returns .*int32.*: return one real"),
    ],
)
def test_a_hessian_is_refused_where_there_is_none(loss, params, sentence):
    for compute in (spectra.top_eigenvalues, products.dense_hessian):
        with pytest.raises(ValueError, match=sentence):
            compute(loss, params)


@pytest.mark.parametrize("k", [None, "1", 0, 9, float("nan")])
def test_a_number_of_eigenvalues_is_one_that_there_is(k):
    with pytest.raises(ValueError, match=f"k={k}, .* choose k from 1 to 4"):
        spectra.eigenpairs(lambda v: v, 4, k, seed=0)


@pytest.mark.parametrize("image", [np.ones(3), 1.0, np.ones((6, 1)), 1j * np.ones(6), None])
def test_a_product_of_another_shape_or_kind_is_no_matrix(image):
    for iterate in (
        lambda product: spectra.eigenpairs(product, 6, 1, seed=0),
        lambda product: spectra.lanczos(product, 6, seed=0, max_steps=6),
    ):
        with pytest.raises(ValueError, match=r"a product with the matrix has shape .* of shape \(6,\)"):
            iterate(lambda v: image)


@pytest.mark.parametrize("given", [{"top": -1}, {"bottom": -1}, {"n_blocks": 0}])
def test_lanczos_wants_a_number_of_values_and_blocks(given):
    with pytest.raises(ValueError, match="choose size, max_steps and n_blocks from 1"):
        spectra.lanczos(lambda v: v, 6, **{"seed": 0, "max_steps": 6} | given)
    with pytest.raises(ValueError, match="starts=0: choose at least 1"):
        spectra.quadrature(lambda v: v, 6, steps=2, starts=0)


def call(*arguments):
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arrays", "meta"),
    [
        (ARRAYS, META | {"run": None}),
        (ARRAYS, META | {"run": META["run"] | {"colour": 1}}),
        (ARRAYS, META | {"run": META["run"] | {"model": {"n_patches": 5}}}),
        (ARRAYS, {"seeds": SEEDS}),
        (ARRAYS, META | {"seeds": 3}),
        (ARRAYS, META | {"seeds": [1, 2, 3]}),
        (ARRAYS | {"minimum/phi": PHI[:, :, 1:]}, META),
        (CURVES, META),
        ({name: value for name, value in ARRAYS.items() if name != "minimum_epoch"}, META),
    ],
)
def test_a_file_that_is_no_run_of_this_version_is_named_wherever_it_is_met(arrays, meta, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records.write("runs/odd.safetensors", arrays, meta)
    for command in ("curvature", "measure", "spectrum", "verify"):
        assert call(command, "runs/odd.safetensors").startswith("patchscape: runs/odd.safetensors ")
    assert call("results", "--grid", "runs").startswith("patchscape: runs/odd.safetensors ")


def test_a_folder_with_the_name_of_a_run_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "odd.safetensors").mkdir(parents=True)
    assert call("results", "--grid", "runs").startswith("patchscape: runs/odd.safetensors cannot be read")


def test_a_spectrum_never_replaces_a_run_file_or_the_spectrum_of_another_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "images_of", None)  # nothing begins
    run_file, spectrum = tmp_path / "runs" / "a.safetensors", tmp_path / "spectra" / "a.safetensors"
    records.write(run_file, ARRAYS, META)
    records.write(spectrum, {}, {"run_file": records.checksum(*records.read(run_file)), "seeds": SEEDS[:1]})
    before = run_file.read_bytes(), spectrum.read_bytes()
    with pytest.raises(ValueError, match="is no spectrum of seed 1001 of this run: choose another folder"):
        whole.make(run_file, run_file.parent, 0)
    with pytest.raises(ValueError, match="is no spectrum of seed 7 of this run: choose another folder"):
        whole.make(run_file, spectrum.parent, 1)
    assert (run_file.read_bytes(), spectrum.read_bytes()) == before


def test_landscapes_are_not_looked_for_in_a_run_file(tmp_path):
    job = grids.Job(RUN, tuple(SEEDS), "top", ())
    records.write(files.paths(job, tmp_path)[0], ARRAYS, META)
    with pytest.raises(ValueError, match="is the folder of the run files: choose another one"):
        views.make(job, tmp_path, tmp_path)


def test_a_folder_that_cannot_be_written_is_named_before_the_training(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(training, "train", None)
    said = call("train", "--preset", "digits", "--depth", 1, "--out", tmp_path)
    assert said == f"patchscape: no file can be written in {tmp_path} (Permission denied): choose another folder."


@pytest.mark.parametrize("value", ["2024-13-45", "1" * 5000, "!!timestamp x", "!!bool x", "[" * 5000])
def test_text_that_is_no_day_and_no_number_is_not_yaml(value, tmp_path):
    with pytest.raises(ValueError, match="the value is not YAML") as refused:
        chapters.read_values([f"depth={value}"])
    assert len(str(refused.value)) < 200
    (tmp_path / "odd.yaml").write_text(f"04_hessian:\n  depth: {value}\n")
    with pytest.raises(ValueError, match=r"odd\.yaml is not readable as YAML"):
        chapters.load_parameters(tmp_path / "odd.yaml", {})


@pytest.mark.parametrize("text", ["", "no JSON", "{}", "[]"])
def test_a_damaged_chapter_is_named(text, tmp_path):
    (tmp_path / "02_odd.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"02_odd\.ipynb is no notebook \(.*\): restore it"):
        chapters.declared_parameters(tmp_path / "02_odd.ipynb")


def test_truth_is_no_number_in_numpy_either():
    with pytest.raises(ValueError, match=r"'depth' of chapter 04_hessian was given .*True.*: give a whole number"):
        chapters.validate_parameters("chapters/04_hessian.ipynb", {"depth": np.bool_(True)})
