"""Frozen, validated configurations, their presets, and the hash that names a run.

Every constant is labelled with where it comes from: `paper` (arXiv:2504.19239), `author's code`
(the public notebooks of the paper's author) or `ours`.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Aggregation = Literal["mean", "sum"]


def _sentence(problem: Mapping[str, Any]) -> str:
    """One sentence for one of pydantic's findings: what was given, and what is allowed."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    name, given = ".".join(map(str, problem["loc"])), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"'{name}' is not a field of this configuration."
    return f"{name}={given!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


class _Frozen(BaseModel):
    """A configuration that cannot be changed and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:  # pydantic's report spans several lines and ends in a link
            raise ValueError(" ".join(map(_sentence, error.errors()))) from None

    def canonical_json(self) -> str:
        """Returns the configuration as JSON with sorted keys and no white space."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Returns the first 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:12]


def allowed_patch_counts(image_side: int, n_qubits: int) -> tuple[int, ...]:
    """Returns every number of patches that fits an image, in increasing order.

    n = k^2 patches of n_qubits x n_qubits pixels fit when image_side - n_qubits is divisible by k - 1.

    Args:
        image_side: pixels along one side of the image.
        n_qubits: pixels along one side of a patch, which is also the number of wires.

    Returns:
        The allowed values of n.

    >>> allowed_patch_counts(14, 8)
    (1, 4, 9, 16, 49)
    """
    slack = image_side - n_qubits
    if slack < 0:
        return ()
    return (1, *((k + 1) ** 2 for k in range(1, slack + 1) if slack % k == 0))


class Layout(NamedTuple):
    """Where parameters lie in a flat vector (P,), everywhere: the shared bias row by row, then phi circuit by circuit.

    Attributes:
        bias: of the shared bias; empty without one.
        phi: of the angles of all circuits.
        circuits: of the angles of each circuit.
    """

    bias: slice
    phi: slice
    circuits: tuple[slice, ...]


class ModelConfig(_Frozen):
    """The model of the paper: n circuits, one per overlapping patch, and a softmax over their mean.

    The defaults are the paper's.

    Attributes:
        n_patches: n, a square that fits `image_side` (`allowed_patch_counts`); the paper has 4, 9, 16.
        depth: layers d of each of a circuit's three blocks; the paper has 50, 100, 150, 200.
        n_qubits: wires q of a circuit and pixels along one side of its patch; even, from 2 to 10.
        image_side: pixels along one side of an image; the paper averages 28 x 28 to 14 x 14.
        n_classes: number of outputs K of a circuit, half of them X and half Z; even, at most 2 q. As many as classes of
            images, unless `RunConfig.data_classes` says otherwise.
        scale: c, by which the mean or sum of the expectation values is multiplied to give the logits.
        aggregation: "mean" or "sum" over the circuits.
        shared_bias: whether one trainable angle for each pixel, the same for all circuits, is added to the image.
        stride: pixels between neighbouring patches, which are then centred on the image (ours); None spreads them over
            the whole image, as the paper does.

    Raises:
        ValueError: if a value is not allowed, or the patches do not fit the image.
    """

    n_patches: Annotated[int, Field(ge=1)] = 4  # paper: 4, 9, 16
    depth: Annotated[int, Field(ge=1)] = 50  # paper: 50, 100, 150, 200
    n_qubits: Annotated[int, Field(ge=2, le=10)] = 8  # paper
    image_side: Annotated[int, Field(ge=2)] = 14  # paper: 28 x 28 after 2 x 2 average pooling
    n_classes: Annotated[int, Field(ge=2)] = 10  # paper
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0  # paper: c = 100
    aggregation: Aggregation = "mean"  # paper
    shared_bias: bool = True  # author's code
    stride: Annotated[int, Field(ge=0)] | None = None  # ours

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        q, side, n = self.n_qubits, self.image_side, self.n_patches
        if q % 2:
            raise ValueError(f"n_qubits={q} is odd; the encoding needs an even number from 2 to 10.")
        if self.n_classes % 2 or self.n_classes > 2 * q:
            raise ValueError(
                f"n_classes={self.n_classes} does not fit n_qubits={q}: "
                f"choose an even number from 2 to {2 * q} (half X and half Z observables)."
            )
        if side < q:
            raise ValueError(f"image_side={side} is smaller than a patch: choose at least n_qubits={q}.")
        if self.stride is None:
            allowed = allowed_patch_counts(side, q)
            if n not in allowed:
                raise ValueError(
                    f"n_patches={n} does not tile image_side={side} with patches of {q} x {q} pixels: "
                    f"choose one of {', '.join(map(str, allowed))}."
                )
        elif math.isqrt(n) ** 2 != n or (math.isqrt(n) - 1) * self.stride + q > side:
            raise ValueError(
                f"n_patches={n} with stride={self.stride} does not fit image_side={side}: "
                f"choose a square n with (sqrt(n) - 1) * stride + {q} <= {side}."
            )
        return self

    @property
    def offsets(self) -> tuple[int, ...]:
        """First pixel of each patch along one axis, in pixels.

        A single patch is centred (ours; the paper has no n = 1).
        """
        k, slack = math.isqrt(self.n_patches), self.image_side - self.n_qubits
        if self.stride is None:
            return tuple(i * slack // (k - 1) for i in range(k)) if k > 1 else (slack // 2,)
        first = (slack - (k - 1) * self.stride) // 2
        return tuple(first + i * self.stride for i in range(k))

    @property
    def factor(self) -> float:
        """Weight of one circuit's expectation values in the logits, c / n for the mean and c for the sum."""
        return self.scale / self.n_patches if self.aggregation == "mean" else self.scale

    @property
    def n_params_per_qnn(self) -> int:
        """Number of trainable rotation angles in one circuit, (6 d + 2 q) q."""
        return (6 * self.depth + 2 * self.n_qubits) * self.n_qubits

    @property
    def n_params(self) -> int:
        """Number of all trainable numbers, every circuit's angles and the shared bias if there is one."""
        return self.n_patches * self.n_params_per_qnn + self.shared_bias * self.image_side**2

    @property
    def layout(self) -> Layout:
        """Where the bias and each circuit lie in a flat vector of all parameters."""
        m, first = self.n_params_per_qnn, self.shared_bias * self.image_side**2
        circuits = tuple(slice(first + p * m, first + (p + 1) * m) for p in range(self.n_patches))
        return Layout(slice(0, first), slice(first, self.n_params), circuits)

    @property
    def max_coverage(self) -> int:
        """Largest number of patches that cover one pixel (mu in theorem T3)."""
        q, offsets = self.n_qubits, self.offsets
        return max(sum(o <= i < o + q for o in offsets) for i in range(self.image_side)) ** 2

    @property
    def coverage(self) -> float:
        """Share of the pixels that at least one patch covers."""
        seen = {i for first in self.offsets for i in range(first, first + self.n_qubits)}
        return (len(seen) / self.image_side) ** 2


class TrainConfig(_Frozen):
    """The training protocol; the defaults are the author's for depth 50.

    Attributes:
        learning_rate: of Adam, rad per step, where the periodic cosine has its crest.
        weight_decay: times the parameters, added to the gradient before Adam (nats per rad, per rad).
        epochs: passes over the training images.
        batch_size: images of one step; batches hold all classes in equal shares.
        lr_half_period: epochs from a crest of the learning rate to the next zero.

    Raises:
        ValueError: if a value is not allowed.
    """

    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-2  # author's code: see `paper_learning_rate`
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-5  # author's code: added to the gradient
    epochs: Annotated[int, Field(ge=0)] = 50  # author's code
    batch_size: Annotated[int, Field(ge=1)] = 1000  # author's code
    lr_half_period: Annotated[int, Field(ge=1)] = 5  # author's code: T_max of the periodic cosine, in epochs


class RunConfig(_Frozen):
    """One training run: model, protocol, data and seed.

    Attributes:
        model: the circuits and their logits.
        train: the protocol.
        dataset: mnist, digits, fashion_mnist, or a name for your own images (letters, digits, underscores).
        data_classes: images of so many first classes only, fewer than the model has outputs; None: as many as outputs.
        n_train: number of training images, the first ones; None: all.
        n_test: number of test images, likewise.
        seed: of the initial angles and of the batches, from 0 to 2**32 - 1.

    Raises:
        ValueError: if a value is not allowed.
    """

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    dataset: str = "mnist"  # paper; or digits, fashion_mnist, or the name of your own images
    # ours: images of the first classes only; None: as many classes as outputs, and not part of the name (paper)
    data_classes: Annotated[int, Field(ge=2)] | None = Field(None, exclude_if=lambda given: given is None)
    n_train: Annotated[int, Field(ge=1)] | None = None  # None: every image (paper)
    n_test: Annotated[int, Field(ge=1)] | None = None  # None: every image (paper)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1001  # author's code

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", self.dataset):  # it is part of the names of files
            raise ValueError(f"dataset={self.dataset!r}: choose up to 40 letters, digits and underscores.")
        if self.data_classes is not None and self.data_classes >= self.model.n_classes:
            raise ValueError(
                f"data_classes={self.data_classes} is not fewer than n_classes={self.model.n_classes}: "
                f"choose at least 2 and less than that, or leave it out for as many."
            )
        return self

    @property
    def classes(self) -> int:
        """Number of classes C of the images; as many as the model has outputs unless `data_classes` says otherwise."""
        return self.data_classes or self.model.n_classes

    def name(self, seeds: Sequence[int] | None = None) -> str:
        """Returns a readable file stem: dataset, patches, depth, seeds and the hash of everything.

        Args:
            seeds: of runs that are trained together, the first one being `seed`; None is `seed` alone.

        Returns:
            For example mnist-n4-d50-s1001-99aaabd7a733, or mnist-n4-d2-s0to9-... for ten seeds.
        """
        m, seeds = self.model, [self.seed] if seeds is None else list(seeds)
        run = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 1
        which = f"{seeds[0]}to{seeds[-1]}" if run else "+".join(map(str, seeds))
        return f"{self.dataset}-n{m.n_patches}-d{m.depth}-s{which}-{self.digest()}"


PAPER_LEARNING_RATES = {50: 1e-2, 100: 5e-3, 150: 2.5e-3, 200: 1e-3}  # author's code
PAPER_PATCHES = (4, 9, 16)  # paper
PAPER_SEED = 1001  # author's code


def paper(n_patches: int, depth: int, seed: int = PAPER_SEED) -> RunConfig:
    """Returns the paper's run for one point of its grid.

    Args:
        n_patches: 4, 9 or 16.
        depth: 50, 100, 150 or 200; it also sets the learning rate, as in the author's code.
        seed: the author's is 1001.

    Returns:
        The configuration.

    Raises:
        ValueError: if the point is not one of the paper's twelve.
    """
    if depth not in PAPER_LEARNING_RATES or n_patches not in PAPER_PATCHES:
        raise ValueError(
            f"n_patches={n_patches}, depth={depth} is not in the paper's grid: choose n_patches from "
            f"{PAPER_PATCHES} and depth from {tuple(PAPER_LEARNING_RATES)}."
        )
    return RunConfig(
        model=ModelConfig(n_patches=n_patches, depth=depth),
        train=TrainConfig(learning_rate=PAPER_LEARNING_RATES[depth]),
        seed=seed,
    )


def digits(n_patches: int = 4, depth: int = 3, seed: int = 0, epochs: int = 30) -> RunConfig:
    """Returns the quick tier (ours): 6 qubits, 6 x 6 patches on the 8 x 8 scikit-learn digits; seconds per run.

    Args:
        n_patches: 1, 4 or 9.
        depth: layers per block.
        seed: seed of the initial parameters and of the batches.
        epochs: passes over the training images.

    Returns:
        The configuration.
    """
    return RunConfig(
        model=ModelConfig(n_patches=n_patches, depth=depth, n_qubits=6, image_side=8),
        train=TrainConfig(learning_rate=2e-2, epochs=epochs, batch_size=100),
        dataset="digits",
        seed=seed,
    )
