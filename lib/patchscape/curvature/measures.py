"""What is measured at one point of parameter space: spectra, blocks, traces, overlaps, and the refined minimum."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optax

from patchscape import law
from patchscape.config import ModelConfig
from patchscape.curvature import estimates
from patchscape.curvature.full_data import FullDataLoss
from patchscape.curvature.point import Matvec, Point
from patchscape.learning import model
from patchscape.numerics import spectra
from patchscape.store.columns import LEADING, TOP

TOLERANCE = 1e-3  # author's code: PyHessian's tolerance; here on the residual
MAX_STEPS = 40  # ours: most products for one largest eigenvalue
PROBES = 16  # ours: random vectors for one trace
TOLERANCE_BLOCKS = 3e-2  # ours: residual of the largest eigenvalue of each circuit's block, relative
PARTS = ("lambda_max_phi", "gauss_newton_phi", "gauss_newton_bias")  # H and G on phi, G on the bias
REFINE_STEPS = 60  # ours: most steps of `refine`
REFINE_RATE = 4e-3  # ours: its first learning rate
REFINE_FALL = 100  # ours: `refine` ends when the gradient norm has fallen so many times


def spectrum(
    cfg: ModelConfig,
    gradient: np.ndarray,
    hessian: Matvec,
    *,
    max_steps: int = 60,
    top: int = LEADING,
    bottom: int = 1,
    seed: int = 0,
) -> tuple[dict[str, Any], np.ndarray]:
    """Both ends of the Hessian's spectrum, and where the leading eigenvectors live.

    Args:
        cfg: the model.
        gradient: (P,) in nats per rad, at the point.
        hessian: v -> H v there, both as in `Point`.
        max_steps: most Hessian products; one more gives the residual of the largest eigenvalue.
        top: stop when so many largest eigenvalues have converged ...
        bottom: ... and so many smallest ones.
        seed: of the random start.

    Returns:
        Columns, as `data/results/README.md` explains them, and up to `TOP` leading eigenvectors (rows).
    """
    at = cfg.layout
    found = spectra.lanczos(
        hessian, len(gradient), seed=seed, max_steps=max_steps, top=top, bottom=bottom, tol=TOLERANCE
    )
    values, residuals, vectors = found.values[0], found.residuals[0], found.vectors[0, :TOP]
    share = np.square(vectors)
    per_patch = share[:, at.phi].reshape(len(vectors), cfg.n_patches, -1).sum(-1)
    norm = np.linalg.norm(gradient)
    along = gradient / norm if norm > 0 else gradient
    columns = {
        "eigenvalues": filled(values[:TOP], TOP),
        "eigenvalue_residuals": filled(residuals[:TOP], TOP),
        "lambda_max": values[0],
        "lambda_max_residual": np.linalg.norm(hessian(vectors[0]) - values[0] * vectors[0]),  # rounding shows too
        "lambda_min": values[-1],
        "lambda_min_residual": residuals[-1],
        "gradient_norm": norm,
        "gradient_overlap": filled(np.square(vectors @ along), TOP),
        "vector_shares": filled(np.column_stack([per_patch, share[:, at.bias].sum(1)]), TOP),
        "ritz_values": filled(values, max_steps),
        "ritz_weights": filled(found.weights[0], max_steps),
        "n_products": found.n_matvecs + 1,
    }
    return columns, vectors


def filled(values: np.ndarray, size: int) -> np.ndarray:
    """Makes the first axis `size` long, with NaN where nothing was measured."""
    return np.concatenate([values, np.full((size - len(values), *values.shape[1:]), np.nan)])


def gauss_newton(point: Point, *, seed: int = 0) -> dict[str, Any]:
    """Largest eigenvalue of the Gauss-Newton matrix on all parameters, with its residual.

    Args:
        point: from `FullDataLoss.at`.
        seed: of the random start.

    Returns:
        Columns gauss_newton and gauss_newton_residual, in nats per rad^2.
    """
    return _largest("gauss_newton", point.gauss_newton, len(point.gradient), seed)


def without_bias(cfg: ModelConfig, point: Point, *, seed: int = 0, names: Sequence[str] = PARTS) -> dict[str, Any]:
    """Largest eigenvalues on phi alone, the shared bias held fixed, and on the bias alone.

    Args:
        cfg: the model.
        point: from `FullDataLoss.at`.
        seed: of the random start.
        names: what to measure, of `PARTS`; nothing is on the bias without one.

    Returns:
        Columns of those names with their residuals, in nats per rad^2.
    """
    columns: dict[str, Any] = {}
    for name in names:
        part = cfg.layout.bias if name == "gauss_newton_bias" else cfg.layout.phi
        if part.stop > part.start:
            matvec = point.hessian if name == "lambda_max_phi" else point.gauss_newton
            columns |= _largest(name, _part(matvec, cfg.n_params, part), part.stop - part.start, seed)
    return columns


def traces(loss: FullDataLoss, params: np.ndarray, *, probes: int = PROBES, seed: int = 0) -> dict[str, Any]:
    """Trace of the Gauss-Newton matrix, from random signs for every image and class.

    Args:
        loss: the loss.
        params: (P,) in rad.
        probes: number of random vectors.
        seed: of the random vectors.

    Returns:
        Columns gauss_newton_trace_phi and gauss_newton_trace_bias (nats per rad^2), and the standard error of the
        former, gauss_newton_trace_phi_error.
    """
    cfg, numbers = loss.cfg, np.random.default_rng(seed)
    squares = []
    for _ in range(probes):
        signs = numbers.choice([-1.0, 1.0], (loss.n_images, cfg.n_classes))
        squares.append(np.square(loss.root_transpose(params, signs)))
    of_phi, of_bias = (np.stack(squares)[:, part].sum(1) for part in (cfg.layout.phi, cfg.layout.bias))
    return {
        "gauss_newton_trace_phi": of_phi.mean(),
        "gauss_newton_trace_phi_error": of_phi.std(ddof=1) / np.sqrt(probes),
        "gauss_newton_trace_bias": of_bias.mean(),
    }


def expected(cfg: ModelConfig, params: model.Params, angles: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What the estimates E1 and E2 expect at a point.

    Args:
        cfg: the model.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's.

    Returns:
        Columns impurity, expected_phi and expected_all (`TOP`,) in nats per rad^2, and expected_kept.
    """
    count = min(TOP, probabilities.size - 1)
    found = estimates.spectrum(cfg, params, angles, probabilities, top=count)
    return {
        "impurity": law.impurity(probabilities).mean(),
        "expected_phi": filled(found.phi, TOP),
        "expected_all": filled(found.every, TOP),
        "expected_kept": found.kept,
    }


def _part(matvec: Matvec, size: int, kept: slice) -> Matvec:
    """The product with the diagonal block of a matrix (size, size) on some of its rows."""

    def product(v: np.ndarray) -> np.ndarray:
        whole = np.zeros(size)
        whole[kept] = v
        return matvec(whole)[kept]

    return product


def _largest(name: str, matvec: Matvec, size: int, seed: int) -> dict[str, float]:
    found = spectra.lanczos(matvec, size, seed=seed, max_steps=MAX_STEPS, tol=TOLERANCE)
    return {name: found.values[0, 0], f"{name}_residual": found.residuals[0, 0]}


def blocks(cfg: ModelConfig, point: Point, leading: dict[str, Any], vectors: np.ndarray, *, seed: int = 0) -> dict:
    """The parts of theorem T1, circuit by circuit, and how strongly circuits are coupled.

    The spectral norms of the blocks H_pp' come from the leading eigenvectors alone: H differs from their part by a
    matrix whose norm is the largest remaining eigenvalue in size, which bounds the error of every norm.

    Args:
        cfg: the model.
        point: from `FullDataLoss.at`.
        leading: columns of `spectrum` at that point.
        vectors: (k, P) its eigenvectors, rows.
        seed: of the random starts.

    Returns:
        Columns gauss_newton_blocks and residual_blocks (n,) with their residuals, block_norms (n, n) and
        block_norms_error.
    """
    n, m, phi = cfg.n_patches, cfg.n_params_per_qnn, cfg.layout.phi
    columns: dict[str, Any] = {}
    for name, matvec in (
        ("gauss_newton_blocks", point.gauss_newton_per_patch),
        ("residual_blocks", point.residual),
    ):
        on_phi = _part(matvec, cfg.n_params, phi)
        found = spectra.lanczos(on_phi, m, n_blocks=n, seed=seed, max_steps=MAX_STEPS, tol=TOLERANCE_BLOCKS)
        columns |= {name: found.values[:, 0], f"{name}_residual": found.residuals[:, 0]}
    parts = vectors[:, phi].reshape(len(vectors), n, m)
    values = leading["eigenvalues"][: len(vectors)]
    # a block is sum_k values_k u_k w_k^T: its norm is that of a small matrix between orthonormal bases
    factors = [np.linalg.qr(parts[:, p].T)[1] for p in range(n)]
    norms = [[np.linalg.norm(a * values @ b.T, 2) for b in factors] for a in factors]
    rest = leading["ritz_values"][len(vectors) :]
    return columns | {"block_norms": np.array(norms), "block_norms_error": np.nanmax(np.abs(rest), initial=0.0)}


def overlaps(point: Point, leading: dict[str, Any], vectors: np.ndarray) -> dict[str, Any]:
    """What the leading eigenvectors are made of.

    Args:
        point: from `FullDataLoss.at`.
        leading: columns of `spectrum` at that point.
        vectors: (k, P) its eigenvectors, rows.

    Returns:
        Columns class_mean_overlap, squared length of each eigenvector's projection onto the span of the class-mean
        gradients {cite}`papyan2019measurements`, and gauss_newton_share, v G v / v H v of the first ones.
    """
    in_means, share = made_of(point, leading["eigenvalues"][: len(vectors)], vectors, count=LEADING)
    return {"class_mean_overlap": filled(in_means, TOP), "gauss_newton_share": filled(share, LEADING)}


def made_of(
    point: Point, values: np.ndarray, vectors: np.ndarray, *, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What eigenvectors of the Hessian are made of.

    Args:
        point: where they belong.
        values: (k,) eigenvalues, nats per rad^2.
        vectors: (k, P) eigenvectors.
        count: of the vectors whose share is computed, at the cost of a product each; None is all.

    Returns:
        (k,) squared length of each vector's projection onto the span of the class-mean gradients, and (count,)
        v G v / v H v.
    """
    basis, _ = np.linalg.qr(point.class_means().T)
    first = vectors[:count]
    share = np.array([v @ point.gauss_newton(v) for v in first]) / values[: len(first)]
    return np.square(vectors @ basis).sum(1), share


def refine(loss: FullDataLoss, params: np.ndarray, gradient_norm: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Steps on towards the minimum that a checkpoint is near: Adam on all images, learning rate falling to zero.

    Args:
        loss: the loss; without weight decay, as the Hessian is.
        params: (P,) the checkpoint.
        gradient_norm: there, in nats per rad; the steps end when it has fallen `REFINE_FALL` times, or after
            `REFINE_STEPS`.

    Returns:
        Parameters with the least gradient norm met, and columns refine_steps and refine_fall (how many times it fell).
    """
    optimise = optax.adam(optax.cosine_decay_schedule(REFINE_RATE, REFINE_STEPS))
    best, least, state = params, gradient_norm, optimise.init(params)
    for step in range(REFINE_STEPS):  # noqa: B007
        gradient = loss.gradient(params)
        norm = float(np.linalg.norm(gradient))
        if norm < least:
            best, least = params, norm
        if not np.isfinite(norm) or gradient_norm >= REFINE_FALL * norm:
            break
        updates, state = optimise.update(gradient, state)
        params = np.asarray(optax.apply_updates(params, updates))
    return best, {"refine_steps": step + 1, "refine_fall": gradient_norm / max(least, np.finfo(float).tiny)}
