"""The model of the paper: patches, one circuit per patch, logits, cross-entropy.

Parameters are a dictionary: `phi` (n, n_params_per_qnn) angles in rad and, with a shared bias, `bias`
(side, side) in rad.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from patchscape import law
from patchscape.circuit import simulator
from patchscape.config import ModelConfig

Array = jax.Array | np.ndarray
Params = Mapping[str, Array]


def init(cfg: ModelConfig, seed: int) -> dict[str, jax.Array]:
    """Draws initial parameters: phi uniform in [0, pi), bias zero.

    The draw is the author's PyTorch one, reproduced bit by bit.

    Args:
        cfg: the model.
        seed: 0 to 2**32 - 1.

    Returns:
        {"phi": (n, n_params_per_qnn) float32} and, with a shared bias, {"bias": (side, side) float32}.
    """
    size = cfg.n_patches * cfg.n_params_per_qnn
    draw = np.random.RandomState(seed).randint(0, 2**32, size, dtype=np.uint64) & 0xFFFFFF
    phi = (draw.astype(np.float32) / 2**24).reshape(cfg.n_patches, -1) * np.float32(np.pi)
    params = {"phi": jnp.asarray(phi)}
    if cfg.shared_bias:
        params["bias"] = jnp.zeros((cfg.image_side, cfg.image_side), jnp.float32)
    return params


def flatten(params: Params) -> jax.Array:
    """Parameters as one flat vector (P,), in the order of `ModelConfig.layout`."""
    return jnp.concatenate([jnp.ravel(params[name]) for name in ("bias", "phi") if name in params])


def unflatten(cfg: ModelConfig, flat: Array) -> dict[str, Array]:
    """Parameters from a flat vector (P,), as `init` has them; undoes `flatten`."""
    at = cfg.layout
    params = {"phi": flat[at.phi].reshape(cfg.n_patches, -1)}
    return params | ({"bias": flat[at.bias].reshape(cfg.image_side, -1)} if cfg.shared_bias else {})


@lru_cache
def patch_pixels(cfg: ModelConfig) -> np.ndarray:
    """Returns the pixel numbers (n, q*q) of every patch, patches and pixels in row-major order."""
    q, side = cfg.n_qubits, cfg.image_side
    window = (np.arange(q)[:, None] * side + np.arange(q)).ravel()
    return np.array([row * side + column + window for row in cfg.offsets for column in cfg.offsets], np.int32)


def cut_patches(cfg: ModelConfig, angles: Array) -> Array:
    """Cuts images into flattened patches.

    Args:
        cfg: the model.
        angles: (N, side, side) in rad.

    Returns:
        (n, N, q*q) in rad.

    Raises:
        ValueError: if the images have another size.
    """
    _check_images(cfg, angles)
    return angles.reshape(len(angles), -1)[:, patch_pixels(cfg)].swapaxes(0, 1)


def shifted_patches(cfg: ModelConfig, params: Params, angles: Array) -> Array:
    """Cuts what the circuits see: images (N, side, side) in rad plus the shared bias, if there is one; (n, N, q*q)."""
    return cut_patches(cfg, angles + params["bias"] if cfg.shared_bias else angles)


def _check_images(cfg: ModelConfig, angles: Array) -> None:
    if angles.ndim != 3 or angles.shape[1:] != (cfg.image_side, cfg.image_side):
        raise ValueError(
            f"angles has shape {tuple(angles.shape)}; the model needs (N, {cfg.image_side}, {cfg.image_side})."
        )


def _check_params(cfg: ModelConfig, params: Params) -> None:
    needed = {"phi": (cfg.n_patches, cfg.n_params_per_qnn)}
    needed |= {"bias": (cfg.image_side, cfg.image_side)} if cfg.shared_bias else {}
    for name, shape in needed.items():
        if params[name].shape != shape:
            raise ValueError(f"{name} has shape {tuple(params[name].shape)}; the model needs {shape}.")


def _check_labels(cfg: ModelConfig, labels: Array, count: int) -> None:
    if labels.shape != (count,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; the model needs integers of shape ({count},)."
        )
    if isinstance(labels, jax.core.Tracer) or count == 0:
        return
    known = np.asarray(labels)  # by NumPy, as JAX would trace it
    if known.min() < 0 or known.max() >= cfg.n_classes:
        raise ValueError(
            f"labels go from {known.min()} to {known.max()}; the model needs 0 to {cfg.n_classes - 1}, its classes."
        )


def over_first_axis(f: Callable, *arguments, large: bool):
    """Applies f over the first axis of all arguments: side by side, or in turn on a CPU if one fills its caches."""
    if large and jax.default_backend() == "cpu":
        return jax.lax.map(lambda x: f(*x), arguments)
    return jax.vmap(f)(*arguments)


def _every_circuit(cfg: ModelConfig, f: Callable, *arguments):
    return over_first_axis(partial(f, cfg), *arguments, large=cfg.n_qubits >= 8)  # ours: below, side by side is faster


def prepare(cfg: ModelConfig, params: Params) -> dict[str, jax.Array]:
    """Builds what all images share: the circuits' unitaries (see `simulator.prepare`) and the bias.

    Args:
        cfg: the model.
        params: as from `init`.

    Returns:
        {"circuits": Prepared with a leading axis n} and, with a shared bias, {"bias"}.

    Raises:
        ValueError: if the parameters belong to a model of another size.
    """
    _check_params(cfg, params)
    shared = {"circuits": _every_circuit(cfg, simulator.prepare, params["phi"])}
    return shared | {key: params[key] for key in ("bias",) if cfg.shared_bias}


def patch_expectations(cfg: ModelConfig, shared: Mapping[str, Any], angles: Array) -> jax.Array:
    """Expectation values of every circuit.

    Args:
        cfg: the model.
        shared: from `prepare`.
        angles: (N, side, side) in rad, without the bias.

    Returns:
        (n, N, C).
    """
    _check_images(cfg, angles)  # before the bias is added: it would broadcast
    return _every_circuit(cfg, simulator.expectations, shared["circuits"], shifted_patches(cfg, shared, angles))


def logits_from(cfg: ModelConfig, shared: Mapping[str, Any], angles: Array) -> jax.Array:
    """Logits (N, C) from prepared circuits: c times the mean (or sum) of the expectation values over patches."""
    return cfg.factor * jnp.sum(patch_expectations(cfg, shared, angles), axis=0)


def logits(cfg: ModelConfig, params: Params, angles: Array) -> jax.Array:
    """Logits of images.

    Args:
        cfg: the model.
        params: as from `init`.
        angles: (N, side, side) in rad.

    Returns:
        (N, C), dimensionless.

    Raises:
        ValueError: if an array has the wrong shape.
    """
    return logits_from(cfg, prepare(cfg, params), angles)


def cross_entropy(z: Array, labels: Array, weights: Array | None = None) -> jax.Array:
    """Cross-entropy in nats of logits z (N, C) and integer labels (N,): the mean, or a sum with weights (N,)."""
    each = optax.softmax_cross_entropy_with_integer_labels(z, labels)
    return each.mean() if weights is None else jnp.sum(weights * each)


def loss(cfg: ModelConfig, params: Params, angles: Array, labels: Array) -> jax.Array:
    """Mean cross-entropy of images.

    Args:
        cfg: the model.
        params: as from `init`.
        angles: (N, side, side) in rad.
        labels: (N,) integers from 0 to n_classes - 1; not checked where `jit` traces them.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if an array has the wrong shape, or labels are not such integers.
    """
    _check_labels(cfg, labels, len(angles))
    return cross_entropy(logits(cfg, params, angles), labels)


def chunk_loss(cfg: ModelConfig, shared: Mapping[str, Any], chunk: tuple[Array, Array, Array]) -> jax.Array:
    """Weighted cross-entropy of one chunk, in nats; summed over the chunks of `data.chunks` it is the mean loss.

    Args:
        cfg: the model.
        shared: from `prepare`.
        chunk: angles (N, side, side) in rad, labels (N,) and weights (N,).

    Returns:
        The scalar.
    """
    angles, labels, weights = chunk
    return cross_entropy(logits_from(cfg, shared, angles), labels, weights)


def residual_chunk_loss(cfg: ModelConfig, shared: Mapping[str, Any], chunk: tuple[Array, Array, Array]) -> jax.Array:
    """Logits weighted by the residuals softmax(z) - e_y, which are not differentiated: its Hessian is R = H - G.

    Args:
        cfg: the model.
        shared: from `prepare`.
        chunk: as for `chunk_loss`.

    Returns:
        A scalar.
    """
    angles, labels, weights = chunk
    z = logits_from(cfg, shared, angles)
    residuals = jax.lax.stop_gradient(jax.nn.softmax(z) - jax.nn.one_hot(labels, cfg.n_classes, dtype=z.dtype))
    return jnp.sum(weights[:, None] * residuals * z)


def own_logit(cfg: ModelConfig, shared: Mapping[str, Any], chunk: tuple[Array, Array, Array]) -> jax.Array:
    """Weighted sum over a chunk of each image's logit of its own class, a scalar; arguments as for `chunk_loss`."""
    angles, labels, weights = chunk
    return jnp.sum(weights * jnp.take_along_axis(logits_from(cfg, shared, angles), labels[:, None], 1)[:, 0])


def root_logits(cfg: ModelConfig, shared: Mapping[str, Any], chunk: tuple[Array, Array, Array, Array]) -> jax.Array:
    """Logits weighted by S^T s, S^T S = A the Hessian of each image's loss in its logits: its gradient is X^T s.

    Args:
        cfg: the model.
        shared: from `prepare`.
        chunk: angles, labels and weights of images, and s (N, C).

    Returns:
        A scalar. X is the root of the Gauss-Newton matrix G = X^T X, a row for every image and class; S counts as
        constant.
    """
    angles, _, weights, s = chunk
    z = logits_from(cfg, shared, angles)
    pi = jax.lax.stop_gradient(jax.nn.softmax(z))
    return jnp.sum(jnp.sqrt(weights)[:, None] * law.softmax_root_transpose(pi, s) * z)


def logit_hessian(z: Array, tangent: Array, weights: Array) -> jax.Array:
    """Product of A = diag(softmax) - softmax softmax^T, the Hessian of the loss in the logits, with a tangent.

    Args:
        z: (N, C) logits.
        tangent: (..., N, C).
        weights: (N,) weight of each image in the loss.

    Returns:
        (..., N, C).
    """
    return weights[:, None] * law.softmax_hessian(jax.nn.softmax(z), tangent)


@partial(jax.jit, static_argnums=0)
def evaluate(cfg: ModelConfig, params: Params, chunks: tuple[Array, Array, Array]) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy and accuracy over all chunks of a data set.

    Args:
        cfg: the model.
        params: as from `init`.
        chunks: from `data.chunks`.

    Returns:
        Loss in nats and accuracy in [0, 1], scalars.
    """
    shared = prepare(cfg, params)

    def one(chunk):
        angles, labels, weights = chunk
        z = logits_from(cfg, shared, angles)
        return cross_entropy(z, labels, weights), jnp.sum(weights * (jnp.argmax(z, -1) == labels))

    losses, hits = jax.lax.map(one, chunks)
    return losses.sum(), hits.sum()
