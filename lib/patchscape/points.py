"""What is measured at one point of parameter space, over a whole data set in the memory of one chunk of images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy.special import softmax

from patchscape import curvature, data, estimates, model, spectra
from patchscape.config import ModelConfig

CHUNK = 500  # ours: images per chunk of a Hessian product
TOLERANCE = 1e-3  # author's code: PyHessian's tolerance; here on the residual
TOP = 20  # ours: eigenvalues kept of each Hessian
LEADING = 12  # ours: eigenvalues that must converge, more than C = 10; the others come with their residuals
MAX_STEPS = 40  # ours: most products for one largest eigenvalue
PROBES = 16  # ours: random vectors for one trace
TOLERANCE_BLOCKS = 3e-2  # ours: residual of the largest eigenvalue of each circuit's block, relative
REFINE_STEPS = 60  # ours: most steps of `refine`
REFINE_RATE = 4e-3  # ours: its first learning rate
REFINE_FALL = 100  # ours: `refine` ends when the gradient norm has fallen so many times

Matvec = Callable[[np.ndarray], np.ndarray]


class Point(NamedTuple):
    """The loss at a point; vectors are flat float64 (P,), in the order of `ravel_pytree`: bias first, then phi.

    Attributes:
        gradient: (P,) in nats per rad.
        hessian: v -> H v.
        gauss_newton: v -> G v.
        residual: v -> R v with R = H - G.
        gauss_newton_per_patch: v -> the diagonal blocks G_pp times v, all circuits at once; nothing on the bias.
        class_means: () -> (C, P), mean gradient of the own-class logit over the images of each class.
    """

    gradient: np.ndarray
    hessian: Matvec
    gauss_newton: Matvec
    residual: Matvec
    gauss_newton_per_patch: Matvec
    class_means: Callable[[], np.ndarray]


class FullDataLoss:
    """The mean loss over a whole data set: gradient and curvature products in the memory of one chunk of images.

    Everything is compiled once, whatever the parameters.

    Attributes:
        cfg: the model.
        size: P, number of parameters.
        n_images: N.
        unravel: flat parameters (P,) -> {"phi", "bias"}.

    Args:
        cfg: the model.
        angles: (N, side, side) in rad.
        labels: (N,).
        chunk: images at once; sets the memory, not the result.
        devices: where to put the images, an equal share of every chunk on each; None is JAX's default device. With
            several processes (`jax.distributed.initialize`), pass `jax.devices()` on all of them.

    Raises:
        ValueError: if the devices cannot share a chunk equally.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        angles: np.ndarray,
        labels: np.ndarray,
        chunk: int = CHUNK,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        chunks = data.chunks(angles, labels, chunk)
        if devices is None:
            chunks = jax.tree.map(jnp.asarray, chunks)
        elif len(chunks[1][0]) % len(devices):
            raise ValueError(
                f"chunk={len(chunks[1][0])} images cannot be shared by {len(devices)} devices: choose a multiple."
            )
        else:
            images = jax.sharding.Mesh(np.asarray(devices), ("images",))
            split = jax.sharding.NamedSharding(images, jax.sharding.PartitionSpec(None, "images"))
            chunks = jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, split, a.__getitem__), chunks)
        self._chunks = chunks
        self._dtype = jnp.result_type(float)
        start, self.unravel = ravel_pytree(jax.tree.map(lambda a: a.astype(self._dtype), model.init(cfg, 0)))
        self.size, self.n_images = start.size, len(labels)
        self.cfg = cfg
        self._programs = _programs(cfg, self.unravel)

    def at(self, params: np.ndarray) -> Point:
        """Takes the loss at a point; what does not depend on a vector is computed here, once.

        Args:
            params: (P,) in rad.

        Returns:
            Gradient and products. A product is compiled when it is first used.
        """
        programs, chunks = self._programs, self._chunks
        flat = jnp.asarray(params, self._dtype)
        point = programs["at"](flat, chunks)

        def product(name: str) -> Matvec:
            run = programs[name]
            return lambda v: np.asarray(run(point, jnp.asarray(v, self._dtype), chunks), np.float64)

        def class_means() -> np.ndarray:
            angles, labels, weights = chunks
            means = []
            for c in range(self.cfg.n_classes):
                own = jnp.where(labels == c, weights, 0)
                of_class = (angles, labels, own / own.sum())
                means.append(np.asarray(programs["own_logit"](flat, of_class), np.float64))
            return np.stack(means)

        return Point(
            np.asarray(programs["gradient"](point), np.float64),
            *map(product, ("hessian", "gauss_newton", "residual", "gauss_newton_per_patch")),
            class_means,
        )

    def gradient(self, params: np.ndarray) -> np.ndarray:
        """Gradient (P,) in nats per rad, float64, at parameters (P,)."""
        return np.asarray(
            self._programs["gradient"](self._programs["at"](jnp.asarray(params, self._dtype), self._chunks)), np.float64
        )

    def logits(self, params: np.ndarray) -> np.ndarray:
        """Logits (N, C) of every image, float64, at parameters (P,)."""
        z = self._programs["logits"](jnp.asarray(params, self._dtype), self._chunks)
        return np.asarray(z, np.float64).reshape(-1, self.cfg.n_classes)[: self.n_images]

    def probabilities(self, params: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) of the classes for every image, float64, at parameters (P,)."""
        return softmax(self.logits(params), axis=1)

    def root_transpose(self, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """X^T s for the root X of the Gauss-Newton matrix G = X^T X, with rows by image and class.

        Args:
            params: (P,) in rad.
            weights: s (N, C), one number for each image and class.

        Returns:
            (P,), float64. The mean of its squared length over independent random signs s is the trace of G.
        """
        per_chunk = self._chunks[1].shape
        padded = np.zeros((per_chunk[0] * per_chunk[1], weights.shape[1]))
        padded[: len(weights)] = weights
        s = jnp.asarray(padded.reshape(*per_chunk, -1), self._dtype)
        return np.asarray(self._programs["root"](jnp.asarray(params, self._dtype), (*self._chunks, s)), np.float64)


def _programs(cfg: ModelConfig, unravel: Callable) -> dict[str, Callable]:
    """Compiled functions of a flat point, a flat vector and chunks of images."""
    prepare = lambda p: model.prepare(cfg, p)  # noqa: E731
    at, hessian, gradient = curvature.finite_sum_hessian(prepare, lambda s, c: model.chunk_loss(cfg, s, c))
    _, residual, _ = curvature.finite_sum_hessian(prepare, lambda s, c: model.residual_chunk_loss(cfg, s, c))
    own, _, own_gradient = curvature.finite_sum_hessian(prepare, lambda s, c: model.own_logit(cfg, s, c))
    gauss_newton = curvature.finite_sum_gauss_newton(
        prepare,
        lambda shared, chunk: model.logits_from(cfg, shared, chunk[0]),
        lambda z, dz, chunk: model.logit_hessian(z, dz, chunk[2]),
    )
    per_patch = curvature.finite_sum_gauss_newton(
        prepare,
        lambda shared, chunk: model.patch_expectations(cfg, shared, chunk[0]),
        lambda q, dq, chunk: cfg.factor**2 * model.logit_hessian(cfg.factor * q.sum(0), dq, chunk[2]),
    )

    root, _, root_gradient = curvature.finite_sum_hessian(prepare, lambda s, c: model.root_logits(cfg, s, c))

    def logits(p, chunks):
        shared = prepare(unravel(p))
        return jax.lax.map(lambda chunk: model.logits_from(cfg, shared, chunk[0]), chunks)

    def on_phi(v: dict) -> dict:
        return v | {"bias": jnp.zeros_like(v["bias"])} if cfg.shared_bias else v

    def flat(product: Callable) -> Callable:
        return jax.jit(lambda point, v, chunks: ravel_pytree(product(point, unravel(v), chunks))[0])

    return {
        "at": jax.jit(lambda p, chunks: at(unravel(p), chunks)),
        "gradient": jax.jit(lambda point: ravel_pytree(gradient(point))[0]),
        "own_logit": jax.jit(lambda p, chunks: ravel_pytree(own_gradient(own(unravel(p), chunks)))[0]),
        "root": jax.jit(lambda p, chunks: ravel_pytree(root_gradient(root(unravel(p), chunks)))[0]),
        "logits": jax.jit(logits),
        "hessian": flat(hessian),
        "residual": flat(residual),
        "gauss_newton": flat(gauss_newton),
        "gauss_newton_per_patch": flat(lambda point, v, chunks: on_phi(per_patch(point, on_phi(v), chunks))),
    }


def flatten(params: model.Params) -> np.ndarray:
    """Parameters as one flat vector (P,), in the order of `ravel_pytree`."""
    return np.asarray(ravel_pytree({name: jnp.asarray(value) for name, value in params.items()})[0])


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
        max_steps: most Hessian products.
        top: stop when so many largest eigenvalues have converged ...
        bottom: ... and so many smallest ones.
        seed: of the random start.

    Returns:
        Columns, as `data/results/README.md` explains them, and up to `TOP` leading eigenvectors (rows).
    """
    size, n_bias = len(gradient), len(gradient) - cfg.n_patches * cfg.n_params_per_qnn
    found = spectra.lanczos(hessian, size, seed=seed, max_steps=max_steps, top=top, bottom=bottom, tol=TOLERANCE)
    values, residuals, vectors = found.values[0], found.residuals[0], found.vectors[0, :TOP]
    share = np.square(vectors)
    per_patch = share[:, n_bias:].reshape(len(vectors), cfg.n_patches, -1).sum(-1)
    norm = np.linalg.norm(gradient)
    along = gradient / norm if norm > 0 else gradient
    columns = {
        "eigenvalues": _filled(values[:TOP], TOP),
        "eigenvalue_residuals": _filled(residuals[:TOP], TOP),
        "lambda_max": values[0],
        "lambda_max_residual": residuals[0],
        "lambda_min": values[-1],
        "lambda_min_residual": residuals[-1],
        "gradient_norm": norm,
        "gradient_overlap": _filled(np.square(vectors @ along), TOP),
        "vector_shares": _filled(np.column_stack([per_patch, share[:, :n_bias].sum(1)]), TOP),
        "ritz_values": _filled(values, max_steps),
        "ritz_weights": _filled(found.weights[0], max_steps),
        "n_products": found.n_matvecs,
    }
    return columns, vectors


def _filled(values: np.ndarray, size: int) -> np.ndarray:
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


def without_bias(cfg: ModelConfig, point: Point, *, seed: int = 0) -> dict[str, Any]:
    """Largest eigenvalues on phi alone, the shared bias held fixed, and on the bias alone.

    Args:
        cfg: the model.
        point: from `FullDataLoss.at`.
        seed: of the random start.

    Returns:
        Columns lambda_max_phi, gauss_newton_phi and, with a shared bias, gauss_newton_bias, with their residuals.
    """
    size, n_bias = len(point.gradient), len(point.gradient) - cfg.n_patches * cfg.n_params_per_qnn

    phi, bias = slice(n_bias, size), slice(0, n_bias)
    columns = _largest("lambda_max_phi", _part(point.hessian, size, phi), size - n_bias, seed)
    columns |= _largest("gauss_newton_phi", _part(point.gauss_newton, size, phi), size - n_bias, seed)
    if n_bias:
        columns |= _largest("gauss_newton_bias", _part(point.gauss_newton, size, bias), n_bias, seed)
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
    n_bias = loss.size - cfg.n_patches * cfg.n_params_per_qnn
    squares = []
    for _ in range(probes):
        signs = numbers.choice([-1.0, 1.0], (loss.n_images, cfg.n_classes))
        squares.append(np.square(loss.root_transpose(params, signs)))
    of_phi, of_bias = (np.sum(part, axis=1) for part in np.split(np.stack(squares), [n_bias], axis=1)[::-1])
    return {
        "gauss_newton_trace_phi": of_phi.mean(),
        "gauss_newton_trace_phi_error": of_phi.std(ddof=1) / np.sqrt(probes),
        "gauss_newton_trace_bias": of_bias.mean(),
    }


def expected(cfg: ModelConfig, params: model.Params, angles: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What the estimates T4 and T5 expect at a point.

    Args:
        cfg: the model.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's.

    Returns:
        Columns impurity, expected_gauss_newton (`TOP`,) in nats per rad^2 and expected_kept.
    """
    count = min(TOP, probabilities.size - 1)
    found = estimates.spectrum(cfg, params, angles, probabilities, top=count)
    return {
        "impurity": estimates.impurity(probabilities).mean(),
        "expected_gauss_newton": _filled(found.eigenvalues, TOP),
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

    The spectral norms of the blocks H_pq come from the leading eigenvectors alone: H differs from their part by a
    matrix whose norm is the largest remaining eigenvalue in size, which bounds the error of every norm.

    Args:
        cfg: the model.
        point: from `FullDataLoss.at`.
        leading: columns of `spectrum` at that point.
        vectors: its eigenvectors.
        seed: of the random starts.

    Returns:
        Columns gauss_newton_blocks and residual_blocks (n,) with their residuals, block_norms (n, n) and
        block_norms_error.
    """
    n, m = cfg.n_patches, cfg.n_params_per_qnn
    n_bias = len(point.gradient) - n * m

    columns = {}
    for name, matvec in (
        ("gauss_newton_blocks", point.gauss_newton_per_patch),
        ("residual_blocks", point.residual),
    ):
        on_phi = _part(matvec, len(point.gradient), slice(n_bias, None))
        found = spectra.lanczos(on_phi, m, n_blocks=n, seed=seed, max_steps=MAX_STEPS, tol=TOLERANCE_BLOCKS)
        columns |= {name: found.values[:, 0], f"{name}_residual": found.residuals[:, 0]}
    parts = vectors[:, n_bias:].reshape(len(vectors), n, m)
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
        vectors: its eigenvectors.

    Returns:
        Columns class_mean_overlap, squared length of each eigenvector's projection onto the span of the class-mean
        gradients {cite}`papyan2019measurements`, and gauss_newton_share, v G v / v H v of the first ones.
    """
    basis, _ = np.linalg.qr(point.class_means().T)
    first = vectors[:LEADING]
    share = [v @ point.gauss_newton(v) for v in first] / leading["eigenvalues"][: len(first)]
    return {
        "class_mean_overlap": _filled(np.square(vectors @ basis).sum(1), TOP),
        "gauss_newton_share": _filled(share, LEADING),
    }


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
