"""Data sets as angles and labels: MNIST (in the project), digits (scikit-learn), Fashion-MNIST (fetched), your own."""

import gzip
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchscape import project
from patchscape.config import RunConfig


class ImageData(NamedTuple):
    """Angles and labels of one data set.

    Attributes:
        train_angles: (N, side, side) float32, rad.
        train_labels: (N,) int32.
        test_angles: (M, side, side) float32, rad.
        test_labels: (M,) int32.
    """

    train_angles: np.ndarray
    train_labels: np.ndarray
    test_angles: np.ndarray
    test_labels: np.ndarray


_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_MNIST_SHA256 = (
    "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
)
_FASHION_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_FASHION_MD5 = (  # published in the data set's own README
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)


def folder() -> Path:
    """Returns the project's data folder, or the one that the environment variable PATCHSCAPE_DATA names.

    Returns:
        A folder that is there.

    Raises:
        ValueError: if there is none.
    """
    named = os.environ.get("PATCHSCAPE_DATA")
    where = Path(named) if named else project.root() / "data"
    if not where.is_dir():
        raise ValueError(
            f"the data folder {where} is not there: name the project's data folder in PATCHSCAPE_DATA, "
            "or unset it in a clone of the project."
        )
    return where


def to_angles(images: np.ndarray, *, n_qubits: int, pixel_max: float, pool: int = 1) -> np.ndarray:
    """Turns images into encoding angles, pixel / pixel_max * 2 pi / n_qubits, after average pooling.

    Args:
        images: (N, side * pool, side * pool), any real type.
        n_qubits: wires of a circuit; the largest angle is 2 pi / n_qubits (`paper`: pi/4 for 8 wires).
        pixel_max: the largest possible pixel value.
        pool: side of the square that is averaged (`author's code`: 2 for MNIST).

    Returns:
        (N, side, side) float32 in rad.

    Raises:
        ValueError: if the images are not square, not divisible by `pool`, not finite or out of range.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] % pool:
        raise ValueError(f"images have shape {images.shape}; give (N, side, side) with side divisible by pool={pool}.")
    if not len(images) or not np.isfinite(images).all() or images.min() < 0 or images.max() > pixel_max:
        raise ValueError(f"pixels must be finite and within 0 to pixel_max={pixel_max}, and N at least 1.")
    n, side = len(images), images.shape[1] // pool
    pooled = images.reshape(n, side, pool, side, pool).mean((2, 4))
    return pooled / np.float32(pixel_max) * np.float32(2 * np.pi / n_qubits)


def load(
    name: str = "mnist",
    *,
    n_qubits: int | None = None,
    n_classes: int = 10,
    n_train: int | None = None,
    n_test: int | None = None,
) -> ImageData:
    """Loads a data set as angles and labels.

    Args:
        name: "mnist", "digits" or "fashion_mnist".
        n_qubits: sets the encoding angle, 2 pi / n_qubits at the brightest pixel; default 8, and 6 for digits.
        n_classes: keeps the first classes only.
        n_train: keeps the first training images only (after the choice of classes); None keeps all.
        n_test: likewise for test images.

    Returns:
        Angles (N, 14, 14) for MNIST and Fashion-MNIST, (N, 8, 8) for digits, and labels.

    Raises:
        ValueError: if the name or a size is not allowed, or a file is damaged.
    """
    readers = {"mnist": _mnist, "digits": _digits, "fashion_mnist": _fashion_mnist}
    if name not in readers:
        raise ValueError(f"no data set '{name}': choose one of {', '.join(readers)}.")
    parts, pixel_max, pool = readers[name]()
    default = 6 if name == "digits" else 8
    return from_arrays(
        *parts,
        n_qubits=n_qubits or default,
        pixel_max=pixel_max,
        pool=pool,
        n_classes=n_classes,
        n_train=n_train,
        n_test=n_test,
    )


def load_run(run: RunConfig) -> ImageData:
    """Loads the data of a run: its data set, classes and numbers of images."""
    q, classes = run.model.n_qubits, run.classes
    return load(run.dataset, n_qubits=q, n_classes=classes, n_train=run.n_train, n_test=run.n_test)


def from_arrays(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    n_qubits: int,
    pixel_max: float,
    pool: int = 1,
    n_classes: int = 10,
    n_train: int | None = None,
    n_test: int | None = None,
) -> ImageData:
    """Turns your own images and labels into a data set.

    Args:
        train_images: (N, side * pool, side * pool).
        train_labels: (N,) integers from 0.
        test_images: (M, side * pool, side * pool).
        test_labels: (M,) integers from 0.
        n_qubits: wires of a circuit.
        pixel_max: the largest possible pixel value.
        pool: side of the square that is averaged.
        n_classes: keeps labels below this number.
        n_train: keeps the first training images only; None keeps all.
        n_test: likewise for test images.

    Returns:
        The data set.

    Raises:
        ValueError: if shapes, labels or sizes do not fit.
    """
    out = []
    for what, images, labels, size in (
        ("train", train_images, train_labels, n_train),
        ("test", test_images, test_labels, n_test),
    ):
        labels = np.asarray(labels)
        fits = labels.shape == (len(images),) and labels.size and np.issubdtype(labels.dtype, np.integer)
        if not fits or labels.min() < 0:
            raise ValueError(f"{what} labels must be integers from 0, one per image: got {labels.shape}.")
        keep = np.flatnonzero(labels < n_classes)
        if size is not None and not 0 < size <= len(keep):
            raise ValueError(f"n_{what}={size}: choose 1 to {len(keep)} for {n_classes} classes of this data.")
        keep = keep[:size]
        missing = sorted(set(range(n_classes)) - set(labels[keep].tolist()))
        if what == "train" and missing:
            raise ValueError(f"no training image has label {missing[0]}: n_classes={n_classes} needs every class.")
        angles = to_angles(np.asarray(images)[keep], n_qubits=n_qubits, pixel_max=pixel_max, pool=pool)
        out += [angles, labels[keep].astype(np.int32)]
    side, test_side = out[0].shape[1], out[2].shape[1]
    if side != test_side:
        raise ValueError(
            f"train images are {side} x {side} and test images {test_side} x {test_side} (after pooling): "
            f"give one size."
        )
    return ImageData(*out)


def _idx(path: Path) -> np.ndarray:
    """Reads one gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    n_axes = raw[3]
    shape = np.frombuffer(raw, ">u4", n_axes, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _mnist():
    root = folder() / "mnist"
    for file, expected in zip(_IDX_FILES, _MNIST_SHA256, strict=True):
        path = root / file
        if not path.is_file():
            raise ValueError(f"{file} is missing in {root}: restore it with 'git checkout data/mnist'.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} in {root} is damaged: restore it with 'git checkout data/mnist'.")
    return [_idx(root / file) for file in _IDX_FILES], 255.0, 2


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        bunch.images, bunch.target, test_size=360, random_state=0, stratify=bunch.target
    )  # ours: a fixed split into 1437 and 360 images
    return [images, labels, test_images, test_labels], 16.0, 1


def _fashion_mnist():
    import pooch

    target = folder() / "fashion_mnist"
    try:
        paths = [
            pooch.retrieve(_FASHION_URL + file, f"md5:{md5}", fname=file, path=target)
            for file, md5 in zip(_IDX_FILES, _FASHION_MD5, strict=True)
        ]
    except OSError as error:  # requests' and urllib's errors are OSErrors too
        raise ValueError(
            f"Fashion-MNIST could not be fetched ({type(error).__name__}): connect to the internet once, "
            f"or put its four .gz files into {target}."
        ) from error
    return [_idx(Path(path)) for path in paths], 255.0, 2


def chunks(angles: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts images into chunks of equal size; the last one is filled up with images of weight zero.

    Args:
        angles: (N, side, side).
        labels: (N,).
        size: images per chunk.

    Returns:
        Angles (n_chunks, size, side, side), labels (n_chunks, size), and weights (n_chunks, size) that sum to 1.
    """
    n = len(labels)
    size = min(size, n)
    index = np.arange(-(-n // size) * size)
    weights = np.where(index < n, 1 / n, 0).astype(angles.dtype)
    index = np.minimum(index, n - 1).reshape(-1, size)
    return angles[index], labels[index], weights.reshape(-1, size)
