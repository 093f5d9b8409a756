"""Unitaries of the deep blocks, which do not depend on the image, and their derivative.

Every rotation, and the ring of CZ gates, commutes with the time reversal T = (iY)^q K (K: complex conjugation; the
chapters on the spectrum and on speed say why). For even q, T^2 = 1, and there is a basis of states with T f = f: in it
a block is a real orthogonal 2^q x 2^q matrix, which acts alike on the two real parts of a state. That takes half of the
operations of a complex product (`apply`).

A block is built layer by layer. In the product of the real bases of two halves with even numbers of wires, a layer is
the product of two small real matrices and a permutation with signs (the ring), `_real_layers`.

The derivative of a block U obeys dU = U Omega, where Omega is a sum of Pauli strings carried backwards through the
layers (Heisenberg picture, `_pull_back`). The derivative with respect to one angle is one coefficient. Only strings of
odd weight occur: they are the generators of real orthogonal matrices. A layer keeps the parity of the weight, and its
rotations that of the weight on every pair of wires, so that products with matrices of sizes 10 and 6 do.
The rule is linear in the tangent, so that reverse mode is its transpose (`_push_forward`): nothing is stored layer by
layer, and derivatives of every order follow from it.

Numbers are real: a complex array carries a leading axis of length 2 (real part, imaginary part), because real matrix
products were faster than complex ones wherever we measured. The precision follows the inputs: float32 in, float32
out; float64 likewise.
"""

import itertools
import math
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.circuit.ansatz import LAYER_AXES, cz_ring
from patchscape.circuit.rotations import multiply, rotation
from patchscape.numerics.linear import linear_map

Array = jax.Array
einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)  # without this a GPU rounds float32 products to tf32


def _layer_rotations(angles: Array) -> tuple[Array, ...]:
    """Both rotations of every layer and wire as one, from angles (d, 2, q)."""
    first, second = (rotation(axis, angles[:, i]) for i, axis in enumerate(LAYER_AXES))
    return multiply(second, first)


def _matrix(quaternion: tuple[Array, ...]) -> Array:
    """The 2 x 2 unitary, complex (..., 2, 2)."""
    w, x, y, z = quaternion
    return jnp.stack([jnp.stack([w - 1j * z, -1j * x - y], -1), jnp.stack([-1j * x + y, w + 1j * z], -1)], -2)


def _adjoint(quaternion: tuple[Array, ...]) -> Array:
    """V^dagger P V in the basis (I, Z, X, Y): a real matrix (..., 4, 4) acting on coefficients."""
    w, x, y, z = quaternion
    one, zero = jnp.ones_like(w), jnp.zeros_like(w)
    columns = [
        (one, zero, zero, zero),
        (zero, 1 - 2 * (x * x + y * y), 2 * (x * z - w * y), 2 * (y * z + w * x)),
        (zero, 2 * (x * z + w * y), 1 - 2 * (y * y + z * z), 2 * (x * y - w * z)),
        (zero, 2 * (y * z - w * x), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z)),
    ]
    return jnp.stack([jnp.stack(column, -1) for column in columns], -1)


def kron(matrices: Array) -> Array:
    """Kronecker product over the third axis from the end: (..., k, m, m) -> (..., m^k, m^k)."""
    out = matrices[..., 0, :, :]
    for i in range(1, matrices.shape[-3]):
        side = out.shape[-1] * matrices.shape[-1]
        out = einsum("...ab,...cd->...acbd", out, matrices[..., i, :, :]).reshape(*out.shape[:-2], side, side)
    return out


# --- constant tables -------------------------------------------------------------------------------------------------


def basis_bits(q: int) -> np.ndarray:
    """Bits (2^q, q) of every basis state, wire 0 first."""
    return (np.arange(2**q)[:, None] >> np.arange(q)[::-1]) & 1


@lru_cache
def ring_signs(q: int) -> np.ndarray:
    """Diagonal (2^q,) of the CZ ring."""
    bits = basis_bits(q)
    return np.prod([1 - 2 * bits[:, g.wires[0]] * bits[:, g.wires[1]] for g in cz_ring(q)], axis=0)


# Index tables are int32: a cached int64 array means two things to JAX in single and in double precision.
def ring_on_paulis(q: int) -> tuple[np.ndarray, np.ndarray]:
    """The CZ ring on coefficients of Pauli strings: new[i] = sign[i] * old[source[i]].

    Strings i^(x.z) X^x Z^z are numbered by the base-4 digits 2 x + z of their wires.

    Returns:
        Source and sign, (4^q,) each. Twice the ring is nothing.
    """
    place = 4 ** np.arange(q)[::-1]
    digits = np.arange(4**q)[:, None] // place % 4
    x, z = digits >> 1, digits & 1
    moved, sign = z.copy(), np.ones(4**q, int)
    for g in cz_ring(q):  # CZ maps X_i to X_i Z_j; both X's at once also give a minus sign
        i, j = g.wires
        moved[:, i] ^= x[:, j]
        moved[:, j] ^= x[:, i]
        sign *= 1 - 2 * x[:, i] * x[:, j]
    sign *= 1 - ((x * z).sum(1) - (x * moved).sum(1)) % 4  # i^0 = 1, i^2 = -1
    return (2 * x + moved) @ place, sign


def by_parity(wires: int) -> list[np.ndarray]:
    """Numbers of the Pauli strings of even and of odd weight."""
    weight = np.count_nonzero(np.arange(4**wires)[:, None] // 4 ** np.arange(wires) % 4, axis=1)
    return [np.flatnonzero(weight % 2 == parity) for parity in range(2)]


def _units(q: int) -> list[int]:
    """Half of the wires as pairs, and one that may be left."""
    return [2] * (q // 4) + [1] * (q // 2 % 2)


class _OddStrings(NamedTuple):
    """How the coefficients of all Pauli strings of odd weight are stored, and moved; n = (4^q - 2^q) / 2.

    Half of the wires come first: those that the next half layer turns. Their strings are sorted by the parities of
    their units, so that the coefficients with equal parities are one array (first unit, ..., strings of the last half).

    Attributes:
        number: (n,) of each string, as in `ring_on_paulis`.
        pieces: for each pattern of parities of the first half's units, the number of strings of the last half.
        generators: place of each single-wire string of the first half (wires, 4).
        forward: sources and signs, (2, n) each: what follows either half layer. The halves change places; after the
            second half layer, the ring too.
        backward: the inverses.
    """

    number: np.ndarray
    pieces: list[tuple[tuple[int, ...], int]]
    generators: np.ndarray
    forward: tuple[np.ndarray, np.ndarray]
    backward: tuple[np.ndarray, np.ndarray]


@lru_cache
def _odd_strings(q: int) -> _OddStrings:
    base, units = 4 ** (q // 2), _units(q)
    half, patterns = ([], []), ([], [])
    for pattern in itertools.product(range(2), repeat=len(units)):
        strings = np.zeros(1, int)
        for wires, parity in zip(units, pattern, strict=True):
            strings = np.add.outer(strings * 4**wires, by_parity(wires)[parity]).ravel()
        half[sum(pattern) % 2].append(strings)
        patterns[sum(pattern) % 2].append(pattern)
    even, odd = map(np.concatenate, half)
    number = np.concatenate([np.add.outer(even * base, odd).ravel(), np.add.outer(odd * base, even).ravel()])
    place = np.zeros(4**q, int)
    place[number] = np.arange(len(number))
    exchange = place[number % base * base + number // base]
    source, sign = ring_on_paulis(q)
    ring, sign, same = place[source[number]], sign[number], np.ones(len(number), int)
    return _OddStrings(
        number.astype(np.int32),
        [(p, len(odd)) for p in patterns[0]] + [(p, len(even)) for p in patterns[1]],
        place[np.multiply.outer(base * 4 ** np.arange(q // 2)[::-1], np.arange(4))].astype(np.int32),
        (np.stack([exchange, exchange[ring]]).astype(np.int32), np.stack([same, sign])),
        (np.stack([exchange, ring[exchange]]).astype(np.int32), np.stack([same, sign[exchange]])),
    )


@lru_cache
def _paulis_to_matrix(q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tables for M[j ^ x, j] = sum_z i^(x.z) (-1)^(z.j) T[x, z].

    Returns:
        The place x 2^q + z of each string of `_odd_strings`; the power of i; the signs (-1)^(z.j); and j ^ x as a row
        index.
    """
    bits, states = basis_bits(q), np.arange(2**q)
    digits = _odd_strings(q).number[:, None] >> 2 * np.arange(q)[::-1]
    place = (digits >> 1 & 1) @ 2 ** np.arange(q)[::-1] * 2**q + (digits & 1) @ 2 ** np.arange(q)[::-1]
    row = states[:, None] ^ states
    return place.astype(np.int32), (bits @ bits.T) % 4, 1 - 2 * (bits @ bits.T % 2), row.astype(np.int32)


# --- the real basis --------------------------------------------------------------------------------------------------


def _reversal_signs(q: int) -> np.ndarray:
    """Signs (2^(q-1), 1) with T z = sign * (not z), for basis states z that start with 0."""
    return (1 - 2 * (basis_bits(q).sum(1) % 2))[: 2 ** (q - 1), None]


def _real_parts(s: Array) -> Array:
    """`to_real` times the root of 2."""
    half = s.shape[1] // 2
    signs = jnp.asarray(_reversal_signs(s.shape[1].bit_length() - 1), s.dtype)
    (re, im), (re_not, im_not) = s[:, :half], s[:, half:][:, ::-1] * signs
    of_sums = jnp.stack([re + re_not, im + im_not], 1)
    of_differences = jnp.stack([im - im_not, re_not - re], 1)
    return jnp.concatenate([of_sums, of_differences])


def to_real(s: Array) -> Array:
    """States (2, 2^q, N) as their two real parts u and v, s = u + i v with T u = u and T v = v.

    The real basis, for z that starts with 0: first all z + T z, then all i (z - T z), each over the root of 2.

    Returns:
        (2^q, 2, N): coefficients of u and of v. The map preserves lengths.
    """
    return _real_parts(s) * np.asarray(np.sqrt(0.5), s.dtype)


def from_real(x: Array) -> Array:
    """The inverse of `to_real`, and its transpose: (2^q, 2, N) to states (2, 2^q, N)."""
    half = len(x) // 2
    signs = jnp.asarray(_reversal_signs(len(x).bit_length() - 1), x.dtype)
    (a_u, a_v), (b_u, b_v) = x[:half].swapaxes(0, 1), x[half:].swapaxes(0, 1)
    states = jnp.stack([a_u - b_v, a_v + b_u])
    reversed_ = jnp.stack([a_u + b_v, a_v - b_u]) * signs
    return jnp.concatenate([states, reversed_[:, ::-1]], 1) * np.asarray(np.sqrt(0.5), x.dtype)


def _real_matrix(columns: Array) -> Array:
    """The real matrix (2^q, 2^q) of a matrix that commutes with T, from its first 2^(q-1) columns (2, 2^q, 2^(q-1))."""
    u, v = _real_parts(columns).swapaxes(0, 1)  # z is (f_z - i g_z) / root of 2
    return jnp.concatenate([u, -v], 1)


@jax.custom_jvp
def apply(matrix: Array, s: Array) -> Array:
    """Product of a block, as a real matrix (2^q, 2^q), and states (2, 2^q, N)."""
    x = to_real(s)
    return from_real(_contract(matrix, x.reshape(len(x), -1), 1, 0).reshape(x.shape))


@apply.defjvp
def _apply_jvp(primals, tangents):
    (matrix, s), (d_matrix, d_s) = primals, tangents
    by_states = linear_map(apply, _to_states, (matrix,), (d_s,))
    return apply(matrix, s), by_states + linear_map(_of_matrix, _to_matrix, (s,), (d_matrix,))


# The cotangents of `apply` with the images last. The general rule puts them first, and what then reads the result
# along the images reads it with a stride.


def _contract(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), precision=lax.Precision.HIGHEST)


def _to_states(matrix: Array, cotangent: Array) -> tuple[Array]:
    x = to_real(cotangent)
    return (from_real(_contract(matrix, x.reshape(len(x), -1), 0, 0).reshape(x.shape)),)


def _of_matrix(s: Array, matrix: Array) -> Array:
    return apply(matrix, s)


def _to_matrix(s: Array, cotangent: Array) -> tuple[Array]:
    x, y = to_real(s), to_real(cotangent)
    return (_contract(y.reshape(len(y), -1), x.reshape(len(x), -1), 1, 1),)


# --- blocks ----------------------------------------------------------------------------------------------------------


def first_wires(q: int) -> int:
    """How many wires make the first half; an even number, so that either half has a real basis."""
    return 2 * -(-q // 4)


def _basis(wires: int) -> np.ndarray:
    """The real basis of `to_real` as columns; without wires, 1."""
    if not wires:
        return np.ones((1, 1))
    states = np.eye(2**wires, 2 ** (wires - 1))
    reversed_ = _reversal_signs(wires).T * states[::-1]
    return np.sqrt(0.5) * np.concatenate([states + reversed_, 1j * (states - reversed_)], 1)


@lru_cache
def _halves(q: int) -> tuple[np.ndarray, ...]:
    """The real basis of all wires, and the CZ ring, in the product of the real bases of both halves.

    Returns:
        Source and factor (2^q, 2), twice: from the former to the latter, up to a factor, and back; then source and sign
        (2^q, 1) of the ring.
    """
    product = np.kron(_basis(first_wires(q)), _basis(q - first_wires(q)))
    to_product = np.sign((product.conj().T @ _basis(q)).real.round(3))
    ring = (product.conj().T * ring_signs(q) @ product).real.round()

    def largest(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        source = np.argsort(-abs(matrix), axis=1)[:, :count]
        return source.astype(np.int32), np.take_along_axis(matrix, source, 1)

    return *largest(to_product, 2), *largest(to_product.T / abs(to_product).sum(0)[:, None], 2), *largest(ring, 1)


def _combine(x: Array, source: np.ndarray, factor: np.ndarray) -> Array:
    """Rows sum_k factor[:, k] x[source[:, k]]."""
    factor = jnp.asarray(factor, x.dtype)
    return sum(factor[:, k, None] * x[source[:, k]] for k in range(source.shape[1]))


def _half_rotations(v: Array) -> Array:
    """Rotations (d, wires, 2, 2) of one half as real matrices (d, 2^wires, 2^wires)."""
    if not v.shape[1]:
        return jnp.ones((len(v), 1, 1), v.real.dtype)
    columns = kron(v)
    columns = columns[..., : columns.shape[-1] // 2]
    return jax.vmap(_real_matrix)(jnp.stack([columns.real, columns.imag], 1))


def _real_layers(angles: Array, x: Array) -> Array:
    """Runs columns x (2^q, N) in the real basis through the layers.

    A layer is A kron B and the ring, A on the first and B on the other half of the wires. In the product of the real
    bases of the halves both are real, and the ring is a permutation with signs.

    Returns:
        (2^q, N).
    """
    q = angles.shape[-1]
    v = _matrix(_layer_rotations(angles))
    a, b = _half_rotations(v[:, : first_wires(q)]), _half_rotations(v[:, first_wires(q) :])
    into, into_factor, out, out_factor, ring, ring_sign = _halves(q)

    def layer(x, matrices):
        a, b = matrices
        x = einsum("ab,bn->an", a, x.reshape(len(a), -1)).reshape(len(a), len(b), -1)
        x = einsum("zab,zbn->zan", jnp.broadcast_to(b, (len(a), *b.shape)), x)  # as a batch: then nothing is moved
        return _combine(x.reshape(2**q, -1), ring, ring_sign), None

    return _combine(lax.scan(layer, _combine(x, into, into_factor), (a, b))[0], out, out_factor)


def apply_layers(angles: Array, states: Array) -> Array:
    """Runs states (2, 2^q, N) through the layers with angles (d, 2, q).

    Returns:
        (2, 2^q, N).
    """
    x = to_real(states)
    return from_real(_real_layers(angles, x.reshape(len(x), -1)).reshape(x.shape))


def _half_layers(angles: Array) -> list[list[Array]]:
    """What each half layer does to Pauli strings: a matrix (2 d, ., .) for each unit and parity."""
    d, _, q = angles.shape
    wires = _adjoint(_layer_rotations(angles)).reshape(2 * d, q // 2, 4, 4)
    found, start = [], 0
    for size in _units(q):
        unit = kron(wires[:, start : start + size])
        found.append([unit[:, strings[:, None], strings] for strings in by_parity(size)])
        start += size
    return found


def _turn(t: Array, q: int, units: list[list[Array]]) -> Array:
    """Applies a half layer to the first half of the wires."""
    out, start = [], 0
    for pattern, columns in _odd_strings(q).pieces:
        matrices = [unit[parity] for unit, parity in zip(units, pattern, strict=True)]
        stop = start + math.prod(map(len, matrices)) * columns
        x, before = t[start:stop], 1
        for m in matrices:  # as a batch of products, because then nothing is moved
            x = einsum("pab,pbn->pan", jnp.broadcast_to(m, (before, *m.shape)), x.reshape(before, len(m), -1))
            before *= len(m)
        out.append(x.ravel())
        start = stop
    return jnp.concatenate(out)


def _pull_back(angles: Array, rates: Array) -> Array:
    """Coefficients of T in dU = -i/2 U T, for rates d(angles) of shape (d, 2, q).

    Layer by layer from the last to the first, T <- L^dagger T L + sum_w (rate of RX_w) X_w + ... : the generator of
    each gate is added where it acts and carried back through the gates before it.

    Returns:
        (n,), in the order of `_odd_strings`.
    """
    d, _, q = angles.shape
    strings = _odd_strings(q)
    first, second = (strings.generators[:, {"X": 2, "Y": 3}[axis]] for axis in LAYER_AXES)
    source, sign = strings.backward[0], jnp.asarray(strings.backward[1], angles.dtype)

    def half_layer(t, x):
        side, units, rate = x
        t = (t[jnp.asarray(source)[side]] * sign[side]).at[second].add(rate[1])
        return _turn(t, q, units).at[first].add(rate[0]), None

    rates = rates.reshape(d, 2, 2, q // 2).swapaxes(1, 2).reshape(2 * d, 2, -1)  # by half layer
    x = jnp.arange(2 * d) % 2, _half_layers(angles), rates
    return lax.scan(half_layer, jnp.zeros(len(strings.number), angles.dtype), x, reverse=True)[0]


def _push_forward(angles: Array, t: Array) -> tuple[Array]:
    """The transpose of `_pull_back`: from a cotangent (n,) to that of the rates."""
    d, _, q = angles.shape
    strings = _odd_strings(q)
    first, second = (strings.generators[:, {"X": 2, "Y": 3}[axis]] for axis in LAYER_AXES)
    source, sign = strings.forward[0], jnp.asarray(strings.forward[1], angles.dtype)

    def half_layer(t, x):
        side, units = x
        turned = _turn(t, q, units)
        return turned[jnp.asarray(source)[side]] * sign[side], jnp.stack([t[first], turned[second]])

    units = jax.tree.map(lambda m: m.swapaxes(1, 2), _half_layers(angles))
    rates = lax.scan(half_layer, t, (jnp.arange(2 * d) % 2, units))[1]
    return (rates.reshape(d, 2, 2, q // 2).swapaxes(1, 2).reshape(d, 2, q),)


def _generator(t: Array, q: int) -> Array:
    """The matrix -i/2 T of a sum of Pauli strings of odd weight with coefficients t (n,), as a real matrix."""
    place, power, hadamard, row = _paulis_to_matrix(q)
    half = 2 ** (q - 1)
    t = jnp.zeros(4**q, t.dtype).at[place].set(0.5 * t, unique_indices=True).reshape(2**q, 2**q)
    terms = jnp.stack([t * np.array([0, 1, 0, -1])[power], -t * np.array([1, 0, -1, 0])[power]])
    by_flip = einsum("cxz,zj->cxj", terms.astype(t.dtype), jnp.asarray(hadamard[:, :half], t.dtype))
    return _real_matrix(by_flip[:, row[:, :half], np.arange(half, dtype=np.int32)])


@jax.custom_jvp
def block_matrix(angles: Array) -> Array:
    """A block of layers, each with its CZ ring, as a real matrix.

    Args:
        angles: (d, 2, q) in rad, axes (layer, RX/RY, wire); q even.

    Returns:
        (2^q, 2^q), orthogonal, for `apply`.
    """
    return _real_layers(angles, jnp.eye(2 ** angles.shape[-1], dtype=angles.dtype))


@block_matrix.defjvp
def _block_matrix_jvp(primals, tangents):
    (angles,), (rates,) = primals, tangents
    u = block_matrix(angles)
    t = linear_map(_pull_back, _push_forward, (angles,), (rates,))
    return u, einsum("ab,bc->ac", u, _generator(t, angles.shape[-1]))
