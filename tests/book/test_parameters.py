"""What the parameters of the chapters may be: every wrong value gives one sentence before any work."""

import ast
import json
import re
from pathlib import Path
from typing import get_args

import nbformat
import numpy as np
import pytest
import yaml
from cases import ROOT

from patchscape import config, figures, tables
from patchscape.book import chapters, parameters
from patchscape.learning import data, training
from patchscape.numerics import statistics
from patchscape.store import files

PATHS = chapters.find_chapters(ROOT / "chapters")
SMOKE = yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text())

each_chapter = pytest.mark.parametrize("name", PATHS)


def properties(name):
    return parameters.CHAPTERS[name].model_json_schema()["properties"]


@each_chapter
def test_every_parameter_of_a_chapter_has_its_limits(name):
    assert list(parameters.CHAPTERS[name].model_fields) == list(chapters.declared_parameters(PATHS[name]))


def test_every_chapter_has_its_limits():
    assert list(parameters.CHAPTERS) == list(PATHS)


@each_chapter
def test_the_comments_in_the_parameters_cell_say_the_limits(name):
    """Those of numbers of patches are in the sentence of the configuration instead."""
    for parameter, record in chapters.declared_parameters(PATHS[name]).items():
        kind = properties(name)[parameter]
        kind = kind.get("items", kind)
        limits = kind.get("enum") or [kind[end] for end in ("minimum", "maximum") if end in kind]
        words = re.findall(r"[\w.]+", record["help"])
        if parameter not in {"patches", "n_patches", "n_qubits", "classes"}:
            assert {str(limit) for limit in limits} <= set(words), parameter


@each_chapter
def test_the_lines_of_the_parameters_cell_fit_into_a_page(name):
    cells = nbformat.read(PATHS[name], as_version=4).cells
    (source,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assert max(map(len, source.splitlines())) <= 80


@each_chapter
def test_a_chapter_gets_its_defaults_as_they_stand_in_its_cell(name):
    declared = chapters.declared_parameters(PATHS[name])
    found = chapters.validate_parameters(PATHS[name], {})
    assert found == {parameter: ast.literal_eval(record["default"]) for parameter, record in declared.items()}


WHOLE = "was given {}: give a whole number from"
LIST = "was given {}: give a list of"
WRONG = [
    # chapter, values, what the sentence says
    *(
        ("04_hessian", {"depth": value}, WHOLE.format(f"{value!r}"))
        for value in (
            0,
            -1,
            2.5,
            "three",
            "",
            "1e3",
            None,
            True,
            [3],
            {"a": 1},
            float("nan"),
            float("inf"),
            201,
            10**30,
        )
    ),
    *(
        ("04_hessian", {"depths": value}, LIST.format(f"{value!r}"))
        for value in (
            3,
            "[2,5]",
            None,
            {"a": 1},
            [],
            [2.5],
            ["x"],
            [None],
            [[2]],
            [True],
            [2, 2],
            [0],
            [2, -1],
            [10**6],
        )
    ),
    ("04_hessian", {"depths": "[2,5]"}, "papermill reads a list after -y, not after -p"),
    ("04_hessian", {"depth": 1_000_000}, "give a whole number from 1 to 200."),
    ("04_hessian", {"n_patches": 5}, "n_patches=5 does not tile"),
    ("04_hessian", {"patches": [1, 2]}, "n_patches=2 does not tile image_side=8 .*: choose one of 1, 4, 9."),
    ("04_hessian", {"patches": []}, LIST.format([])),
    ("04_hessian", {"seeds": 0}, WHOLE.format(0)),
    ("04_hessian", {"seeds": 10**6}, WHOLE.format(10**6)),
    ("04_hessian", {"epochs": 0}, WHOLE.format(0)),
    ("04_hessian", {"n_train": 100}, "was given 100: give a whole number from 200 to 1437."),
    ("04_hessian", {"n_train": 5000}, "give a whole number from 200 to 1437."),
    ("01_architecture", {"dataset": "cifar10"}, "'cifar10': give one of mnist, fashion_mnist, digits."),
    ("01_architecture", {"dataset": ["mnist"]}, "give one of mnist, fashion_mnist, digits."),
    ("01_architecture", {"dataset": 3}, "give one of mnist, fashion_mnist, digits."),
    ("01_architecture", {"n_patches": 5}, "choose one of 1, 4, 9, 16, 49."),
    ("01_architecture", {"dataset": "digits", "n_patches": 16}, "choose one of 1, 4, 9."),
    ("01_architecture", {"image": -1}, WHOLE.format(-1)),
    ("01_architecture", {"image": 60_000}, WHOLE.format(60_000)),
    ("01_architecture", {"dataset": "digits", "image": 1437}, "image=1437 .*: choose a number from 0 to 1436."),
    ("01_architecture", {"seed": -1}, WHOLE.format(-1)),
    ("01_architecture", {"seed": 2**32}, WHOLE.format(2**32)),
    ("02_bound", {"n_qubits": 1}, WHOLE.format(1)),
    ("02_bound", {"n_qubits": 3}, "n_qubits=3 is odd"),
    ("02_bound", {"n_qubits": 10}, WHOLE.format(10)),
    ("02_bound", {"n_qubits": 2}, "n_classes=8 does not fit n_qubits=2"),
    ("02_bound", {"n_qubits": 6}, "n_patches=25 does not tile"),
    ("02_bound", {"n_classes": 5}, "n_classes=5 does not fit n_qubits=4"),
    ("02_bound", {"n_classes": 2, "n_images": 289}, "n_images=289 is more than the 288 .*: choose at most 288."),
    ("02_bound", {"depth": 50}, "make a dense Hessian of 30864 rows: choose fewer"),
    ("05_spectrum", {"n_classes": 5}, "n_classes=5 does not fit n_qubits=4"),
    ("05_spectrum", {"classes": [2, 3]}, "n_classes=3 does not fit n_qubits=4"),
    ("05_spectrum", {"classes": [2, 10]}, "n_classes=10 does not fit n_qubits=4"),
    ("05_spectrum", {"n_classes": 6, "n_qubits": 2}, "does not fit n_qubits=2"),
    ("05_spectrum", {"n_qubits": 6, "n_classes": 12}, WHOLE.format(12)),  # there are ten classes of images
    ("05_spectrum", {"n_images": 3}, WHOLE.format(3)),
    ("05_spectrum", {"n_images": 300}, "n_images=300 is more than the 288 training images of the first 2 classes"),
    ("05_spectrum", {"lanczos_steps": 0}, WHOLE.format(0)),
    ("05_spectrum", {"lanczos_steps": 481}, "lanczos_steps=481 is more than the 480 parameters"),
    ("05_spectrum", {"lanczos_starts": 1}, WHOLE.format(1)),
    ("05_spectrum", {"depth": 200}, "rows: choose fewer"),
    ("05_spectrum", {"seeds": 100, "depth": 12}, "keep 12 GB of dense matrices with 1344 rows: choose fewer of them"),
    ("06_landscape", {"view": "pca"}, "'pca': give one of pca_wide, pca_near, pca_author."),
    ("06_landscape", {"view": None}, "None: give one of pca_wide"),
    ("06_landscape", {"grid": 1}, WHOLE.format(1)),
    ("06_landscape", {"epochs": 5}, WHOLE.format(5)),
    ("06_landscape", {"n_images": 1438}, WHOLE.format(1438)),
    ("10_speed", {"depths": [5, 5]}, LIST.format([5, 5])),
    ("10_speed", {"repeats": 0}, WHOLE.format(0)),
    ("10_speed", {"n_images": 0}, WHOLE.format(0)),
    ("10_speed", {"n_patches": 25}, "choose one of 1, 4, 9, 16, 49."),
    ("08_controls", {"quantity": "trace"}, "'trace': give one of lambda_max, gauss_newton."),
    ("08_controls", {"seeds": 11}, WHOLE.format(11)),
    ("08_controls", {"seeds": 4}, WHOLE.format(4)),
    ("08_controls", {"replicas": [2]}, "n_patches=2 with stride=0 does not fit"),
    ("08_controls", {"replicas": [10_000]}, LIST.format([10_000])),
    ("09_beyond", {"patches": [4]}, "at least 2, none twice"),
    ("09_beyond", {"patches": [1, 25]}, "has fewer than two of 1, 4 and 9, which the noisy circuits take"),
    ("09_beyond", {"patches": [1, 4, 16]}, "choose one of 1, 4, 9, 25."),
    ("09_beyond", {"noise": [0.0, 2.0]}, "give a list of numbers from 0 to 0.3, at least 1, none twice."),
    ("09_beyond", {"noise": [-0.1]}, LIST.format([-0.1])),
    ("09_beyond", {"noise": ["a lot"]}, LIST.format(["a lot"])),
    ("09_beyond", {"noise": [float("nan")]}, LIST.format([float("nan")])),
    ("09_beyond", {"noise": ["inf"]}, LIST.format(["inf"])),
    ("09_beyond", {"noise": [0.1, 0.3]}, "noise=[0.1, 0.3] has no 0, where shots are simulated: give 0 as well."),
    ("09_beyond", {"noise": None}, LIST.format(None)),
    ("09_beyond", {"noise": [[0.1]]}, LIST.format([[0.1]])),
    ("09_beyond", {"shots": [0]}, LIST.format([0])),
    ("09_beyond", {"shots": [10**6]}, "give a list of whole numbers from 1 to 30000, at least 1, none twice."),
    ("09_beyond", {"shots": []}, LIST.format([])),
    ("09_beyond", {"steps": 0}, WHOLE.format(0)),
    ("09_beyond", {"steps": 1}, WHOLE.format(1)),
    ("09_beyond", {"repeats": 1}, WHOLE.format(1)),
    ("09_beyond", {"n_images": 26}, WHOLE.format(26)),
    ("09_beyond", {"n_images": 1200}, "give a whole number from 27 to 1154."),
]


@pytest.mark.parametrize(("name", "given", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_gives_one_sentence_that_says_what_is_allowed(name, given, says):
    pattern = says if ".*" in says else re.escape(says)
    with pytest.raises(ValueError, match=pattern) as raised:
        chapters.validate_parameters(PATHS[name], given)
    text = str(raised.value)
    assert name in text
    assert re.search(r"(give|choose|needs) ", text)
    assert text.endswith(".")
    assert len(text) < 300
    assert "\n" not in text


def test_each_wrong_value_has_a_sentence_of_its_own():
    with pytest.raises(ValueError, match=r"'depth'.*0.*'seeds'.*'x'"):
        chapters.validate_parameters(PATHS["04_hessian"], {"depth": 0, "seeds": "x", "depths": [3]})


def test_numbers_that_yaml_reads_as_text_become_numbers():
    given = yaml.safe_load("{noise: [1e-3, 0, '0.1'], steps: '20'}")
    assert given["noise"][0] == "1e-3"
    found = chapters.validate_parameters(PATHS["09_beyond"], given)
    assert found["noise"] == [0.001, 0.0, 0.1]
    assert found["steps"] == 20


def test_a_running_chapter_sees_numbers_where_text_was_given():
    declared = chapters.declared_parameters(PATHS["09_beyond"])
    namespace = {name: ast.literal_eval(record["default"]) for name, record in declared.items()}
    namespace |= {"noise": [0, "1e-3"], "In": ["", "# Parameters\nnoise = [0, '1e-3']\n"]}
    found = chapters.check_parameters("09_beyond", namespace)
    assert namespace["noise"] == found["noise"] == [0.0, 0.001]
    assert list(found) == list(declared)


# --- the limits against what they stand for ---


def test_the_numbers_of_digits_are_those_of_the_data():
    labels = data.load("digits").train_labels
    assert list(parameters.DIGITS) == np.cumsum(np.bincount(labels)).tolist()


def test_the_image_numbers_are_those_of_the_data():
    labels = data._idx(files.data_folder() / "mnist" / "train-labels-idx1-ubyte.gz")
    assert properties("01_architecture")["image"]["maximum"] == len(labels) - 1


def test_the_least_number_of_images_has_every_class():
    least = properties("09_beyond")["n_images"]["minimum"]
    data.load("digits", n_qubits=4, n_classes=8, n_train=least)
    with pytest.raises(ValueError, match="needs every class"):
        data.load("digits", n_qubits=4, n_classes=8, n_train=least - 1)


def test_the_least_numbers_of_images_make_batches():
    for name, parameter, size, classes in (
        ("04_hessian", "n_train", lambda n: 100, [10]),
        ("05_spectrum", "n_images", lambda n: n // 4, [2, 4, 6, 8, 10]),
    ):
        least = properties(name)[parameter]["minimum"]
        for c in classes:
            labels = data.load("digits", n_classes=c, n_train=least).train_labels
            assert len(training.batches(labels, config.TrainConfig(batch_size=size(least)), 0, 0)) >= 2


def test_the_fewest_epochs_have_a_snapshot():
    least = properties("06_landscape")["epochs"]["minimum"]
    assert training.snapshot_epochs(config.digits(epochs=least).train)
    assert not training.snapshot_epochs(config.digits(epochs=least - 1).train)


def test_as_many_seeds_can_be_compared_as_are_stored():
    seeds = {seed for item in tables.runs.read("laptop") for seed in item.record.meta["seeds"]}
    assert seeds == set(range(properties("08_controls")["seeds"]["maximum"]))


def test_intervals_are_finite_with_the_fewest_seeds():
    least = properties("08_controls")["seeds"]["minimum"]
    runs = tables.runs.table(["laptop"]).query("seed < @least and n_patches == 4 and depth == 6")
    for seeds, finite in ((least, True), (least - 1, False)):
        few = runs[runs.seed < seeds]
        found = statistics.rank_correlation(few, "lambda_max", "test_loss", ["n_patches", "depth"])
        assert np.isfinite([found.low, found.high]).all() == finite


# --- every value of an enumeration ---


def test_every_value_of_an_enumeration_is_run():
    """By the book (defaults), by the smoke tier, or below; Fashion-MNIST has to be fetched."""
    left = set()
    for name, path in PATHS.items():
        defaults = chapters.validate_parameters(path, {})
        for parameter, kind in properties(name).items():
            if "enum" in kind:
                left |= set(kind["enum"]) - {defaults[parameter], SMOKE[name].get(parameter)}
    assert left - set(views_of_the_chapter()) == {"fashion_mnist"}


def views_of_the_chapter():
    return get_args(parameters.Landscape.model_fields["view"].annotation)


def test_every_view_is_stored_and_drawn():
    records = dict(list(tables.landscapes.read().items())[:1])
    for view in views_of_the_chapter():
        for draw in (figures.common_window, figures.common_window_3d):
            assert draw(records, view).axes[0].get_xlabel().startswith("PC1")


@pytest.mark.parametrize("quantity", get_args(parameters.Controls.model_fields["quantity"].annotation))
def test_every_quantity_is_stored_and_drawn_under_its_own_name(quantity):
    runs = tables.runs.with_law(tables.runs.table(["laptop"])).query("n_patches > 1")
    assert runs[quantity].notna().all()
    name = r"$\lambda_{\max}(G)$" if quantity == "gauss_newton" else r"$\lambda_{\max}$"
    runs = runs.assign(gap=runs.test_loss, per_loss=1.0, gauss_newton_per_loss=1.0)
    left, right = figures.with_published(runs, tables.published.eigenvalues(), quantity).axes
    assert left.get_ylabel().startswith(name)
    assert right.get_ylabel().startswith(r"$\lambda_{\max}$")
    drawn = np.concatenate([line.get_ydata() for line in left.lines if line.get_marker() == "."])
    np.testing.assert_allclose(np.sort(drawn), np.sort(runs[quantity]))
    assert figures.generalisation(runs, quantity).axes[0].get_xlabel().startswith(name)
    (ax,) = figures.runs_against(runs, "n_patches", [quantity], hue="depth").axes
    assert ax.get_ylabel().startswith(name)


# --- values that ask for hours ---


@each_chapter
def test_the_defaults_do_not_ask_for_hours_and_are_estimated_below_what_they_took(name):
    measured = json.loads((files.data_folder() / "results" / "chapters.json").read_text())[name]["cpu_s"]
    # These read the runs of their defaults; the estimate is of values that nothing is stored for.
    measured = {"04_hessian": 237, "06_landscape": 122, "09_beyond": 450}.get(name, measured)
    found = parameters.CHAPTERS[name](**chapters.validate_parameters(PATHS[name], {}))
    assert found._seconds() < measured


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("02_bound", {"seeds": 100, "epochs": 1000}),
        ("04_hessian", {"depth": 200, "seeds": 20}),
        ("05_spectrum", {"seeds": 1, "depth": 40, "lanczos_steps": 1000, "lanczos_starts": 1000}),
        ("06_landscape", {"epochs": 1000, "seeds": 20}),
        ("10_speed", {"n_images": 10_000, "repeats": 1000, "n_patches": 49}),
        ("09_beyond", {"steps": 10_000, "seeds": 100}),
    ],
)
def test_values_that_ask_for_hours_say_so(name, given):
    with pytest.warns(UserWarning, match=rf"chapter {name} takes about \d+ h on two cores"):
        chapters.validate_parameters(PATHS[name], given)


def test_hours_are_said_once_and_of_the_chapters_that_run(monkeypatch, tmp_path):
    long = tmp_path / "long.yaml"
    long.write_text("04_hessian: {depth: 200, seeds: 20}\n02_bound: {seeds: 100, epochs: 1000}\n")
    given = chapters.load_parameters(long, PATHS)

    def run(path, values, output, *, figures, tell):
        (Path(figures) / f"{path.stem}.png").write_bytes(b"")
        return output

    monkeypatch.setattr(chapters, "run_chapter", run)
    lines = []
    chapters.make_figures({"04_hessian": given["04_hessian"]}, PATHS, tmp_path / "out", tell=lines.append)
    (line,) = lines
    assert re.fullmatch(r"note: chapter 04_hessian takes about \d+ h on two cores with these values", line)


# --- names ---


def test_what_papermill_adds_of_its_own_passes():
    paths = {"PAPERMILL_INPUT_PATH": "a.ipynb", "PAPERMILL_OUTPUT_PATH": "b.ipynb"}
    assert not set(chapters.validate_parameters(PATHS["08_controls"], paths)) & set(paths)
    namespace = {"quantity": "lambda_max", "seeds": 10, "replicas": [1]} | paths
    chapters.check_parameters("08_controls", dict(namespace))
    namespace["In"] = ["# Parameters\nPAPERMILL_INPUT_PATH = 'a.ipynb'\nPAPERMILL_OUTPUT_PATH = 'b.ipynb'\n"]
    chapters.check_parameters("08_controls", namespace)


@pytest.fixture
def extended(tmp_path, monkeypatch):
    """A copy of chapter 3 with two more parameters, in a folder of its own."""
    notebook = nbformat.read(PATHS["04_hessian"], as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source += '\nmy_note: str = "none"  # of mine\nrate: float = 2 * 0.1  # of mine'
    monkeypatch.chdir(tmp_path)

    def write(name):
        nbformat.write(notebook, tmp_path / name)
        return tmp_path / name

    return write


def test_a_parameter_that_a_reader_adds_to_a_chapter_is_checked_by_its_type(extended):
    path = extended("04_hessian.ipynb")
    found = chapters.validate_parameters(path, {"my_note": "a", "rate": "1e-3"})
    assert (found["my_note"], found["rate"]) == ("a", 0.001)
    with pytest.raises(ValueError, match=r"'rate' of chapter 04_hessian was given 'fast': give a number\."):
        chapters.validate_parameters(path, {"rate": "fast"})
    with pytest.raises(ValueError, match="'depth' of chapter 04_hessian was given 0"):
        chapters.validate_parameters(path, {"depth": 0})


@pytest.mark.parametrize(
    ("kind", "good", "bad", "allowed"),
    [
        ("list", [1, "a"], 3, "a list of values"),
        ("dict", {"a": 1}, [1], "a mapping"),
        ("list[float]", ["1e-3"], ["x"], "a list of numbers"),
        ("list[str]", ["x"], [1], "a list of texts"),
        ("list[bool]", [True], [1], "a list of true or false"),
        ("tuple[int, ...]", 3, None, None),  # what is not known passes
    ],
)
def test_declared_types_of_a_readers_own_chapter_are_checked(kind, good, bad, allowed):
    declared = {"mine": {"inferred_type_name": kind}}
    parameters.check_values("mine", {"mine": good}, declared)
    if allowed is not None:
        with pytest.raises(ValueError, match=rf"'mine' of chapter mine was given .*: give {allowed}\.$"):
            parameters.check_values("mine", {"mine": bad}, declared)


def test_a_copy_under_another_name_is_told_how_to_have_parameters_of_its_own(extended):
    declared = chapters.declared_parameters(extended("mine.ipynb"))
    namespace = chapters.validate_parameters(PATHS["04_hessian"], {}) | {"my_note": "a", "rate": 0.1}
    remedy = "Declare it in the parameters cell of 04_hessian.ipynb, or call chapters.begin with your copy's name."
    with pytest.raises(ValueError, match=re.escape(remedy)):
        chapters.check_parameters("04_hessian", dict(namespace))
    assert list(chapters.check_parameters("mine", dict(namespace))) == list(declared)


def test_a_chapter_without_one_of_its_parameters_says_so():
    namespace = chapters.validate_parameters(PATHS["04_hessian"], {})
    del namespace["depth"]
    with pytest.raises(ValueError, match="needs its parameter 'depth': put it back"):
        chapters.check_parameters("04_hessian", namespace)


# --- files of parameters ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"04_hessian:\n\tdepth: 3\n", r"is not readable as YAML \(line 2: found character"),
        (b"04_hessian: [", "is not readable as YAML"),
        (b"04_hessian: {depth: \xff}", "is not readable as YAML"),
        (b"1: {depth: 3}", "has no chapter 1: "),
        (b"null: {depth: 3}", "has no chapter None: "),
        (b"04_hessian: {1: 3}", "has no parameter 1: "),
        (b"[1]: 3", "is not readable as YAML"),
        (b"[]", "must map chapter names to their parameters"),
        (b"0", "must map chapter names to their parameters"),
        (b"depth: 3", "must map chapter names to their parameters"),
        (b"04_hessian: {depth: 3}\n04_hessian: {depth: 4}", "line 1: '04_hessian' is there twice"),
        (b"04_hessian: {depth: 3, depth: 4}", "line 1: 'depth' is there twice"),
        (b"04_hessian: {depth: 2026-01-01}", "'depth' of chapter 04_hessian was given datetime.date"),
    ],
)
def test_a_file_of_parameters_that_cannot_be_used_gives_one_sentence(text, says, tmp_path):
    (tmp_path / "p.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=says) as raised:
        chapters.load_parameters(tmp_path / "p.yaml", PATHS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "04_hessian:\n", "04_hessian: {}\n"])
def test_a_file_that_says_nothing_leaves_the_defaults(text, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    assert chapters.load_parameters(tmp_path / "p.yaml", PATHS) == {name: {} for name in PATHS}
