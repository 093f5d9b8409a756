"""Everything that is measured at the minima of one configuration, by level."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from patchscape import data, exact, full_data, model, points, training
from patchscape.config import ModelConfig, RunConfig
from patchscape.grids import Level

WHOLE = 2500  # ours: most parameters for which all eigenvalues are computed and kept
LATER = frozenset({"train_loss", "gauss_newton_trace_phi", "expected_gauss_newton"})  # ours: not in files of older code


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


def at(prepared: Prepared, params: model.Params, level: Level) -> dict[str, np.ndarray]:
    """Measures at one minimum.

    Args:
        prepared: from `prepare`.
        params: at the minimum.
        level: what is measured, as in `grids.Job`.

    Returns:
        Columns of a curvature file; none if the parameters are not finite (a run that has diverged).
    """
    cfg, loss, flat = prepared.cfg, prepared.loss, full_data.flatten(params)
    if not np.all(np.isfinite(flat)):
        return {}
    if level == "top":  # too large for a dense matrix
        point = loss.at(flat)
        columns, _ = points.spectrum(cfg, point.gradient, point.hessian, max_steps=40, top=1, bottom=0)
        return columns | only(prepared, params, LATER)
    columns = _losses(prepared, params) | _exactly(prepared, params)
    if level == "core":
        return columns
    refined, how = points.refine(loss, flat, columns["gradient_norm"])
    refined = loss.unravel(refined)
    again = _losses(prepared, refined) | _exactly(prepared, refined)
    return columns | how | {f"refined_{name}": value for name, value in again.items()}


def only(prepared: Prepared, params: model.Params, names: Collection[str]) -> dict[str, np.ndarray]:
    """Measures what older code did not measure: losses, traces of G, and what T4 and T5 expect.

    Args:
        prepared: from `prepare`.
        params: at a minimum.
        names: those of `LATER` that are wanted.

    Returns:
        These columns and the others that come with them; none if the parameters are not finite.
    """
    flat, columns = full_data.flatten(params), {}
    if not np.all(np.isfinite(flat)):
        return columns
    if "train_loss" in names:
        columns |= _losses(prepared, params)
    if "gauss_newton_trace_phi" in names:
        columns |= points.traces(prepared.loss, flat)
    if "expected_gauss_newton" in names:
        probabilities = prepared.loss.probabilities(flat)
        columns |= points.expected(prepared.cfg, params, prepared.images.train_angles, probabilities)
    return columns


def again(prepared: Prepared, params: model.Params) -> dict[str, float]:
    """Computes train_loss and lambda_max by products and another random start, to compare with stored ones.

    Args:
        prepared: from `prepare`.
        params: at a minimum.

    Returns:
        Both, in nats and nats per rad^2.
    """
    flat = full_data.flatten(params)
    loss, _ = training.loss_and_accuracy(prepared.loss.logits(flat), prepared.images.train_labels)
    point = prepared.loss.at(flat)
    top, _ = points.spectrum(prepared.cfg, point.gradient, point.hessian, max_steps=60, top=1, bottom=0, seed=1)
    return {"train_loss": float(loss), "lambda_max": float(top["lambda_max"])}


def _losses(prepared: Prepared, params: model.Params) -> dict[str, np.ndarray]:
    """Loss (nats) and accuracy on all training and on all test images."""
    values, _ = prepared.evaluate({name: np.asarray(value)[None] for name, value in params.items()})
    return {name: value[0] for name, value in values.items()}


def _exactly(prepared: Prepared, params: model.Params) -> dict[str, np.ndarray]:
    """Columns from the dense matrices; every spectrum as a whole if the model is small."""
    cfg, (angles, labels, *_) = prepared.cfg, prepared.images
    parts = exact.decompose(cfg, params, angles, labels, norms=False)
    point = exact.point(cfg, parts, labels)
    columns, vectors = points.spectrum(cfg, point.gradient, point.hessian)
    columns |= points.gauss_newton(point) | points.without_bias(cfg, point)
    columns |= points.blocks(cfg, point, columns, vectors) | points.overlaps(point, columns, vectors)
    squares, n_phi = np.square(parts.root).sum(0), cfg.n_patches * cfg.n_params_per_qnn
    columns |= {"gauss_newton_trace_phi": squares[:n_phi].sum(), "gauss_newton_trace_phi_error": 0.0}
    columns |= {"gauss_newton_trace_bias": squares[n_phi:].sum()}
    columns |= points.expected(cfg, params, angles, parts.probabilities)
    trace = squares.sum() + np.trace(parts.residual_blocks, axis1=1, axis2=2).sum()
    columns |= {"trace": trace, "trace_error": 0.0}
    return columns | (exact.spectra(parts) if len(parts.gradient) <= WHOLE else {})
