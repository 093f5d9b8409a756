"""Data sets: the author's angles, whole files, and clear sentences when something is missing."""

import os
import shutil

import numpy as np
import pooch
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from patchscape import config, runtime
from patchscape.learning import data

TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


@pytest.fixture
def own_mnist(tmp_path, monkeypatch):
    """A data folder of our own that shares MNIST's files, to be damaged one by one."""
    target = tmp_path / "mnist"
    target.mkdir()
    for path in (runtime.root() / "data" / "mnist").glob("*.gz"):
        (target / path.name).symlink_to(path)
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    return target


@pytest.mark.parametrize("size", ["n4_d1", "n4_d3", "n9_d2", "n16_d2"])
def test_angles_are_the_authors(author, size):
    images, expected = author[size]["images"], author[size]["angles"]
    angles = data.to_angles(images, n_qubits=8, pixel_max=255, pool=2)
    assert angles.dtype == np.float32
    assert images.max() > 250
    np.testing.assert_allclose(angles, expected, rtol=0, atol=2e-7)


def test_pooling_averages_each_square():
    images = np.arange(16.0).reshape(1, 4, 4)
    angles = data.to_angles(images, n_qubits=2, pixel_max=15, pool=2)
    np.testing.assert_allclose(angles, np.array([[[2.5, 4.5], [10.5, 12.5]]]) / 15 * np.pi, rtol=1e-6)


@pytest.mark.parametrize("q", [2, 4, 6, 8, 10])
def test_the_brightest_pixel_turns_by_a_full_turn_over_the_number_of_qubits(q):
    images = np.array([[[0, 128], [255, 255]]], np.uint8)
    angles = data.to_angles(images, n_qubits=q, pixel_max=255)
    assert angles.min() == 0
    np.testing.assert_allclose(angles.max(), 2 * np.pi / q, rtol=1e-6)


def test_mnist_is_whole_and_in_the_published_order():
    x = data.load("mnist")
    assert x.train_angles.shape == (60000, 14, 14)
    assert x.test_angles.shape == (10000, 14, 14)
    assert x.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert x.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(x.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert x.train_angles.dtype == x.test_angles.dtype == np.float32
    assert x.train_labels.dtype == x.test_labels.dtype == np.int32
    assert x.train_angles.min() == 0
    assert np.pi / 4 - 1e-3 < x.train_angles.max() <= np.float32(np.pi / 4)


def test_digits_are_split_into_fixed_balanced_parts():
    x = data.load("digits")
    assert x.train_angles.shape == (1437, 8, 8)
    assert x.test_angles.shape == (360, 8, 8)
    np.testing.assert_allclose(x.train_angles.max(), np.pi / 3, rtol=1e-6)
    assert np.bincount(x.test_labels).min() >= 34
    again = data.load("digits")
    np.testing.assert_array_equal(x.train_angles, again.train_angles)
    train = {a.tobytes() for a in x.train_angles}
    assert sum(a.tobytes() in train for a in x.test_angles) == 0


def test_the_first_classes_and_the_first_images_are_kept():
    everything, few = data.load("digits"), data.load("digits", n_classes=4, n_train=50, n_test=20, n_qubits=4)
    keep = np.flatnonzero(everything.train_labels < 4)[:50]
    np.testing.assert_array_equal(few.train_labels, everything.train_labels[keep])
    np.testing.assert_allclose(few.train_angles, everything.train_angles[keep] * 1.5, rtol=1e-6)
    assert few.test_angles.shape == (20, 8, 8)
    assert set(few.test_labels.tolist()) <= {0, 1, 2, 3}


def test_the_data_of_a_run_follow_its_configuration():
    run = config.RunConfig(
        model=config.ModelConfig(n_qubits=4, image_side=8, n_patches=4, n_classes=4),
        dataset="digits",
        n_train=60,
        n_test=30,
    )
    x, y = data.load_run(run), data.load("digits", n_qubits=4, n_classes=4, n_train=60, n_test=30)
    for a, b in zip(x, y, strict=True):
        np.testing.assert_array_equal(a, b)
    few = data.load_run(run.model_copy(update={"data_classes": 2}))
    assert set(few.train_labels) == set(few.test_labels) == {0, 1}
    assert len(few.train_labels) == 60


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^no data set 'cifar': choose one of mnist, digits, fashion_mnist\.$"):
        data.load("cifar")


def test_a_damaged_mnist_file_is_named(own_mnist):
    path = own_mnist / TRAIN_LABELS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: restore it with 'git checkout data/mnist'") as error:
        data.load("mnist")
    assert str(error.value).startswith(f"{TRAIN_LABELS} in {own_mnist}")


def test_a_missing_mnist_file_is_named(own_mnist):
    (own_mnist / TRAIN_LABELS).unlink()
    with pytest.raises(ValueError, match=f"{TRAIN_LABELS} is missing in .*: restore it with 'git checkout"):
        data.load("mnist")


def offline(*arguments, **keywords):
    raise requests.exceptions.ConnectionError("Name or service not known")


@pytest.mark.parametrize("error", [requests.exceptions.ConnectionError, ConnectionRefusedError, OSError])
def test_fashion_mnist_offline_says_what_to_do(monkeypatch, tmp_path, error):
    def offline(*arguments, **keywords):
        raise error("Name or service not known")

    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(ValueError, match=r"\.gz files into") as caught:
        data.load("fashion_mnist")
    assert str(caught.value) == (
        f"Fashion-MNIST could not be fetched ({error.__name__}): connect to the internet once, "
        f"or put its four .gz files into {tmp_path / 'fashion_mnist'}."
    )


def test_fashion_mnist_is_asked_for_with_checksums_and_read_like_mnist(monkeypatch, tmp_path):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash, path))
        return os.fspath(runtime.root() / "data" / "mnist" / fname)

    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    x = data.load("fashion_mnist", n_train=100, n_test=10)
    assert x.train_angles.shape == (100, 14, 14)
    assert len({url for url, *_ in asked}) == len({known for _, known, _ in asked}) == 4
    assert all(known.startswith("md5:") and len(known) == 36 for _, known, _ in asked)
    assert {path for *_, path in asked} == {tmp_path / "fashion_mnist"}


def test_fashion_mnist_files_put_by_hand_are_checked(monkeypatch, tmp_path):
    target = tmp_path / "fashion_mnist"
    shutil.copytree(runtime.root() / "data" / "mnist", target)  # right names, wrong content
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", offline)
    with pytest.raises(ValueError, match="Fashion-MNIST could not be fetched"):
        data.load("fashion_mnist")


def own(**changes):
    random = np.random.default_rng(0)
    arrays = {
        "train_images": random.uniform(0, 1, (12, 6, 6)),
        "train_labels": np.arange(12) % 4,
        "test_images": random.uniform(0, 1, (8, 6, 6)),
        "test_labels": np.arange(8) % 4,
    }
    return data.from_arrays(**(arrays | {"n_qubits": 4, "pixel_max": 1.0, "n_classes": 4} | changes))


def test_own_arrays_come_through_the_same_door():
    x = own()
    assert x.train_angles.shape == (12, 6, 6)
    assert x.train_labels.tolist() == [0, 1, 2, 3] * 3
    assert own(train_labels=(np.arange(12) % 4).astype(np.uint8)).train_labels.dtype == np.int32


IMAGES = np.full((12, 6, 6), 0.5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"train_labels": np.arange(11) % 4},
            r"train labels must be integers from 0, one per image: got shape \(11,\)",
        ),
        ({"train_labels": np.zeros(12)}, "train labels must be integers from 0"),
        ({"test_labels": np.array([-1] * 8)}, "test labels must be integers from 0"),
        ({"test_labels": np.zeros((8, 1), int)}, "test labels must be integers from 0"),
        (
            {"test_images": IMAGES[:0], "test_labels": np.zeros(0, int)},
            r"test labels must be integers from 0, one per image: got shape \(0,\)",
        ),
        ({"train_labels": np.arange(12) % 3}, "no training image has label 3: n_classes=4 needs every class"),
        ({"n_train": 3}, "no training image has label 3: n_classes=4 needs every class"),
        ({"n_train": 13}, "n_train=13: choose 1 to 12 for 4 classes of this data"),
        ({"n_test": 0}, "n_test=0: choose 1 to 8 for 4 classes of this data"),
        ({"train_images": IMAGES[:, :5]}, r"images have shape \(12, 5, 6\)"),
        ({"train_images": IMAGES[:, :, :, None]}, r"images have shape \(12, 6, 6, 1\)"),
        ({"pool": 4}, "side divisible by pool=4"),
        ({"train_images": IMAGES * 3}, "pixels must be finite and within 0 to pixel_max=1.0"),
        ({"train_images": IMAGES - 0.6}, "pixels must be finite"),
        ({"train_images": np.where(IMAGES, np.nan, 0)}, "pixels must be finite"),
        ({"test_images": np.zeros((8, 4, 4))}, "train images are 6 x 6 and test images 4 x 4"),
    ],
)
def test_own_arrays_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        own(**changes)


@given(st.integers(1, 40), st.integers(1, 50))
def test_chunks_hold_every_image_once_with_equal_weight_whatever_their_size(n, size):
    angles, labels = np.arange(n * 4, dtype=np.float32).reshape(n, 2, 2), np.arange(n, dtype=np.int32)
    a, y, w = data.chunks(angles, labels, size)
    assert a.shape == (*y.shape, 2, 2)
    assert w.shape == y.shape
    assert w.dtype == np.float32
    assert y.shape[1] == min(size, n)
    np.testing.assert_allclose(w.sum(dtype=float), 1, rtol=1e-6)
    np.testing.assert_allclose(np.bincount(y.ravel(), w.ravel(), n), 1 / n, rtol=1e-6)
    np.testing.assert_array_equal(a.reshape(-1, 2, 2)[:n], angles)
    np.testing.assert_array_equal(y.ravel()[:n], labels)
