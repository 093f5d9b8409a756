"""Each formula of the theory, once: the bounds T1 to T3, the scaling law, and the constants of the estimates E1 and E2.

Arguments are numbers, or arrays and columns of a table with one entry per model. Notation: n circuits of m angles and q
wires, K outputs, logits z = f sum_p o_p with the weight f of a circuit (c / n for "mean", c for "sum"), mean
cross-entropy L in nats; eigenvalues in nats per rad^2. The text of the chapter on theory proves and explains them.
"""

from typing import Any

import numpy as np

Number = Any  # a number, an array, or a column of a table
Array = Any  # of NumPy or of JAX, which is not imported here


def loss_factor(loss: Number) -> Number:
    """Returns 1 - exp(-L), for L in nats; twice it bounds E[tr A] and E ||r||_1."""
    return -np.expm1(-loss)


def softmax_factor(loss: Number) -> Number:
    """Returns min(2 (1 - exp(-L)), 1/2), which bounds E[lambda_max(A)]: of any probabilities lambda_max(A) <= 1/2."""
    return np.minimum(2 * loss_factor(loss), 0.5)


def t1(gauss_newton_blocks: np.ndarray, residual_blocks: np.ndarray) -> np.ndarray:
    """T1: lambda_max of H on phi is at most sum_p lambda_max(G_pp) + max_p lambda_max(R_pp).

    Args:
        gauss_newton_blocks: (..., n) largest eigenvalues of the diagonal blocks of G.
        residual_blocks: (..., n) those of R.

    Returns:
        (...).
    """
    return np.sum(gauss_newton_blocks, -1) + np.max(residual_blocks, -1)


def t1_uniform(gauss_newton_blocks: np.ndarray, residual_blocks: np.ndarray) -> np.ndarray:
    """T1 with the largest block in place of every block; arguments as for `t1`."""
    return np.shape(gauss_newton_blocks)[-1] * np.max(gauss_newton_blocks, -1) + np.max(residual_blocks, -1)


def coherence(gauss_newton: Number, gauss_newton_blocks: np.ndarray) -> Number:
    """Returns rho = lambda_max(G) / sum_p lambda_max(G_pp), blocks (..., n): from 1/n to 1; NaN where G is zero."""
    total = np.sum(gauss_newton_blocks, -1)
    with np.errstate(invalid="ignore"):
        return np.divide(gauss_newton, total)


def t2(loss: Number, n: Number, factor: Number, jacobian_square: Number, second_norm: Number) -> Number:
    """T2: lambda_max of H on phi is at most min(2 (1 - exp(-L)), 1/2) n f^2 B^2 + 2 (1 - exp(-L)) f D.

    Args:
        loss: L, nats.
        n: number of circuits.
        factor: f, the weight of one circuit in the logits (c / n for a mean, c for a sum).
        jacobian_square: B^2, at least the squared spectral norm of every J_p; K m a priori.
        second_norm: D, at least the norm of every second derivative of an output; m a priori.

    Returns:
        The bound.
    """
    return softmax_factor(loss) * n * factor**2 * jacobian_square + 2 * loss_factor(loss) * factor * second_norm


def t2_a_priori(loss: Number, n: Number, factor: Number, angles: Number, outputs: Number) -> Number:
    """T2 with B^2 = K m and D = m, which needs no measurement; `angles` is m, `outputs` K."""
    return t2(loss, n, factor, outputs * angles, angles)


def t3(loss: Number, n: Number, factor: Number, coverage: Number, input_square: Number) -> Number:
    """T3: lambda_max of the bias block of G is at most min(2 (1 - exp(-L)), 1/2) n f^2 mu B_x^2.

    Args:
        loss: L, nats.
        n: number of circuits.
        factor: f, the weight of one circuit in the logits (c / n for a mean, c for a sum).
        coverage: mu, the largest number of circuits that see one pixel.
        input_square: B_x^2, at least the squared spectral norm of every Jacobian in the inputs.

    Returns:
        The bound.
    """
    return softmax_factor(loss) * n * factor**2 * coverage * input_square


def scaling(loss: Number, n: Number, factor: Number, angles: Number) -> Number:
    """Returns m n f^2 (1 - exp(-L)), which is c^2 m / n times the loss factor for a mean: T2 without its constant."""
    return angles * n * factor**2 * loss_factor(loss)


def scaled(lambda_max: Number, n: Number, loss: Number) -> Number:
    """Returns lambda_max n / (1 - exp(-L)), nats per rad^2; with the form of T2 it would depend on m only."""
    return lambda_max * n / loss_factor(loss)


def typical_square(n_qubits: Number) -> Number:
    """Mean square of a derivative of a Pauli observable along an angle, in a random circuit of this ansatz.

    The gates before the angle and those after it are independent draws from the group that this ansatz can reach:
    orthogonal matrices, in a basis that the chapter on the spectrum names. Different observables then have
    uncorrelated derivatives of mean zero, as for unitary matrices {cite}`mcclean2018barren`.

    Args:
        n_qubits: q, even and at least 4.

    Returns:
        (2^q - 2) / (2 (2^q - 1)^2), per rad^2; about 2^-(q + 1).
    """
    size = 2**n_qubits
    return (size - 2) / (2 * (size - 1) ** 2)


def impurity(probabilities: np.ndarray) -> np.ndarray:
    """Gini impurity 1 - sum_k pi_k^2 = tr A (N,) of probabilities (N, C); exact where the model is sure."""
    others = probabilities @ (1 - np.eye(probabilities.shape[1]))  # 1 - pi would lose digits
    return np.sum(probabilities * others, 1)


def softmax_hessian(probabilities: Array, v: Array) -> Array:
    """Product A v = pi (v - pi . v) with the Hessian A = diag(pi) - pi pi^T of the cross-entropy in the logits.

    Args:
        probabilities: pi (..., C).
        v: (..., C).

    Returns:
        (..., C); as `softmax_root` for arrays of NumPy and of JAX.
    """
    return probabilities * (v - (probabilities * v).sum(-1, keepdims=True))


def softmax_root(probabilities: Array, v: Array) -> Array:
    """Product S v = sqrt(pi) (v - pi . v) with the root S of A = S^T S; arguments as for `softmax_hessian`."""
    return probabilities**0.5 * (v - (probabilities * v).sum(-1, keepdims=True))


def softmax_root_transpose(probabilities: Array, v: Array) -> Array:
    """Product S^T v = sqrt(pi) v - pi (sqrt(pi) . v); arguments as for `softmax_hessian`."""
    v = probabilities**0.5 * v
    return v - probabilities * v.sum(-1, keepdims=True)


def trace(mean_impurity: Number, n: Number, factor: Number, angles: Number, n_qubits: Number) -> Number:
    """E1: the trace of G on phi that is expected, n m f^2 s^2 E[tr A] with s^2 = `typical_square`; nats per rad^2."""
    return n * angles * factor**2 * typical_square(n_qubits) * mean_impurity


def with_pixels(n_qubits: Number, angles: Number, shared_bias: Number) -> Number:
    """Factor from the trace on phi that E1 expects to that on all parameters: a shared pixel is one more angle."""
    return 1 + shared_bias * n_qubits**2 / angles


def chernoff(top: Number, largest: Number, dimension: Number) -> Number:
    """Matrix Chernoff bound of the mean largest eigenvalue of a sum of independent positive semidefinite matrices.

    Derived as those of {cite}`tropp2015introduction`, chapters 5 and 7: the mean of exp(t lambda_max) - 1 is at most
    tr(exp(g M) - 1) with g = (exp(t largest) - 1) / largest and M the mean of the sum, and so at most the dimension
    times exp(g top) - 1; the logarithm is concave. By convexity `top` bounds the same mean from below.

    Args:
        top: largest eigenvalue of the mean of the sum.
        largest: a number that no eigenvalue of any one of the matrices ever exceeds.
        dimension: trace of the mean of the sum divided by `top`.

    Returns:
        The least of ((exp(t) - 1) top + largest log(dimension)) / t over some t from 0.01 to 10.
    """
    t = np.geomspace(0.01, 10, 200)
    rest = np.asarray(largest * np.log(dimension))
    return np.min((np.expm1(t) * np.asarray(top)[..., None] + rest[..., None]) / t, axis=-1)
