"""How many random layers of the ansatz mix the wires: the spectral gap of a layer's second moment.

A layer turns a Pauli string into a sum of strings. If its angles are drawn from the circle (or from a half of it), the
product of two different coefficients of the sum has mean zero, and the mean squares of the coefficients add up to one.
So layers are a Markov chain on strings. Its stationary state, equal shares on all strings of odd weight, is the mean
over all that the ansatz can reach, which the estimates E1 and E2 assume.
"""

from functools import reduce

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs

from patchscape.circuit.ansatz import LAYER_AXES
from patchscape.circuit.blocks import by_parity, ring_on_paulis

# A digit of a string: I, Z, X, Y, as in `blocks`. A rotation by a random angle mixes the two that it does not keep.
_DIGITS = "IZXY"


def layer(q: int, weights: np.ndarray) -> np.ndarray:
    """Carries mean squares of the coefficients of strings through one layer with random angles.

    Args:
        q: wires, even.
        weights: (4^q,) or (4^q, S), by the number of the string: base-4 digits 2 x + z of its wires, wire 0 first.

    Returns:
        Likewise.
    """
    mix = reduce(lambda total, axis: _mixing(axis) @ total, LAYER_AXES, np.eye(4))
    out = weights.reshape(*[4] * q, -1)
    for wire in range(q):
        out = np.moveaxis(np.tensordot(mix, out, (1, wire)), 0, wire)
    return out.reshape(weights.shape)[ring_on_paulis(q)[0]]


def _mixing(axis: str) -> np.ndarray:
    """Mean squares (4, 4) of the coefficients after a rotation about an axis by an angle drawn from the circle."""
    out = np.eye(4)
    others = [i for i, name in enumerate(_DIGITS) if name not in ("I", axis)]
    out[np.ix_(others, others)] = 0.5
    return out


def distances(q: int, layers: int) -> np.ndarray:
    """Total variation distance of the mean squares from equal shares after one layer, two, and so on.

    Args:
        q: wires, even.
        layers: number of layers.

    Returns:
        (layers,) the largest for any start at the generator of one angle, an X or a Y on one wire; in [0, 1].
    """
    odd, starts = by_parity(q)[1], [_DIGITS.index(axis) * 4**wire for wire in range(q) for axis in LAYER_AXES]
    weights, found = np.zeros((4**q, len(starts))), []
    weights[starts, np.arange(len(starts))] = 1
    for _ in range(layers):
        weights = layer(q, weights)
        found.append(np.abs(weights[odd] - 1 / len(odd)).sum(0).max() / 2)
    return np.array(found)


def second_eigenvalue(q: int) -> float:
    """Largest size of an eigenvalue of a layer's second moment on strings of odd weight, but for the one at 1.

    Args:
        q: wires, even and at least 4; for two wires the ring is nothing, and nothing mixes them.

    Returns:
        A number below one: in the end a layer leaves so much of the distance to equal shares.
    """
    odd = by_parity(q)[1]

    def product(v: np.ndarray) -> np.ndarray:
        whole = np.zeros(4**q)
        whole[odd] = v.ravel() - v.mean()  # the chain keeps the sum: only what is left of the stationary state
        return layer(q, whole)[odd]

    chain = LinearOperator((len(odd), len(odd)), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(len(odd))
    return float(np.abs(eigs(chain, k=4, v0=start, return_eigenvectors=False)).max())
