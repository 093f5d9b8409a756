"""What the parameters of each chapter may be: one model per chapter, checked as a whole before any work.

A field is a parameter of the chapter's parameters cell, which has the defaults. After the fields, each model builds the
configurations that its chapter will build, so that what does not fit together stops the chapter at once.
"""

import reprlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, create_model, model_validator

from patchscape import config
from patchscape.config import ModelConfig

# Training images in the first 1, 2, ... 10 classes of the digits.
DIGITS = (142, 288, 430, 576, 721, 866, 1011, 1154, 1293, 1437)
# ours: real operations per second that training reaches on two cores, from the stored runs of 6 and 8 qubits.
RATE = 1e10
# ours: rows of the largest dense Hessian, 200 MB in double precision.
DENSE = 5000
MEMORY = 4  # ours: GB of such matrices


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        raise ValueError("true and false are no numbers.")
    return value


def _each_once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("a value is there twice.")
    return values


T = TypeVar("T")


def _within(kind: type, low: float | None = None, high: float | None = None) -> Any:
    """The type of a number within limits; true and false are none, though Python takes them for 1 and 0."""
    return Annotated[kind, Field(ge=low, le=high), BeforeValidator(_no_bool)]


Several = Annotated[list[T], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)]
Patches = _within(int, 1, 49)  # 49 is the most that tile 14 x 14 pixels
Depth = _within(int, 1, 200)  # paper: 50 to 200
Seeds = _within(int, 1, 100)
Epochs = _within(int, 1, 1000)
Qubits = _within(int, 2, 8)  # a patch of the 8 x 8 digits
Classes = _within(int, 2, 10)
Repeats = _within(int, 1, 1000)


def _operations(cfg: ModelConfig, images: int, batch: int) -> float:
    """Roughly, real operations of a forward pass over images in batches, each of which builds the layers once."""
    per_image = 16 * 4**cfg.n_qubits  # twice the matrix products (`speed.operation_count`), for all the rest
    return cfg.n_patches * per_image * images * (1 + cfg.depth * 2 ** (cfg.n_qubits // 2) / batch)


def _dense_operations(cfg: ModelConfig, images: int) -> float:
    """Real operations that make a dense Hessian from the derivatives for every image, and its eigenvalues."""
    return images * cfg.n_classes * cfg.n_params**2 + 5 * cfg.n_params**3


def _check_dense(cfgs: Iterable[ModelConfig]) -> None:
    largest = max(cfgs, key=lambda cfg: cfg.n_params)
    if largest.n_params > DENSE:
        raise ValueError(
            f"n_patches={largest.n_patches}, depth={largest.depth} and n_qubits={largest.n_qubits} make a dense "
            f"Hessian of {largest.n_params} rows: choose fewer patches, layers or qubits, for at most {DENSE}."
        )


def _check_images(n_images: int, n_classes: int) -> None:
    available = DIGITS[n_classes - 1]
    if n_images > available:
        raise ValueError(
            f"n_images={n_images} is more than the {available} training images of the first {n_classes} classes: "
            f"choose at most {available}."
        )


class Chapter(BaseModel):
    """The parameters of one chapter."""

    @model_validator(mode="after")
    def _fits(self) -> "Chapter":
        self._check(self._models())
        return self

    def _models(self) -> list[ModelConfig]:
        """The models that the chapter will build; making them checks them."""
        return []

    def _check(self, models: list[ModelConfig]) -> None:
        """What else has to fit together."""

    def _seconds(self) -> float:
        """How long the chapter computes on two cores, roughly, without what it takes to compile."""
        return 0.0


class Architecture(Chapter):
    """Chapter 1."""

    dataset: Literal["mnist", "fashion_mnist", "digits"]
    image: _within(int, 0, 59_999)
    n_patches: Patches
    depth: Depth
    seed: _within(int, 0, 2**32 - 1)

    def _models(self) -> list[ModelConfig]:
        size = {"n_qubits": 6, "image_side": 8} if self.dataset == "digits" else {}
        return [ModelConfig(n_patches=self.n_patches, depth=self.depth, **size)]

    def _check(self, models: list[ModelConfig]) -> None:
        if self.dataset == "digits" and self.image >= DIGITS[-1]:
            raise ValueError(
                f"image={self.image} is not one of the {DIGITS[-1]} training images of the digits: "
                f"choose a number from 0 to {DIGITS[-1] - 1}."
            )


class Bound(Chapter):
    """Chapter 2."""

    patches: Several[Patches]
    depth: Depth
    n_qubits: Qubits
    n_classes: Classes
    seeds: Seeds
    epochs: Epochs
    n_images: _within(int, 1, DIGITS[-1])

    def _models(self) -> list[ModelConfig]:
        size = {"depth": self.depth, "n_qubits": self.n_qubits, "image_side": 8, "n_classes": self.n_classes}
        return [ModelConfig(n_patches=n, **size) for n in self.patches]

    def _check(self, models: list[ModelConfig]) -> None:
        _check_dense(models)
        _check_images(self.n_images, self.n_classes)

    def _seconds(self) -> float:
        """Training, and the bounds at the start and the end."""
        images = DIGITS[self.n_classes - 1]
        work = (
            4 * self.epochs * _operations(cfg, images, 100) + 2 * _dense_operations(cfg, self.n_images)
            for cfg in self._models()
        )
        return self.seeds * sum(work) / RATE


class Size(Chapter):
    """Chapter 3."""

    layers: _within(int, 0, 17)  # the deepest stored models have 18


class Hessian(Chapter):
    """Chapter 4."""

    n_patches: Patches
    patches: Several[Patches]
    depth: Depth
    depths: Several[Depth]
    seeds: Seeds
    epochs: Epochs
    n_train: _within(int, 200, DIGITS[-1])  # batches of 100, of which there must be two

    def _models(self) -> list[ModelConfig]:
        points = {(n, self.depth) for n in self.patches} | {(self.n_patches, d) for d in self.depths}
        return [config.digits(n, d, epochs=self.epochs).model for n, d in sorted(points)]

    def _seconds(self) -> float:
        """Training, and some sixty products with the Hessian."""
        passes = 4 * self.epochs + 8 * 60
        return self.seeds * passes * sum(_operations(cfg, self.n_train, 100) for cfg in self._models()) / RATE


class Spectrum(Chapter):
    """Chapter 5."""

    n_patches: Patches
    depth: Depth
    n_qubits: Qubits
    n_classes: Classes
    classes: Several[Classes]
    seeds: Seeds
    epochs: Epochs
    n_images: _within(int, 64, DIGITS[-1])  # four batches, each with an image of all ten classes
    lanczos_steps: _within(int, 1, 1000)
    lanczos_starts: _within(int, 2, 1000)  # one start has no standard error

    def _models(self) -> list[ModelConfig]:
        size = {"n_patches": self.n_patches, "depth": self.depth, "n_qubits": self.n_qubits, "image_side": 8}
        return [ModelConfig(n_classes=c, **size) for c in sorted({*self.classes, self.n_classes})]

    def _check(self, models: list[ModelConfig]) -> None:
        size = models[0].n_params
        _check_dense(models)
        _check_images(self.n_images, models[0].n_classes)
        if self.lanczos_steps > size:
            raise ValueError(
                f"lanczos_steps={self.lanczos_steps} is more than the {size} parameters of the model: "
                f"choose at most so many."
            )
        kept = 2 * 8 * size**2 * len(self.classes) * self.seeds / 1e9
        if kept > MEMORY:
            raise ValueError(
                f"seeds={self.seeds} and {len(self.classes)} numbers of classes keep {kept:.0f} GB of dense matrices "
                f"with {size} rows: choose fewer of them, fewer patches or layers, for at most {MEMORY} GB."
            )

    def _seconds(self) -> float:
        """Training, dense Hessians, and the quadrature."""
        models, batch = self._models(), self.n_images // 4
        each = (
            4 * self.epochs * _operations(cfg, self.n_images, batch) + _dense_operations(cfg, self.n_images)
            for cfg in models
        )
        products = self.lanczos_starts * self.lanczos_steps * (models[0].n_params + 4 * self.lanczos_steps)
        return (self.seeds * sum(each) + 2 * products * models[0].n_params) / RATE


class Landscape(Chapter):
    """Chapter 6."""

    n_patches: Patches
    patches: Several[Patches]
    depth: Depth
    seeds: Seeds
    epochs: _within(int, 6, 1000)  # the sixth makes the first snapshot
    grid: _within(int, 2, 200)
    n_images: _within(int, 1, DIGITS[-1])
    view: Literal["pca_wide", "pca_near", "pca_author"]

    def _models(self) -> list[ModelConfig]:
        return [config.digits(n, self.depth).model for n in sorted({*self.patches, self.n_patches})]

    def _seconds(self) -> float:
        """Training, and three surfaces."""
        training = self.seeds * 4 * self.epochs * sum(_operations(cfg, DIGITS[-1], 100) for cfg in self._models())
        shown = config.digits(self.n_patches, self.depth).model
        return (training + 3 * self.grid**2 * _operations(shown, self.n_images, self.n_images)) / RATE


class Speed(Chapter):
    """Chapter 10."""

    n_patches: Patches
    depths: Several[Depth]
    n_images: _within(int, 1, 10_000)
    repeats: Repeats

    def _models(self) -> list[ModelConfig]:
        return [ModelConfig(n_patches=self.n_patches, depth=d) for d in self.depths]

    def _seconds(self) -> float:
        """Forward passes."""
        return self.repeats * sum(_operations(cfg, self.n_images, self.n_images) for cfg in self._models()) / RATE


class Controls(Chapter):
    """Chapter 8."""

    quantity: Literal["lambda_max", "gauss_newton"]
    seeds: _within(int, 5, 10)  # ten are stored; below five, values are shown in place of intervals
    replicas: Several[_within(int, 1, 36)]

    def _models(self) -> list[ModelConfig]:
        size = config.digits(1, depth=1).model.model_dump() | {"stride": 0}
        return [ModelConfig(**size | {"n_patches": n}) for n in self.replicas]

    def _seconds(self) -> float:
        """The dense Hessians of the copies."""
        return sum(_dense_operations(cfg, 200) for cfg in self._models()) / RATE


class Beyond(Chapter):
    """Chapter 9."""

    patches: Annotated[Several[Patches], Field(min_length=2)]  # an exponent of n needs two
    seeds: Seeds
    steps: _within(int, 2, 10_000)  # the noisy circuit takes half as many
    noise: Several[_within(float, 0, 0.3)]  # beyond, the curvature drowns in single precision
    shots: Several[_within(int, 1, 30_000)]  # of these a simulation takes 0.7 GB
    repeats: _within(int, 2, 1000)  # a standard deviation needs two
    n_images: _within(int, 27, DIGITS[7])  # of eight classes; the first 27 have all

    def _models(self) -> list[ModelConfig]:
        sizes = (
            {"depth": 2, "n_qubits": 4, "image_side": 8, "n_classes": 8},
            {"n_qubits": 2, "image_side": 4, "n_classes": 4},
        )
        chosen = zip(sizes, (self.patches, self._noisy()), strict=True)
        return [ModelConfig(n_patches=n, **size) for size, own in chosen for n in own]

    def _noisy(self) -> list[int]:
        return [n for n in self.patches if n in (1, 4, 9)]  # 2 x 2 patches of 4 x 4 pixels

    def _check(self, models: list[ModelConfig]) -> None:
        if len(self._noisy()) < 2:
            raise ValueError(
                f"patches={self.patches} has fewer than two of 1, 4 and 9, which the noisy circuits take: give two."
            )
        if 0 not in self.noise:
            raise ValueError(f"noise={self.noise} has no 0, where shots are simulated: give 0 as well.")

    def _seconds(self) -> float:
        """Three functions of a patch with mean and sum, the noisy circuit, and the measurements."""
        passes = 4 * self.steps + 8 * 40
        circuits = (
            6
            * passes
            * sum(_operations(cfg, self.n_images, self.n_images) for cfg in self._models()[: len(self.patches)])
        )
        noisy = len(self.noise) * passes / 2 * sum(self._noisy()) * 2e6  # of 100 images, some sixty channels each
        measured = 3 * self.repeats * sum(self.shots) * 40 * max(self._noisy()) * 2000
        return (self.seeds * (circuits + noisy) + measured) / RATE


class PaperSize(Chapter):
    """Chapter 7."""

    n_patches: Patches
    depth: Depth
    images: _within(int, 100, 60_000)
    products: _within(int, 2, 100)

    def _models(self) -> list[ModelConfig]:
        return [config.paper(self.n_patches, self.depth).model]

    def _check(self, models: list[ModelConfig]) -> None:
        from patchscape.store import files, grids

        jobs = (job for job in grids.jobs("paper").values() if files.paths(job, files.folder_of("paper"))[0].exists())
        stored = {(job.run.model.n_patches, job.run.model.depth) for job in jobs if job.run.seed == config.PAPER_SEED}
        if (self.n_patches, self.depth) not in stored:
            words = ", ".join(str(size) for size in sorted(stored))
            raise ValueError(
                f"n_patches={self.n_patches} and depth={self.depth} have no stored run of the paper's protocol: choose "
                f"one of (n_patches, depth) = {words}."
            )

    def _seconds(self) -> float:
        """Products with the Hessian."""
        return 4 * self.products * _operations(self._models()[0], self.images, self.images) / RATE


CHAPTERS: dict[str, type[Chapter]] = {
    "01_architecture": Architecture,
    "02_bound": Bound,
    "03_size": Size,
    "04_hessian": Hessian,
    "05_spectrum": Spectrum,
    "06_landscape": Landscape,
    "07_paper_size": PaperSize,
    "08_controls": Controls,
    "09_beyond": Beyond,
    "10_speed": Speed,
}

# Parameters that a reader adds to a chapter, or a chapter of the reader's own, have no more than a declared type.
_DECLARED = {"int": _within(int), "float": _within(float), "str": str, "bool": Annotated[bool, Field(strict=True)]}
_DECLARED |= {f"list[{name}]": list[kind] for name, kind in _DECLARED.items()} | {"list": list, "dict": dict}


def check_values(chapter: str, values: Mapping[str, Any], declared: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Checks all parameters of a chapter, and warns if they ask for hours.

    Args:
        chapter: the chapter's name, "04_hessian".
        values: of its parameters.
        declared: what the parameters cell says of them, from `chapters.declared_parameters`.

    Returns:
        The values, numbers that were given as text (YAML reads 1e-3 as text) as numbers.

    Raises:
        ValueError: if a value is not allowed; the sentence says what is.
    """
    base = CHAPTERS.get(chapter, Chapter)
    own = {
        name: (_DECLARED.get(declared[name]["inferred_type_name"].strip(), Any), ...)
        for name in values
        if name not in base.model_fields and not name.startswith("_")
    }
    model = create_model(chapter, __base__=base, **own)
    try:
        found = model(**values)
    except ValidationError as error:
        allowed, problems = model.model_json_schema()["properties"], {}
        for problem in error.errors():  # a list has one for each element
            problems.setdefault(problem["loc"][:1], problem)
        sentences = (_sentence(chapter, problem, values, allowed) for problem in problems.values())
        raise ValueError(" ".join(sentences)) from None
    if (hours := found._seconds() / 3600) >= 1:
        warnings.warn(f"chapter {chapter} takes about {hours:.0f} h on two cores with these values", stacklevel=3)
    return found.model_dump()


def _sentence(chapter: str, problem: Mapping[str, Any], values: Mapping[str, Any], allowed: Mapping[str, Any]) -> str:
    """One sentence for one of pydantic's findings: what was given, and what is allowed."""
    if not problem["loc"]:  # values that do not fit together: the sentence of a configuration
        return f"chapter {chapter}: {problem['ctx']['error']}"
    name = problem["loc"][0]
    if problem["type"] == "missing":
        return f"chapter {chapter} needs its parameter {name!r}: put it back into the parameters cell."
    given, kind = values[name], allowed[name]
    hint = (
        " (papermill reads a list after -y, not after -p)"
        if kind.get("type") == "array" and isinstance(given, str)
        else ""
    )
    return f"parameter {name!r} of chapter {chapter} was given {reprlib.repr(given)}: give {_words(kind)}{hint}."


_NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("a text", "texts"),
    "boolean": ("true or false", "true or false"),
    "object": ("a mapping", "mappings"),
}


def _words(schema: Mapping[str, Any], several: bool = False) -> str:
    """What a JSON schema allows, in words."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if not schema:
        return "values"
    if schema["type"] == "array":
        least = f", at least {schema['minItems']}, none twice" if schema.get("uniqueItems") else ""
        return f"a list of {_words(schema['items'], several=True)}{least}"
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = f" from {low} to {high}" if high is not None else ""
    return _NOUNS[schema["type"]][several] + limits
