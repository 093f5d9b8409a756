"""The patch-count bound, theorems T1 to T3 of the book, evaluated at a point (ours, not the paper's).

Everything here is dense and exact, for small models and few images. Notation: n circuits with m angles each, K
outputs, logits z = (c/n) sum_p q_p (for "sum" aggregation c stands in place of c/n), residual r = softmax(z) - e_y,
A = diag(softmax) - softmax softmax^T, J_p the Jacobian (K, m) of circuit p for one image. The Hessian of the loss is
H = G + R, and R is block diagonal over circuits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from patchscape import model, simulator
from patchscape.config import ModelConfig


class Terms(NamedTuple):
    """Every term of T1, T2 and T3 at one point; eigenvalues in nats per rad^2.

    Attributes:
        loss: mean cross-entropy, nats.
        lambda_max: largest eigenvalue of H on phi (bias excluded).
        gauss_newton: largest eigenvalue of G on phi.
        gauss_newton_blocks: (n,) largest eigenvalues of the diagonal blocks G_pp.
        residual_blocks: (n,) largest eigenvalues of the blocks R_pp.
        hessian_blocks: (n,) largest eigenvalues of the blocks H_pp; their maximum bounds lambda_max from below.
        coherence: lambda_max(G) / sum_p lambda_max(G_pp), between 1/n and 1; NaN if G is zero.
        t1: sum_p lambda_max(G_pp) + max_p lambda_max(R_pp).
        t1_uniform: (c^2 g + c h) / n, g and h the largest per-circuit values.
        jacobian_norm: B, the largest spectral norm of J_p over circuits and images.
        t2: 2 (1 - exp(-L)) (c^2 B^2 + c D) / n with D = m, which bounds the norm of any Hess q_{p,k}.
        t2_a_priori: the same with B^2 = K m too, which needs no measurement.
        t3_bias: c^2 mu / n * 2 (1 - exp(-L)) B_x^2, bound on the bias block of G; None without a bias.
        gauss_newton_bias: largest eigenvalue of the bias block of G; None without a bias.
        max_coverage: mu, the largest number of circuits that see one pixel.
        hessian: (n m, n m), the whole matrix on phi.
        block_norms: (n, n), spectral norms of the blocks H_pq.
    """

    loss: float
    lambda_max: float
    gauss_newton: float
    gauss_newton_blocks: np.ndarray
    residual_blocks: np.ndarray
    hessian_blocks: np.ndarray
    coherence: float
    t1: float
    t1_uniform: float
    jacobian_norm: float
    t2: float
    t2_a_priori: float
    t3_bias: float | None
    gauss_newton_bias: float | None
    max_coverage: int
    hessian: np.ndarray
    block_norms: np.ndarray


def _top(matrix: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(matrix)[-1])


def evaluate(cfg: ModelConfig, params: model.Params, angles: jax.Array, labels: jax.Array) -> Terms:
    """Evaluates every term of the bounds at one point.

    Args:
        cfg: the model; n m should stay below a few thousand.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        labels: (N,).

    Returns:
        The terms.
    """
    n, m, k = cfg.n_patches, cfg.n_params_per_qnn, cfg.n_classes
    factor = cfg.scale / n if cfg.aggregation == "mean" else cfg.scale
    shifted = angles + params["bias"] if cfg.shared_bias else angles
    patches = model.cut_patches(cfg, jnp.asarray(shifted))

    def outputs(phi, x):
        return simulator.expectations(cfg, simulator.prepare(cfg, phi), x)

    def residual_sum(phi, x, r):
        return jnp.mean(jnp.sum(r * outputs(phi, x), axis=1))

    q = jax.jit(jax.vmap(outputs))(params["phi"], patches)
    z = factor * q.sum(0)
    probability = jax.nn.softmax(z)
    r = probability - jax.nn.one_hot(labels, k)
    loss = float(model.cross_entropy(z, labels))
    jacobian = np.asarray(jax.jit(jax.vmap(jax.jacfwd(outputs)))(params["phi"], patches), np.float64)
    second = jax.jit(lambda p, x: jax.lax.map(lambda a: jax.hessian(residual_sum)(*a, r), (p, x)))
    blocks_r = factor * np.asarray(second(params["phi"], patches), np.float64)

    pi = np.asarray(probability, np.float64)
    root = _root(pi)  # (N, K, K) with root^T root = A
    x = factor * np.einsum("ijk,pikm->ijpm", root, jacobian) / np.sqrt(len(labels))
    x = x.reshape(-1, n * m)
    gauss_newton = x.T @ x
    hessian = gauss_newton.copy()
    for p in range(n):
        hessian[p * m : (p + 1) * m, p * m : (p + 1) * m] += blocks_r[p]
    tiles = hessian.reshape(n, m, n, m).transpose(0, 2, 1, 3)
    g_blocks = np.array([_top(gauss_newton.reshape(n, m, n, m)[p, :, p]) for p in range(n)])
    r_blocks = np.array([_top(block) for block in blocks_r])
    jacobian_norm = float(np.linalg.norm(jacobian, 2, axis=(2, 3)).max())
    level = 2 * (1 - np.exp(-loss))  # bounds E[tr A] and E ||r||_1
    # c^2 / n and c / n of the text, for mean aggregation; for sums, n c^2 and c
    t2 = level * (n * factor**2 * jacobian_norm**2 + factor * m)
    g_top = _top(gauss_newton)
    return Terms(
        loss=loss,
        lambda_max=_top(hessian),
        gauss_newton=g_top,
        gauss_newton_blocks=g_blocks,
        residual_blocks=r_blocks,
        hessian_blocks=np.array([_top(tiles[p, p]) for p in range(n)]),
        coherence=float(g_top / g_blocks.sum()) if g_blocks.sum() > 0 else float("nan"),
        t1=float(g_blocks.sum() + r_blocks.max()),
        t1_uniform=float(n * g_blocks.max() + r_blocks.max()),
        jacobian_norm=jacobian_norm,
        t2=float(t2),
        t2_a_priori=float(level * (n * factor**2 * k * m + factor * m)),
        t3_bias=_t3(cfg, params, patches, factor, level) if cfg.shared_bias else None,
        gauss_newton_bias=_bias_block(cfg, params, angles, root) if cfg.shared_bias else None,
        max_coverage=cfg.max_coverage,
        hessian=hessian,
        block_norms=np.linalg.norm(tiles, 2, axis=(2, 3)),
    )


def _root(pi: np.ndarray) -> np.ndarray:
    """Matrices S (N, K, K) with S^T S = diag(pi) - pi pi^T."""
    s = np.sqrt(pi)
    return np.einsum("ij,jk->ijk", s, np.eye(pi.shape[1])) - s[:, :, None] * pi[:, None, :]


def _input_jacobians(cfg: ModelConfig, params: model.Params, patches: jax.Array) -> np.ndarray:
    """Jacobians (n, N, K, q*q) of every circuit's outputs in its patch."""

    def one(phi, x):
        prepared = simulator.prepare(cfg, phi)
        return jax.vmap(jax.jacfwd(lambda image: simulator.expectations(cfg, prepared, image[None])[0]))(x)

    return np.asarray(jax.jit(jax.vmap(one))(params["phi"], patches), np.float64)


def _t3(cfg: ModelConfig, params: model.Params, patches: jax.Array, factor: float, level: float) -> float:
    b_x = np.linalg.norm(_input_jacobians(cfg, params, patches), 2, axis=(2, 3)).max()
    return float(cfg.n_patches * factor**2 * cfg.max_coverage * level * b_x**2)


def _bias_block(cfg: ModelConfig, params: model.Params, angles: jax.Array, root: np.ndarray) -> float:
    """Largest eigenvalue of the bias block of G, from the Jacobian of the logits in the bias."""
    jacobian = jax.jit(jax.jacfwd(lambda b: model.logits(cfg, params | {"bias": b}, angles)))(params["bias"])
    flat = np.asarray(jacobian, np.float64).reshape(*jacobian.shape[:2], -1)
    x = np.einsum("ijk,ikm->ijm", root, flat).reshape(-1, flat.shape[2]) / np.sqrt(len(flat))
    return float(np.linalg.norm(x, 2) ** 2)
