"""The loss over a whole data set and its derivatives, in the memory of one chunk of images."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from patchscape.config import ModelConfig
from patchscape.curvature.point import Matvec, Point
from patchscape.learning import data, model
from patchscape.numerics import products

CHUNK = 500  # ours: images per chunk of a Hessian product


class FullDataLoss:
    """The mean loss over a whole data set: gradient and curvature products in the memory of one chunk of images.

    Everything is compiled once, whatever the parameters.

    Attributes:
        cfg: the model.
        size: P, number of parameters.
        n_images: number of images N.

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
        self.size, self.n_images = cfg.n_params, len(labels)
        self.cfg, self._classes = cfg, np.unique(labels)
        self._programs = _programs(cfg)

    def at(self, params: model.Array) -> Point:
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
            for c in self._classes:
                own = jnp.where(labels == c, weights, 0)
                of_class = (angles, labels, own / own.sum())
                means.append(np.asarray(programs["own_logit"](flat, of_class), np.float64))
            return np.stack(means)

        return Point(
            gradient=np.asarray(programs["gradient"](point), np.float64),
            hessian=product("hessian"),
            gauss_newton=product("gauss_newton"),
            residual=product("residual"),
            gauss_newton_per_patch=product("gauss_newton_per_patch"),
            class_means=class_means,
        )

    def gradient(self, params: model.Array) -> np.ndarray:
        """Gradient (P,) in nats per rad, float64, at parameters (P,)."""
        return np.asarray(
            self._programs["gradient"](self._programs["at"](jnp.asarray(params, self._dtype), self._chunks)), np.float64
        )

    def logits(self, params: model.Array) -> np.ndarray:
        """Logits (N, C) of every image, float64, at parameters (P,)."""
        z = self._programs["logits"](jnp.asarray(params, self._dtype), self._chunks)
        return np.asarray(z, np.float64).reshape(-1, self.cfg.n_classes)[: self.n_images]

    def probabilities(self, params: model.Array) -> np.ndarray:
        """Probabilities (N, C) of the classes for every image, float64, at parameters (P,)."""
        return softmax(self.logits(params), axis=1)

    def root_transpose(self, params: model.Array, weights: np.ndarray) -> np.ndarray:
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


def _programs(cfg: ModelConfig) -> dict[str, Callable]:
    """Compiled functions of a flat point, a flat vector and chunks of images."""
    prepare, unflatten, flatten = partial(model.prepare, cfg), partial(model.unflatten, cfg), model.flatten
    at, hessian, gradient = products.finite_sum_hessian(prepare, lambda s, c: model.chunk_loss(cfg, s, c))
    _, residual, _ = products.finite_sum_hessian(prepare, lambda s, c: model.residual_chunk_loss(cfg, s, c))
    own, _, own_gradient = products.finite_sum_hessian(prepare, lambda s, c: model.own_logit(cfg, s, c))
    gauss_newton = products.finite_sum_gauss_newton(
        prepare,
        lambda shared, chunk: model.logits_from(cfg, shared, chunk[0]),
        lambda z, dz, chunk: model.logit_hessian(z, dz, chunk[2]),
    )
    per_patch = products.finite_sum_gauss_newton(
        prepare,
        lambda shared, chunk: model.patch_expectations(cfg, shared, chunk[0]),
        lambda q, dq, chunk: cfg.factor**2 * model.logit_hessian(cfg.factor * q.sum(0), dq, chunk[2]),
    )

    root, _, root_gradient = products.finite_sum_hessian(prepare, lambda s, c: model.root_logits(cfg, s, c))

    def logits(p, chunks):
        shared = prepare(unflatten(p))
        return jax.lax.map(lambda chunk: model.logits_from(cfg, shared, chunk[0]), chunks)

    def on_phi(v: dict) -> dict:
        return v | {"bias": jnp.zeros_like(v["bias"])} if cfg.shared_bias else v

    def flat(product: Callable) -> Callable:
        return jax.jit(lambda point, v, chunks: flatten(product(point, unflatten(v), chunks)))

    return {
        "at": jax.jit(lambda p, chunks: at(unflatten(p), chunks)),
        "gradient": jax.jit(lambda point: flatten(gradient(point))),
        "own_logit": jax.jit(lambda p, chunks: flatten(own_gradient(own(unflatten(p), chunks)))),
        "root": jax.jit(lambda p, chunks: flatten(root_gradient(root(unflatten(p), chunks)))),
        "logits": jax.jit(logits),
        "hessian": flat(hessian),
        "residual": flat(residual),
        "gauss_newton": flat(gauss_newton),
        "gauss_newton_per_patch": flat(lambda point, v, chunks: on_phi(per_patch(point, on_phi(v), chunks))),
    }


def derivatives(cfg: ModelConfig, images: data.ImageData) -> Callable[[model.Params], tuple[np.ndarray, Matvec]]:
    """Gradient and Hessian only, compiled as one program if all training images fit into one chunk.

    For a few small models, as in the chapters, compiling takes longer than running: this takes half of the time that
    `FullDataLoss` needs for the two.

    Args:
        cfg: the model.
        images: the data set.

    Returns:
        Parameters -> gradient (P,) in nats per rad and v -> H v, as in `Point`.
    """
    if len(images.train_labels) > CHUNK:
        loss = FullDataLoss(cfg, images.train_angles, images.train_labels, CHUNK)
        return lambda params: loss.at(model.flatten(params))[:2]
    angles, labels = jnp.asarray(images.train_angles), jnp.asarray(images.train_labels)
    gradient = jax.grad(lambda flat: model.loss(cfg, model.unflatten(cfg, flat), angles, labels))
    both = jax.jit(lambda flat, v: jax.jvp(gradient, (flat,), (v,)))  # to compile two would take twice the time

    def at(params: model.Params) -> tuple[np.ndarray, Matvec]:
        flat = model.flatten(params)
        product = lambda v: np.asarray(both(flat, jnp.asarray(v, flat.dtype))[1], np.float64)  # noqa: E731
        return np.asarray(both(flat, jnp.zeros_like(flat))[0], np.float64), product

    return at
