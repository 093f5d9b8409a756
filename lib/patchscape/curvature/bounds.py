"""Theorems T1 to T3 (the patch-count bound) and estimates E1 and E2, at a point (ours, not the paper's).

Everything here is dense and exact, for small models and few images. Notation: n circuits with m angles each, K
outputs, logits z = (c/n) sum_p o_p (for "sum" aggregation c stands in place of c/n), residual r = softmax(z) - e_y,
A = diag(softmax) - softmax softmax^T, J_p the Jacobian (K, m) of circuit p for one image. The Hessian of the loss is
H = G + R, and R is block diagonal over circuits.
"""

from typing import NamedTuple

import numpy as np

from patchscape import law
from patchscape.config import ModelConfig
from patchscape.curvature import estimates, exact
from patchscape.learning import model


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
        t2: (a c^2 B^2 + 2 (1 - exp(-L)) c D) / n with a = min(2 (1 - exp(-L)), 1/2) and D = m, which bounds the norm of
            any Hess o_{p,k}.
        t2_a_priori: the same with B^2 = K m too, which needs no measurement.
        t3_bias: c^2 mu / n * a B_x^2, bound on the bias block of G; None without a bias.
        gauss_newton_bias: largest eigenvalue of the bias block of G; None without a bias.
        max_coverage: mu, the largest number of circuits that see one pixel.
        impurity: E[tr A] = E[1 - sum_k pi_k^2], the Gini impurity of the probabilities.
        gauss_newton_trace: trace of G on phi.
        typical_trace: what E1 expects it to be.
        expected_lambda_max: what E2 expects the largest eigenvalue of G on phi to be.
        expected_coherence: what E2 expects the coherence to be.
        hessian: (n m, n m), the whole matrix on phi.
        block_norms: (n, n), spectral norms of the blocks H_pp'.
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
    impurity: float
    gauss_newton_trace: float
    typical_trace: float
    expected_lambda_max: float
    expected_coherence: float
    hessian: np.ndarray
    block_norms: np.ndarray


def _top(matrix: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(matrix)[-1])


def evaluate(cfg: ModelConfig, params: model.Params, angles: model.Array, labels: model.Array) -> Terms:
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
    d, at = exact.decompose(cfg, params, angles, labels), cfg.layout
    x, x_bias = d.root[:, at.phi], d.root[:, at.bias]
    gauss_newton = x.T @ x
    hessian = gauss_newton + d.residual[at.phi, at.phi]
    tiles = hessian.reshape(n, m, n, m).transpose(0, 2, 1, 3)
    g_blocks = np.array([_top(gauss_newton.reshape(n, m, n, m)[p, :, p]) for p in range(n)])
    r_blocks = np.array([_top(block[:m, :m]) for block in d.residual_blocks])
    weights = d.loss, n, cfg.factor
    g_top, impurity = _top(gauss_newton), float(law.impurity(d.probabilities).mean())
    return Terms(
        loss=d.loss,
        lambda_max=_top(hessian),
        gauss_newton=g_top,
        gauss_newton_blocks=g_blocks,
        residual_blocks=r_blocks,
        hessian_blocks=np.array([_top(tiles[p, p]) for p in range(n)]),
        coherence=float(law.coherence(g_top, g_blocks)),
        t1=float(law.t1(g_blocks, r_blocks)),
        t1_uniform=float(law.t1_uniform(g_blocks, r_blocks)),
        jacobian_norm=d.jacobian_norm,
        t2=float(law.t2(*weights, d.jacobian_norm**2, m)),
        t2_a_priori=float(law.t2_a_priori(*weights, m, k)),
        t3_bias=float(law.t3(*weights, cfg.max_coverage, d.input_norm**2)) if cfg.shared_bias else None,
        gauss_newton_bias=float(np.linalg.norm(x_bias, 2) ** 2) if cfg.shared_bias else None,
        max_coverage=cfg.max_coverage,
        impurity=impurity,
        gauss_newton_trace=float(np.trace(gauss_newton)),
        typical_trace=float(law.trace(impurity, n, cfg.factor, m, cfg.n_qubits)),
        expected_lambda_max=float(estimates.spectrum(cfg, params, angles, d.probabilities, top=1).phi[0]),
        expected_coherence=estimates.coherence(cfg, params, angles, d.probabilities),
        hessian=hessian,
        block_norms=np.linalg.norm(tiles, 2, axis=(2, 3)),
    )
