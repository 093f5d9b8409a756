"""Everything that is measured at the minima of one configuration, by level."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from patchscape.config import ModelConfig, RunConfig
from patchscape.curvature import exact, full_data, measures
from patchscape.curvature.point import Matvec, Point
from patchscape.learning import data, model, training
from patchscape.numerics import spectra
from patchscape.store.columns import TOP
from patchscape.store.grids import LARGE, Level

Record = Callable[[str, Matvec], Matvec]  # keeps the products of a matrix with this name, as `recorded` does

WHOLE = 2500  # ours: most parameters for which all eigenvalues are computed and kept
LATER = frozenset({"train_loss", "gauss_newton_trace_phi", "expected_phi"})  # ours: not in files of older code
LEADING_STEPS = 50  # ours: products for the leading eigenvalues of a large model
DENSITY_IMAGES = 10_000  # ours: the first images, for the spectral densities of a large model
DENSITY_STEPS, DENSITY_STARTS = 30, 3  # ours: products for each start, and number of starts


class Prepared(NamedTuple):
    """What the minima of one configuration share: images and compiled programs.

    Attributes:
        cfg: the model.
        images: its data set.
        loss: over the training images.
        evaluate: losses and accuracies, from `training.evaluation`.
    """

    cfg: ModelConfig
    images: data.ImageData
    loss: full_data.FullDataLoss
    evaluate: Callable


def prepare(run: RunConfig, images: data.ImageData) -> Prepared:
    """Prepares the loss of a configuration on its images."""
    loss = full_data.FullDataLoss(run.model, images.train_angles, images.train_labels)
    return Prepared(run.model, images, loss, training.evaluation(run.model, images))


def wanted(level: Level) -> frozenset[str]:
    """Columns that tell whether a curvature file of this level has everything, one for each part of it."""
    if level == "ends":
        return frozenset({"train_loss", "lambda_max"})
    more = {"top": {"lambda_max"}, "leading": {"class_mean_overlap", "density_hessian_values"}}
    return LATER | more.get(level, set())


def at(prepared: Prepared, params: model.Params, level: Level, record: Record) -> dict[str, np.ndarray]:
    """Measures at one minimum.

    Args:
        prepared: from `prepare`.
        params: at the minimum.
        level: what is measured, as in `grids.Job`.
        record: (name of a matrix, its product) -> a product that also keeps what it computes, for large models.

    Returns:
        Columns of a curvature file; none if the parameters are not finite (a run that has diverged).
    """
    loss, flat = prepared.loss, np.asarray(model.flatten(params))
    if not np.all(np.isfinite(flat)):
        return {}
    if level in LARGE:
        return only(prepared, params, wanted(level), record)
    if level == "ends":
        return _losses(prepared, params) | _ends(prepared, params)
    columns = _losses(prepared, params) | _exactly(prepared, params)
    if level == "core":
        return columns
    found, how = measures.refine(loss, flat, float(columns["gradient_norm"]))
    refined = model.unflatten(loss.cfg, found)
    again = _losses(prepared, refined) | _exactly(prepared, refined)
    return columns | how | {f"refined_{name}": value for name, value in again.items()}


def only(prepared: Prepared, params: model.Params, names: Collection[str], record: Record) -> dict[str, np.ndarray]:
    """Measures some parts by products, whatever the size of the model.

    Args:
        prepared: from `prepare`.
        params: at a minimum.
        names: those of `wanted` that are to be measured.
        record: of the products.

    Returns:
        These columns and the others that come with them; none if the parameters are not finite.
    """
    flat, columns = np.asarray(model.flatten(params)), dict[str, Any]()
    if not np.all(np.isfinite(flat)):
        return columns
    if "train_loss" in names:
        columns |= _losses(prepared, params)
    if "class_mean_overlap" in names:
        point = _recorded(prepared.loss, flat, "all", record)
        found = measures.spectrum(
            prepared.cfg, point.gradient, point.hessian, max_steps=LEADING_STEPS, top=TOP, bottom=1
        )
        columns |= found[0] | measures.overlaps(point, *found)
    elif "lambda_max" in names:
        point = _recorded(prepared.loss, flat, "all", record)
        columns |= measures.spectrum(prepared.cfg, point.gradient, point.hessian, max_steps=40, top=1, bottom=0)[0]
    if "gauss_newton_trace_phi" in names:
        columns |= measures.traces(prepared.loss, flat)
    if "expected_phi" in names:
        probabilities = prepared.loss.probabilities(flat)
        columns |= measures.expected(prepared.cfg, params, prepared.images.train_angles, probabilities)
    if "density_hessian_values" in names:
        columns |= _densities(prepared, flat, record)
    return columns


def _recorded(loss: full_data.FullDataLoss, flat: np.ndarray, images: str, record: Record) -> Point:
    """The loss at a point, with products that are kept; `images` tells data sets apart."""
    point = loss.at(flat)
    return point._replace(
        hessian=record(f"{images}-hessian", point.hessian),
        gauss_newton=record(f"{images}-gauss_newton", point.gauss_newton),
    )


def _densities(prepared: Prepared, flat: np.ndarray, record: Record) -> dict[str, np.ndarray]:
    """Quadratures of the spectral densities of H and of G over the first images, from several starts."""
    angles, labels, *_ = prepared.images
    loss = full_data.FullDataLoss(prepared.cfg, angles[:DENSITY_IMAGES], labels[:DENSITY_IMAGES])
    point, columns = _recorded(loss, flat, "density", record), dict[str, Any]()
    for name in ("hessian", "gauss_newton"):
        matvec, size = getattr(point, name), loss.size
        values, weights = spectra.quadrature(matvec, size, steps=min(DENSITY_STEPS, size), starts=DENSITY_STARTS)
        columns |= {f"density_{name}_values": values, f"density_{name}_weights": weights}
    return columns | {"density_images": loss.n_images}


def again(prepared: Prepared, params: model.Params) -> dict[str, float]:
    """Computes train_loss and lambda_max by products and another random start, to compare with stored ones.

    Args:
        prepared: from `prepare`.
        params: at a minimum.

    Returns:
        Both, in nats and nats per rad^2.
    """
    flat = np.asarray(model.flatten(params))
    loss, _ = training.loss_and_accuracy(prepared.loss.logits(flat), prepared.images.train_labels)
    point = prepared.loss.at(flat)
    top, _ = measures.spectrum(prepared.cfg, point.gradient, point.hessian, max_steps=60, top=1, bottom=0, seed=1)
    return {"train_loss": float(loss), "lambda_max": float(top["lambda_max"])}


def _losses(prepared: Prepared, params: model.Params) -> dict[str, np.ndarray]:
    """Loss (nats) and accuracy on all training and on all test images."""
    values, _ = prepared.evaluate({name: np.asarray(value)[None] for name, value in params.items()})
    return {name: value[0] for name, value in values.items()}


def _ends(prepared: Prepared, params: model.Params) -> dict[str, np.ndarray]:
    """Both ends of the spectrum from the dense matrices."""
    cfg, (angles, labels, *_) = prepared.cfg, prepared.images
    point = exact.point(cfg, exact.decompose(cfg, params, angles, labels, norms=False), labels)
    return measures.spectrum(cfg, point.gradient, point.hessian, top=1)[0]


def _exactly(prepared: Prepared, params: model.Params) -> dict[str, np.ndarray]:
    """Columns from the dense matrices; every spectrum as a whole if the model is small."""
    cfg, (angles, labels, *_) = prepared.cfg, prepared.images
    parts = exact.decompose(cfg, params, angles, labels, norms=False)
    point = exact.point(cfg, parts, labels)
    columns, vectors = measures.spectrum(cfg, point.gradient, point.hessian)
    columns |= measures.gauss_newton(point) | measures.without_bias(cfg, point)
    columns |= measures.blocks(cfg, point, columns, vectors) | measures.overlaps(point, columns, vectors)
    squares, at = np.square(parts.root).sum(0), cfg.layout
    columns |= {"gauss_newton_trace_phi": squares[at.phi].sum(), "gauss_newton_trace_phi_error": 0.0}
    columns |= {"gauss_newton_trace_bias": squares[at.bias].sum()}
    columns |= measures.expected(cfg, params, angles, parts.probabilities)
    trace = squares.sum() + np.trace(parts.residual_blocks, axis1=1, axis2=2).sum()
    columns |= {"trace": trace, "trace_error": 0.0}
    return columns | (exact.spectra(parts) if len(parts.gradient) <= WHOLE else {})
