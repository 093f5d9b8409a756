"""Everything that is measured at the minima of one configuration, by level."""

from collections.abc import Collection
from functools import cached_property

import numpy as np

from patchscape import data, exact, full_data, model, points, training
from patchscape.config import RunConfig
from patchscape.grids import Level

WHOLE = 2500  # ours: most parameters for which all eigenvalues are computed and kept


class Measurement:
    """Measures at points of one configuration, which share its images and compiled programs.

    Args:
        run: the configuration.
    """

    #: what older code did not measure
    LATER = frozenset({"train_loss", "gauss_newton_trace_phi", "expected_gauss_newton"})

    def __init__(self, run: RunConfig) -> None:
        self._cfg, self._images = run.model, data.load_run(run)
        self._loss = full_data.FullDataLoss(self._cfg, self._images.train_angles, self._images.train_labels)

    def at(self, params: model.Params, level: Level) -> dict[str, np.ndarray]:
        """Measures at one minimum.

        Args:
            params: there.
            level: what is measured, as in `grids.Job`.

        Returns:
            Columns of a curvature file; none if the parameters are not finite (a run that has diverged).
        """
        flat = full_data.flatten(params)
        if not np.all(np.isfinite(flat)):
            return {}
        if level == "top":  # too large for a dense matrix
            point = self._loss.at(flat)
            columns, _ = points.spectrum(self._cfg, point.gradient, point.hessian, max_steps=40, top=1, bottom=0)
            return columns | self.only(params, self.LATER)
        columns = self._losses(params) | self._exactly(params)
        if level == "core":
            return columns
        refined, how = points.refine(self._loss, flat, columns["gradient_norm"])
        refined = self._loss.unravel(refined)
        again = self._losses(refined) | self._exactly(refined)
        return columns | how | {f"refined_{name}": value for name, value in again.items()}

    def only(self, params: model.Params, names: Collection[str]) -> dict[str, np.ndarray]:
        """Measures what older code did not measure: losses, traces of G, and what T4 and T5 expect.

        Args:
            params: at a minimum.
            names: those of `LATER` that are wanted.

        Returns:
            These columns and the others that come with them; none if the parameters are not finite.
        """
        flat, columns = full_data.flatten(params), {}
        if not np.all(np.isfinite(flat)):
            return columns
        if "train_loss" in names:
            columns |= self._losses(params)
        if "gauss_newton_trace_phi" in names:
            columns |= points.traces(self._loss, flat)
        if "expected_gauss_newton" in names:
            probabilities = self._loss.probabilities(flat)
            columns |= points.expected(self._cfg, params, self._images.train_angles, probabilities)
        return columns

    def again(self, params: model.Params) -> dict[str, float]:
        """Computes train_loss and lambda_max by products and another random start, to compare with stored ones."""
        flat = full_data.flatten(params)
        loss, _ = training.loss_and_accuracy(self._loss.logits(flat), self._images.train_labels)
        at = self._loss.at(flat)
        top, _ = points.spectrum(self._cfg, at.gradient, at.hessian, max_steps=60, top=1, bottom=0, seed=1)
        return {"train_loss": float(loss), "lambda_max": float(top["lambda_max"])}

    @cached_property
    def _evaluate(self):
        return training.evaluation(self._cfg, self._images)

    def _losses(self, params: model.Params) -> dict[str, np.ndarray]:
        """Loss (nats) and accuracy on all training and on all test images."""
        values, _ = self._evaluate({name: np.asarray(value)[None] for name, value in params.items()})
        return {name: value[0] for name, value in values.items()}

    def _exactly(self, params: model.Params) -> dict[str, np.ndarray]:
        """Columns from the dense matrices; every spectrum as a whole if the model is small."""
        cfg, images = self._cfg, self._images
        parts = exact.decompose(cfg, params, images.train_angles, images.train_labels, norms=False)
        point = exact.point(cfg, parts, images.train_labels)
        columns, vectors = points.spectrum(cfg, point.gradient, point.hessian)
        columns |= points.gauss_newton(point) | points.without_bias(cfg, point)
        columns |= points.blocks(cfg, point, columns, vectors) | points.overlaps(point, columns, vectors)
        squares, n_phi = np.square(parts.root).sum(0), cfg.n_patches * cfg.n_params_per_qnn
        columns |= {"gauss_newton_trace_phi": squares[:n_phi].sum(), "gauss_newton_trace_phi_error": 0.0}
        columns |= {"gauss_newton_trace_bias": squares[n_phi:].sum()}
        columns |= points.expected(cfg, params, images.train_angles, parts.probabilities)
        trace = squares.sum() + np.trace(parts.residual_blocks, axis1=1, axis2=2).sum()
        columns |= {"trace": trace, "trace_error": 0.0}
        return columns | (exact.spectra(parts) if len(parts.gradient) <= WHOLE else {})
