"""The exact Hessian of the model and its two parts, as dense matrices put together circuit by circuit."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from patchscape import law
from patchscape.circuit import simulator
from patchscape.circuit.derivatives import circuit_derivatives
from patchscape.config import ModelConfig
from patchscape.curvature.point import Point
from patchscape.learning import model


class Decomposition(NamedTuple):
    """The exact Hessian as H = G + R, from one circuit at a time.

    Rows and columns are in the order of `ModelConfig.layout`.

    Attributes:
        loss: mean cross-entropy, nats.
        root: X (N K, P) with G = X^T X, the Gauss-Newton part.
        own: (n, M), which parameters each circuit depends on: its m angles, then its pixels of a shared bias.
        residual_blocks: (n, M, M), second derivatives of the circuits with respect to their own parameters; R is their
            sum, each in its place.
        gradient: (P,), of the loss.
        logit_gradients: (N, K, P), Jacobian of the logits.
        probabilities: (N, K), softmax of the logits.
        jacobian_norm: B, the largest spectral norm of a circuit's Jacobian in its own angles, over images.
        input_norm: B_x, the same in its input angles.
    """

    loss: float
    root: np.ndarray
    own: np.ndarray
    residual_blocks: np.ndarray
    gradient: np.ndarray
    logit_gradients: np.ndarray
    probabilities: np.ndarray
    jacobian_norm: float
    input_norm: float

    @property
    def residual(self) -> np.ndarray:
        """R (P, P), the part of H from the second derivatives of the circuits."""
        dense = np.zeros((len(self.gradient), len(self.gradient)))
        for own, block in zip(self.own, self.residual_blocks, strict=True):
            dense[np.ix_(own, own)] += block
        return dense

    def residual_product(self, v: np.ndarray) -> np.ndarray:
        """R v for a vector (P,), without the dense matrix."""
        out = np.zeros_like(v)
        np.add.at(out, self.own, np.matmul(self.residual_blocks, v[self.own][..., None])[..., 0])
        return out


def own_parameters(cfg: ModelConfig) -> np.ndarray:
    """Returns which parameters each circuit depends on (n, M), as `Decomposition` has them."""
    every = np.arange(cfg.n_params)
    own = np.stack([every[circuit] for circuit in cfg.layout.circuits])
    return np.concatenate([own, every[cfg.layout.bias][model.patch_pixels(cfg)]], 1) if cfg.shared_bias else own


def decompose(
    cfg: ModelConfig, params: model.Params, angles: model.Array, labels: model.Array, *, norms: bool = True
) -> Decomposition:
    """Computes the exact Hessian and its two parts.

    Memory grows with N K P numbers: 16,000 parameters and 300 images need some 1 GB.

    Args:
        cfg: the model.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        labels: (N,).
        norms: compute jacobian_norm and input_norm too; without, they are NaN.

    Returns:
        The parts, float64; as precise as the parameters.
    """
    m, k, factor = cfg.n_params_per_qnn, cfg.n_classes, cfg.factor
    patches = np.asarray(model.shifted_patches(cfg, params, jnp.asarray(angles)))
    every = [_outputs(cfg, phi, x) for phi, x in zip(params["phi"], patches, strict=True)]
    z = factor * jnp.stack(every).sum(0)
    probability = np.asarray(jax.nn.softmax(z), np.float64)
    labels = np.asarray(labels)
    r = probability - np.eye(k)[labels]
    count, size, indices = len(r), cfg.n_params, own_parameters(cfg)
    jacobian, blocks, largest = np.zeros((count, k, size)), [], []
    for own, phi, x in zip(indices, params["phi"], patches, strict=True):
        j, second = circuit_derivatives(cfg, np.asarray(phi), x, r / count)
        if norms:
            largest.append([np.linalg.norm(part, 2, axis=(1, 2)).max() for part in (j[..., :m], j[..., m:])])
        jacobian[..., own] += factor * j[..., : len(own)]
        blocks.append(factor * second[: len(own), : len(own)])
    rows = np.matmul(root(probability), jacobian) / np.sqrt(count)
    of_parameters, of_inputs = np.max(largest, axis=0) if norms else (np.nan, np.nan)
    return Decomposition(
        loss=float(model.cross_entropy(z, labels)),
        root=rows.reshape(-1, size),
        own=indices,
        residual_blocks=np.stack(blocks),
        gradient=np.einsum("ik,ikm->m", r, jacobian) / count,
        logit_gradients=jacobian,
        probabilities=probability,
        jacobian_norm=float(of_parameters),
        input_norm=float(of_inputs),
    )


def point(cfg: ModelConfig, parts: Decomposition, labels: np.ndarray) -> Point:
    """Makes of the exact matrices what `measures` measures on.

    Args:
        cfg: the model.
        parts: from `decompose`.
        labels: (N,), as given to it.

    Returns:
        Gradient and products.
    """
    root, at, n = parts.root, cfg.layout, cfg.n_patches

    def gauss_newton(v: np.ndarray) -> np.ndarray:
        return root.T @ (root @ v)

    def per_patch(v: np.ndarray) -> np.ndarray:
        """Keeps each circuit's part of v to itself: X_p^T X_p v_p."""
        blocks = root[:, at.phi].reshape(len(root), n, -1)
        image = np.einsum("rpm,pm->rp", blocks, v[at.phi].reshape(n, -1), optimize=True)
        out = np.zeros(len(v))
        out[at.phi] = np.einsum("rpm,rp->pm", blocks, image, optimize=True).ravel()
        return out

    def class_means() -> np.ndarray:
        own = parts.logit_gradients[np.arange(len(labels)), labels]
        return np.stack([own[labels == c].mean(0) for c in np.unique(labels)])

    return Point(
        parts.gradient,
        lambda v: gauss_newton(v) + parts.residual_product(v),
        gauss_newton,
        parts.residual_product,
        per_patch,
        class_means,
    )


def matrices(parts: Decomposition) -> dict[str, np.ndarray]:
    """The dense matrices (P, P) "H", "G" and "R", with H = G + R."""
    g, r = parts.root.T @ parts.root, parts.residual
    return {"H": g + r, "G": g, "R": r}


def spectra(parts: Decomposition) -> dict[str, np.ndarray]:
    """All eigenvalues of H, G and R, each (P,) in decreasing order, as columns of a curvature file."""
    names = {"H": "all_eigenvalues", "G": "all_gauss_newton", "R": "all_residual"}
    return {names[part]: np.linalg.eigvalsh(matrix)[::-1] for part, matrix in matrices(parts).items()}


def _outputs(cfg: ModelConfig, phi: jax.Array, x: np.ndarray) -> jax.Array:
    """Expectation values (N, K) of one circuit; one program for any number of patches and classes."""
    q, half = cfg.n_qubits, cfg.n_classes // 2
    alone = {
        "n_patches": 1,
        "n_classes": 2 * q,
        "image_side": q,
        "stride": None,
        "shared_bias": False,
        "scale": 1.0,
        "aggregation": "mean",
    }
    every = _every_output(cfg.model_copy(update=alone), phi, x)
    return every[:, np.r_[:half, q : q + half]]


@partial(jax.jit, static_argnums=0)
def _every_output(cfg: ModelConfig, phi: jax.Array, x: jax.Array) -> jax.Array:
    return simulator.expectations(cfg, simulator.prepare(cfg, phi), x)


def root(pi: np.ndarray) -> np.ndarray:
    """Matrices S (N, K, K) with S^T S = diag(pi) - pi pi^T, for probabilities pi (N, K)."""
    return law.softmax_root(pi[:, None], np.eye(pi.shape[1])).swapaxes(1, 2)
