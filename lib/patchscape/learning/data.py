"""Data sets as angles and labels: MNIST (in the project), digits (scikit-learn), Fashion-MNIST (fetched), your own."""

import gzip
import hashlib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchscape.config import ModelConfig, RunConfig
from patchscape.store import files, records

_SINGLE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # what a number in single precision may be
OWN = "own"  # what images are called that have no other name


class ImageData(NamedTuple):
    """Angles and labels of one data set.

    Attributes:
        train_angles: (N, side, side) float32, rad.
        train_labels: (N,) int32.
        test_angles: (M, side, side) float32, rad.
        test_labels: (M,) int32.
        name: "mnist", "digits", "fashion_mnist", or the name of your own images.
    """

    train_angles: np.ndarray
    train_labels: np.ndarray
    test_angles: np.ndarray
    test_labels: np.ndarray
    name: str = OWN

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the angles and labels, training and test images, in hexadecimal; whatever their name is."""
        arrays = self._asdict()
        del arrays["name"]
        return records.checksum(arrays, {})


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
    images = _numbers(images)
    _whole(n_qubits, f"n_qubits={n_qubits}: give the number of wires, which is the side of a patch in pixels.")
    _whole(pool, f"images have shape {images.shape}; give (N, side, side) with side divisible by pool={pool}.")
    pixel_max = _largest(pixel_max)
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images have shape {images.shape}; give (N, side, side): {_to_squares(images.shape)}.")
    if images.shape[1] % pool:
        raise ValueError(f"images have shape {images.shape}; give (N, side, side) with side divisible by pool={pool}.")
    if not images.size:
        raise ValueError("there is no image, or one without pixels: give at least one.")
    images = images.astype(np.float32)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > pixel_max:
        raise ValueError(
            f"pixels must be finite and within 0 to pixel_max={pixel_max}: "
            f"they go from {images.min()} to {images.max()}."
        )
    n, side = len(images), images.shape[1] // pool
    pooled = images.reshape(n, side, pool, side, pool).mean((2, 4))
    return pooled / np.float32(pixel_max) * np.float32(2 * np.pi / n_qubits)


def _whole(value: int, refusal: str) -> None:
    """Refuses with a sentence what is no whole number from 1."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(refusal)


def _largest(pixel_max: float) -> float:
    """The largest possible pixel value, as a number that single precision has."""
    try:
        found = float(pixel_max)
    except (TypeError, ValueError, OverflowError):
        found = np.nan
    if not _SINGLE[0] <= found <= _SINGLE[1]:
        raise ValueError(f"pixel_max={pixel_max}: give the largest possible pixel value, above 0 (255 for bytes).")
    return found


def _array(what: str, given: np.ndarray) -> np.ndarray:
    """One array of what was given; NumPy would take the values under a mask for seen."""
    if np.ma.is_masked(given):
        raise ValueError(f"some {what} are masked: fill them, or leave these images out.")
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # unequal lengths, a tensor on a GPU or with a gradient
        raise ValueError(f"{what} cannot be made one array of real numbers ({error}).") from error


def _numbers(images: np.ndarray) -> np.ndarray:
    """Images as one array of real numbers."""
    found = _array("images", images)
    if found.dtype.kind not in "biuf" or not found.ndim:
        raise ValueError("images must be one array of real numbers, (N, side, side), all of one size.")
    return found


def _to_squares(shape: tuple[int, ...]) -> str:
    """What makes (N, side, side) of images of another shape."""
    if len(shape) == 4 and shape[-1] in (3, 4):
        return "make colours grey, `images[..., :3].mean(-1)`"
    if len(shape) == 4 and shape[1] == 3:
        return "make colours grey, `images.mean(1)`"
    if len(shape) == 4 and 1 in (shape[1], shape[-1]):
        return f"take the one channel, `images.squeeze({1 if shape[1] == 1 else -1})`"
    if len(shape) == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        side = math.isqrt(shape[1])
        return f"one row an image is `images.reshape(-1, {side}, {side})`"
    return "cut or pad them to squares of one grey value per pixel"


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
    if name not in _READERS:
        raise ValueError(f"no data set '{name}': choose one of {', '.join(_READERS)}.")
    parts, pixel_max, pool = _READERS[name]()
    q = n_qubits if n_qubits is not None else 6 if name == "digits" else 8
    return _assembled(name, parts, q, pixel_max, pool, n_classes, (n_train, n_test))


def load_run(run: RunConfig, fingerprint: str | None = None) -> ImageData:
    """Loads the data of a run: its data set, classes and numbers of images.

    Args:
        run: the configuration.
        fingerprint: of the images that a stored run was trained on, `images` in the metadata of its file; None for a
            new run, and for files of older code, which do not have it.

    Returns:
        The data set.

    Raises:
        ValueError: if the images are the user's own, or not those that the stored run was trained on.
    """
    if run.dataset not in _READERS:
        raise ValueError(
            f"data set '{run.dataset}' cannot be loaded (only {', '.join(_READERS)} can): give its images yourself, in "
            f"Python, to `training.train(run, images)` or, for a stored run, to `jobs.eigenpairs(file, images=images)`."
        )
    q, classes = run.model.n_qubits, run.classes
    images = load(run.dataset, n_qubits=q, n_classes=classes, n_train=run.n_train, n_test=run.n_test)
    check(run, images, fingerprint)
    return images


def check(run: RunConfig, images: ImageData, fingerprint: str | None = None) -> None:
    """Refuses images that are not those of a run, as far as this can be known; warns if its patches miss some pixels.

    Only images of the user's own cause the warning: stored studies leave gaps on purpose.

    Args:
        run: the configuration.
        images: the data set.
        fingerprint: as in `load_run`.

    Raises:
        ValueError: if their name, size, angles, classes or numbers are not those of the run, or their fingerprint is
            another.
    """
    if not isinstance(images, ImageData):
        raise ValueError(f"images are of type {type(images).__name__}: make them by `data.load` or `data.from_arrays`.")
    cfg, name = run.model, images.name
    if name != run.dataset:
        raise ValueError(
            f"the images are called '{name}' and the data set of the run '{run.dataset}': make them one, as in "
            f"`RunConfig(dataset='{name}')`."
        )
    for what, size, angles, own in (
        ("train", run.n_train, images.train_angles, images.train_labels),
        ("test", run.n_test, images.test_angles, images.test_labels),
    ):
        if angles.shape[1:] != (cfg.image_side,) * 2:
            raise ValueError(f"the images have {angles.shape[1:]} pixels: give the model image_side={angles.shape[1]}.")
        _class_numbers(what, own, angles)
        if size is not None and size != len(own):
            raise ValueError(f"n_{what}={size} of the run and {len(own)} images: give as many as the run says.")
        if own.max() >= run.classes:
            raise ValueError(f"{what} label {own.max()} needs more than the {run.classes} classes of the run.")
        largest = 2 * np.pi / cfg.n_qubits
        if not (angles.min() >= 0 and angles.max() <= largest * (1 + 1e-5)):  # NaN neither
            raise ValueError(
                f"{what} angles go from {angles.min():g} to {angles.max():g}, not within 0 to 2 pi / n_qubits = "
                f"{largest:.4g}: make them for n_qubits={cfg.n_qubits}, by `data.load` or `data.from_arrays`."
            )
    if fingerprint is not None and images.fingerprint != fingerprint:
        raise ValueError(
            f"the run was trained on other images than these of data set '{name}' (their SHA-256 begins with "
            f"{images.fingerprint[:12]}, not {fingerprint[:12]}): give those that it was trained on."
        )
    if name not in _READERS and cfg.coverage < 1:
        warnings.warn(
            f"the patches (n_patches={cfg.n_patches}, {cfg.n_qubits} x {cfg.n_qubits} pixels) see {cfg.coverage:.0%} "
            f"of the {cfg.image_side} x {cfg.image_side} pixels of an image: {_what_fits(cfg)}.",
            stacklevel=3,
        )


def _what_fits(cfg: ModelConfig) -> str:
    """Names what would make the patches of a model see whole images."""
    side = cfg.image_side

    def sees_all(**changes: int) -> bool:
        try:
            return ModelConfig(**cfg.model_dump() | changes).coverage == 1
        except ValueError:
            return False

    pools = (f"a pool {k} times as large" for k in range(2, side) if side % k == 0 and sees_all(image_side=side // k))
    wires = (f"n_qubits={q}" for q in range(2, 11, 2) if sees_all(n_qubits=q))
    found = [first for first in (next(pools, None), next(wires, None)) if first]
    return f"{' or '.join(found)} would show all" if found else "crop the images, or average them to fewer pixels"


def from_arrays(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    n_qubits: int,
    pixel_max: float,
    pool: int = 1,
    n_classes: int | None = None,
    n_train: int | None = None,
    n_test: int | None = None,
    name: str = OWN,
) -> ImageData:
    """Turns your own images and labels into a data set.

    It warns if images are left out because of their labels, or if the pixels use little of their range.

    Args:
        train_images: (N, side * pool, side * pool).
        train_labels: (N,) integers from 0.
        test_images: (M, side * pool, side * pool).
        test_labels: (M,) integers from 0.
        n_qubits: wires of a circuit.
        pixel_max: the largest possible pixel value.
        pool: side of the square that is averaged.
        n_classes: keeps labels below this number; None keeps all.
        n_train: keeps the first training images only; None keeps all.
        n_test: likewise for test images.
        name: what the data set is called, in `RunConfig(dataset=name)` too.

    Returns:
        The data set.

    Raises:
        ValueError: if shapes, labels or sizes do not fit.
    """
    if name in _READERS:
        raise ValueError(f"name='{name}' is a data set that `data.load` knows: call your own images something else.")
    RunConfig(dataset=name)  # refuses an impossible name
    if any(given is None for given in (train_images, train_labels, test_images, test_labels)):
        raise ValueError("images or labels are missing (None): give some for training and some for the test.")
    train_images, test_images, pixel_max = _numbers(train_images), _numbers(test_images), _largest(pixel_max)
    labels = _class_numbers("train", train_labels, train_images), _class_numbers("test", test_labels, test_images)
    every = 1 + int(max(map(np.max, labels)))
    kept = every if n_classes is None else n_classes
    parts = train_images, labels[0], test_images, labels[1]
    images = _assembled(name, parts, n_qubits, pixel_max, pool, kept, (n_train, n_test))
    left = [int(np.sum(own >= kept)) for own in labels]
    if any(left):
        warnings.warn(
            f"n_classes={kept} leaves out {left[0]} of {len(labels[0])} training and {left[1]} of {len(labels[1])} "
            f"test images, whose labels go up to {every - 1}: n_classes={every} keeps all.",
            stacklevel=2,
        )
    if train_images.max() < pixel_max / 10:
        warnings.warn(
            f"the brightest pixel is {train_images.max():g} of pixel_max={pixel_max:g}, so that the angles are close "
            f"to 0: give the largest possible value, 1 for pixels from 0 to 1.",
            stacklevel=2,
        )
    return images


def _class_numbers(what: str, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Labels (N,) as integers from 0, one for each image."""
    labels = _array(f"{what} labels", labels)
    hint = "number all classes at once, `np.unique(labels, return_inverse=True)[1]`"
    if labels.ndim == 2:
        given, hint = f"shape {labels.shape}", "`labels.argmax(1)`" if labels.shape[1] > 1 else "`labels.ravel()`"
    elif labels.shape != (len(images),) or not labels.size:
        given, hint = f"shape {labels.shape} for {len(images)} images", "one for each"
    elif labels.dtype.kind not in "iu":
        given = f"type {labels.dtype}"
        if labels.dtype.kind in "bf" and np.all(np.isfinite(labels)) and np.all(labels == np.round(labels + 0.0)):
            hint = "`labels.astype(int)`"
    elif labels.min() < 0:
        given = f"{labels.min()}"
    else:
        return labels
    raise ValueError(f"{what} labels must be integers from 0, one per image: got {given}; give {hint}.")


def _assembled(
    name: str,
    parts: Sequence[np.ndarray],
    n_qubits: int,
    pixel_max: float,
    pool: int,
    n_classes: int,
    sizes: tuple[int | None, int | None],
) -> ImageData:
    """Makes a data set of images and labels, of the first classes and the first images of them."""
    _whole(n_classes, f"n_classes={n_classes}: give a number of classes, at least 1.")
    out = []
    for what, images, labels, size in zip(("train", "test"), parts[::2], parts[1::2], sizes, strict=True):
        keep = np.flatnonzero(labels < n_classes)
        if not len(keep):
            raise ValueError(f"no {what} image has a label below n_classes={n_classes}.")
        if size is not None:
            refusal = f"n_{what}={size}: choose 1 to {len(keep)} for {n_classes} classes of this data."
            _whole(size, refusal)
            if size > len(keep):
                raise ValueError(refusal)
            keep = keep[:size]
        present = np.unique(labels[keep])
        if what == "train" and len(present) < n_classes:
            missing = int(np.argmax(np.append(present != np.arange(len(present)), True)))
            raise ValueError(
                f"no training image has label {missing}: n_classes={n_classes} needs every class, without gaps."
            )
        out += [to_angles(images[keep], n_qubits=n_qubits, pixel_max=pixel_max, pool=pool)]
        out += [labels[keep].astype(np.int32)]
    side, test_side = out[0].shape[1], out[2].shape[1]
    if side != test_side:
        raise ValueError(
            f"train images are {side} x {side} and test images {test_side} x {test_side} (after pooling): "
            f"give one size."
        )
    return ImageData(out[0], out[1], out[2], out[3], name)


def _idx(path: Path) -> np.ndarray:
    """Reads one gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    n_axes = raw[3]
    shape = np.frombuffer(raw, ">u4", n_axes, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _mnist():
    root = files.data_folder() / "mnist"
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

    target = files.data_folder() / "fashion_mnist"
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


_READERS = {"mnist": _mnist, "digits": _digits, "fashion_mnist": _fashion_mnist}


def chunks(angles: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts images into chunks of equal size; the last one is filled up with images of weight zero.

    Args:
        angles: (N, side, side).
        labels: (N,).
        size: images per chunk.

    Returns:
        Angles (n_chunks, size, side, side), labels (n_chunks, size), and weights (n_chunks, size) that sum to 1.

    Raises:
        ValueError: if size is below 1.
    """
    if size < 1:
        raise ValueError(f"chunk={size}: give a number of images at once, at least 1.")
    n = len(labels)
    size = min(size, n)
    index = np.arange(-(-n // size) * size)
    weights = np.where(index < n, 1 / n, 0).astype(angles.dtype)
    rows = np.minimum(index, n - 1).reshape(-1, size)
    return angles[rows], labels[rows], weights.reshape(-1, size)
