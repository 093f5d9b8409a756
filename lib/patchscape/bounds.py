"""The patch-count bound, theorems T1 to T3 of the book, evaluated at a point (ours, not the paper's).

Everything here is dense and exact, for small models and few images. Notation: n circuits with m angles each, K
outputs, logits z = (c/n) sum_p q_p (for "sum" aggregation c stands in place of c/n), residual r = softmax(z) - e_y,
A = diag(softmax) - softmax softmax^T, J_p the Jacobian (K, m) of circuit p for one image. The Hessian of the loss is
H = G + R, and R is block diagonal over circuits.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from patchscape import model, simulator
from patchscape.config import ModelConfig

_COLUMNS = 24  # ours: derivatives computed in one batch; sets the memory


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
    size = n * m
    factor = cfg.factor
    d = decompose(cfg, params, angles, labels)
    x, x_bias = d.root[:, :size], d.root[:, size:]
    gauss_newton = x.T @ x
    hessian = gauss_newton + d.residual[:size, :size]
    tiles = hessian.reshape(n, m, n, m).transpose(0, 2, 1, 3)
    g_blocks = np.array([_top(gauss_newton.reshape(n, m, n, m)[p, :, p]) for p in range(n)])
    r_blocks = np.array([_top(d.residual[p * m : (p + 1) * m, p * m : (p + 1) * m]) for p in range(n)])
    level = 2 * (1 - np.exp(-d.loss))  # bounds E[tr A] and E ||r||_1
    # c^2 / n and c / n of the text, for mean aggregation; for sums, n c^2 and c
    t2 = level * (n * factor**2 * d.jacobian_norm**2 + factor * m)
    g_top = _top(gauss_newton)
    return Terms(
        loss=d.loss,
        lambda_max=_top(hessian),
        gauss_newton=g_top,
        gauss_newton_blocks=g_blocks,
        residual_blocks=r_blocks,
        hessian_blocks=np.array([_top(tiles[p, p]) for p in range(n)]),
        coherence=float(g_top / g_blocks.sum()) if g_blocks.sum() > 0 else float("nan"),
        t1=float(g_blocks.sum() + r_blocks.max()),
        t1_uniform=float(n * g_blocks.max() + r_blocks.max()),
        jacobian_norm=d.jacobian_norm,
        t2=float(t2),
        t2_a_priori=float(level * (n * factor**2 * k * m + factor * m)),
        t3_bias=float(n * factor**2 * cfg.max_coverage * level * d.input_norm**2) if cfg.shared_bias else None,
        gauss_newton_bias=float(np.linalg.norm(x_bias, 2) ** 2) if cfg.shared_bias else None,
        max_coverage=cfg.max_coverage,
        hessian=hessian,
        block_norms=np.linalg.norm(tiles, 2, axis=(2, 3)),
    )


class Decomposition(NamedTuple):
    """The exact Hessian of a small model as H = G + R, from one circuit at a time.

    Rows and columns are in the order of SPEC: phi (circuit by circuit), then the bias, row by row, if there is one.
    The order differs from `ravel_pytree`, which puts the bias first.

    Attributes:
        loss: mean cross-entropy, nats.
        root: X (N K, P) with G = X^T X, the Gauss-Newton part.
        residual: R (P, P), the part from the second derivatives of the circuits.
        gradient: (P,), of the loss.
        logit_gradients: (N, K, P), Jacobian of the logits.
        jacobian_norm: B, the largest spectral norm of a circuit's Jacobian in its own angles, over images.
        input_norm: B_x, the same in its input angles.
    """

    loss: float
    root: np.ndarray
    residual: np.ndarray
    gradient: np.ndarray
    logit_gradients: np.ndarray
    jacobian_norm: float
    input_norm: float


def decompose(cfg: ModelConfig, params: model.Params, angles: jax.Array, labels: jax.Array) -> Decomposition:
    """Computes the exact Hessian of a small model and its two parts.

    A circuit is compiled once per depth and number of images, whatever the number of circuits, seeds or classes.

    Args:
        cfg: the model; P should stay below a few thousand.
        params: as from `model.init`.
        angles: (N, side, side) in rad.
        labels: (N,).

    Returns:
        The parts, float64.
    """
    n, m, k, q = cfg.n_patches, cfg.n_params_per_qnn, cfg.n_classes, cfg.n_qubits
    factor = cfg.factor
    shifted = jnp.asarray(angles) + params["bias"] if cfg.shared_bias else jnp.asarray(angles)
    patches = model.cut_patches(cfg, shifted)
    # all 2 q outputs, of which the model uses k: one program for any number of classes
    every = cfg.model_copy(
        update={"n_patches": 1, "n_classes": 2 * q, "image_side": q, "stride": None, "shared_bias": False, "scale": 1.0}
    )
    used = np.r_[: k // 2, q : q + k // 2]
    outputs = jnp.stack([_outputs(every, phi, x) for phi, x in zip(params["phi"], patches, strict=True)])
    z = factor * outputs[..., used].sum(0)
    probability = jax.nn.softmax(z)
    r = np.asarray(probability - jax.nn.one_hot(labels, k))
    all_r = np.zeros((len(r), 2 * q), r.dtype)
    all_r[:, used] = r

    count, pixels = len(r), model.patch_pixels(cfg)
    size = n * m + (cfg.image_side**2 if cfg.shared_bias else 0)
    jacobian, residual = np.zeros((count, k, size)), np.zeros((size, size))
    norms = []
    for p in range(n):
        j, second = (np.asarray(a, np.float64) for a in _circuit(every, params["phi"][p], patches[p], all_r))
        j = j.transpose(1, 2, 0)[:, used]  # (N, K, m + q^2)
        norms.append([np.linalg.norm(part, 2, axis=(1, 2)).max() for part in (j[..., :m], j[..., m:])])
        own = np.r_[p * m : (p + 1) * m, n * m + pixels[p]] if cfg.shared_bias else np.r_[p * m : (p + 1) * m]
        jacobian[..., own] += factor * j[..., : len(own)]
        residual[np.ix_(own, own)] += factor * second[: len(own), : len(own)]
    root = np.einsum("ijk,ikm->ijm", _root(np.asarray(probability, np.float64)), jacobian) / np.sqrt(count)
    return Decomposition(
        loss=float(model.cross_entropy(z, labels)),
        root=root.reshape(-1, size),
        residual=(residual + residual.T) / 2,
        gradient=np.einsum("ik,ikm->m", r.astype(np.float64), jacobian) / count,
        logit_gradients=jacobian,
        jacobian_norm=float(np.max(norms, axis=0)[0]),
        input_norm=float(np.max(norms, axis=0)[1]),
    )


@partial(jax.jit, static_argnums=0)
def _outputs(cfg: ModelConfig, phi: jax.Array, x: jax.Array) -> jax.Array:
    """Expectation values (N, K) of one circuit."""
    return simulator.expectations(cfg, simulator.prepare(cfg, phi), x)


@partial(jax.jit, static_argnums=0)
def _circuit(cfg: ModelConfig, phi: jax.Array, x: jax.Array, r: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Derivatives of one circuit in its m angles and in a common shift of its q*q inputs.

    Returns:
        The Jacobian (m + q*q, N, K) of the outputs, and the Hessian (m + q*q, m + q*q) of the mean of sum_k r_k q_k.
    """
    m, point = phi.size, (phi, jnp.zeros(x.shape[1], phi.dtype))

    def outputs(w):
        return _outputs.__wrapped__(cfg, w[0], x + w[1])

    def column(unit):
        tangent = ((unit[:m], unit[m:]),)
        _, j = jax.jvp(outputs, (point,), tangent)
        _, (a, b) = jax.jvp(jax.grad(lambda w: jnp.mean(jnp.sum(r * outputs(w), 1))), (point,), tangent)
        return j, jnp.concatenate([a, b])

    # whole batches only: lax.map would compile a remainder a second time
    units = jnp.eye(-(-(m + x.shape[1]) // _COLUMNS) * _COLUMNS, m + x.shape[1], dtype=phi.dtype)
    j, second = jax.lax.map(column, units, batch_size=_COLUMNS)
    return j[: m + x.shape[1]], second[: m + x.shape[1]]


def _root(pi: np.ndarray) -> np.ndarray:
    """Matrices S (N, K, K) with S^T S = diag(pi) - pi pi^T."""
    s = np.sqrt(pi)
    return np.einsum("ij,jk->ijk", s, np.eye(pi.shape[1])) - s[:, :, None] * pi[:, None, :]
