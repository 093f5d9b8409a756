"""Unitaries of the deep blocks, which do not depend on the image, and their derivative.

Every rotation, and the ring of CZ gates, commutes with the time reversal T = (iY)^q K (K: complex conjugation; the
chapters on the spectrum and on speed say why). For even q, T^2 = 1, and there is a basis of states with T f = f: in it
a block is a real orthogonal 2^q x 2^q matrix, which acts alike on the two real parts of a state. That halves the
operations of a complex product (`apply`), and only half of the columns have to be built.

The columns are built layer by layer. The derivative of a block U obeys dU = U Omega, where Omega is a sum of Pauli
strings carried backwards through the layers (Heisenberg picture, `_pull_back`). In the Pauli basis a layer is a
product of small rotations and a signed permutation, and the derivative with respect to one angle is one coefficient.
The rule is linear in the tangent, so that reverse mode is its transpose: nothing is stored layer by layer, and
derivatives of every order follow from it.

Numbers are real: a complex array carries a leading axis of length 2 (real part, imaginary part), because real matrix
products were faster than complex ones wherever we measured. The precision follows the inputs: float32 in, float32
out; float64 likewise.
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.circuit import LAYER_AXES, cz_ring
from patchscape.linear import linear_map
from patchscape.rotations import multiply, rotation

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
@lru_cache
def _ring_on_paulis(q: int) -> tuple[np.ndarray, np.ndarray]:
    """The CZ ring on coefficients of Pauli strings: new[i] = sign[i] * old[source[i]].

    Strings i^(x.z) X^x Z^z are numbered by the base-4 digits 2 x + z of their wires.

    Returns:
        Source and sign, (4^q,) each.
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
    return ((2 * x + moved) @ place).astype(np.int32), sign


@lru_cache
def _paulis_to_matrix(q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tables for M[j ^ x, j] = sum_z i^(x.z) (-1)^(z.j) T[x, z].

    Returns:
        The number of string (x, z); the power of i; the signs (-1)^(z.j); and j ^ x as a row index.
    """
    bits, states = basis_bits(q), np.arange(2**q)
    number = (2 * bits[:, None] + bits[None]) @ 4 ** np.arange(q)[::-1]
    row = states[:, None] ^ states
    return number.astype(np.int32), (bits @ bits.T) % 4, 1 - 2 * (bits @ bits.T % 2), row.astype(np.int32)


# --- the real basis --------------------------------------------------------------------------------------------------


def _reversal_signs(q: int) -> np.ndarray:
    """Signs (2^(q-1), 1) with T z = sign * (not z), for basis states z that start with 0."""
    return (1 - 2 * (basis_bits(q).sum(1) % 2))[: 2 ** (q - 1), None]


def to_real(s: Array) -> Array:
    """States (2, 2^q, N) as their two real parts u and v, s = u + i v with T u = u and T v = v.

    The real basis, for z that starts with 0: first all z + T z, then all i (z - T z), each over the root of 2.

    Returns:
        (2^q, 2, N): coefficients of u and of v. The map preserves lengths.
    """
    half = s.shape[1] // 2
    signs = jnp.asarray(_reversal_signs(s.shape[1].bit_length() - 1), s.dtype)
    (re, im), (re_not, im_not) = s[:, :half], s[:, half:][:, ::-1] * signs
    of_sums = jnp.stack([re + re_not, im + im_not], 1)
    of_differences = jnp.stack([im - im_not, re_not - re], 1)
    return jnp.concatenate([of_sums, of_differences]) * np.asarray(np.sqrt(0.5), s.dtype)


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
    u, v = to_real(columns).swapaxes(0, 1)  # z is (f_z - i g_z) / root of 2
    return jnp.concatenate([u, -v], 1) * np.asarray(np.sqrt(2), columns.dtype)


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


def apply_layers(angles: Array, states: Array) -> Array:
    """Runs states (2, 2^q, N) through the layers with angles (d, 2, q).

    A layer is (A kron B) and signs, A on the first and B on the last half of the wires. With the state kept as
    (re/im, A index, N, B index), A is a product from the left and B one from the right, and nothing is transposed.

    Returns:
        (2, 2^q, N).
    """
    q = angles.shape[-1]
    m, n = 2 ** (q // 2), states.shape[-1]
    v = _matrix(_layer_rotations(angles))
    a, b = kron(v[:, : q // 2]), kron(v[:, q // 2 :]).swapaxes(1, 2)
    left = jnp.concatenate([jnp.concatenate([a.real, -a.imag], 2), jnp.concatenate([a.imag, a.real], 2)], 1)
    right_re, right_im = jnp.concatenate([b.real, b.imag], 2), jnp.concatenate([-b.imag, b.real], 2)
    signs = jnp.asarray(ring_signs(q).reshape(m, 1, m), angles.dtype)

    def layer(s, matrices):
        left, right_re, right_im = matrices
        s = einsum("ab,bn->an", left, s.reshape(2 * m, n * m)).reshape(2, m * n, m)
        s = einsum("nb,bc->nc", s[0], right_re) + einsum("nb,bc->nc", s[1], right_im)
        s = s.reshape(m, n, 2, m).transpose(2, 0, 1, 3) * signs
        return s, None

    s = states.reshape(2, m, m, n).swapaxes(2, 3)
    return lax.scan(layer, s, (left, right_re, right_im))[0].swapaxes(2, 3).reshape(2, -1, n)


def _pull_back(angles: Array, rates: Array) -> Array:
    """Coefficients (4^q,) of T in dU = -i/2 U T, for rates d(angles) of shape (d, 2, q).

    Layer by layer from the last to the first, T <- L^dagger T L + sum_w (rate of RX_w) X_w + ... : the generator of
    each gate is added where it acts and carried back through the gates before it.

    Returns:
        (4^q,), strings numbered as in `_ring_on_paulis`.
    """
    q = angles.shape[-1]
    rotations = _layer_rotations(angles)
    pairs = kron(_adjoint(rotations).reshape(-1, q // 2, 2, 4, 4))
    source, sign = _ring_on_paulis(q)
    generator = {axis: {"X": 2, "Y": 3}[axis] * 4 ** np.arange(q)[::-1] for axis in LAYER_AXES}
    first, second = (generator[axis] for axis in LAYER_AXES)
    sign = jnp.asarray(sign, angles.dtype)

    def layer(t, x):
        pairs, rate = x
        t = (t[source] * sign).at[second].add(rate[1])
        for i in range(q // 2):  # each product moves its pair of wires from the front to the back
            t = einsum("ab,bn->na", pairs[i], t.reshape(16, -1))
        return t.reshape(-1).at[first].add(rate[0]), None

    return lax.scan(layer, jnp.zeros(4**q, angles.dtype), (pairs, rates), reverse=True)[0]


def _generator(t: Array, q: int) -> Array:
    """The matrix -i/2 T of a sum of Pauli strings of odd weight with coefficients t (4^q,), as a real matrix."""
    number, power, hadamard, row = _paulis_to_matrix(q)
    half = 2 ** (q - 1)
    t = 0.5 * t[number]
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
    q = angles.shape[-1]
    half = jnp.eye(2**q, 2 ** (q - 1), dtype=angles.dtype)
    return _real_matrix(apply_layers(angles, jnp.stack([half, jnp.zeros_like(half)])))


@block_matrix.defjvp
def _block_matrix_jvp(primals, tangents):
    (angles,), (rates,) = primals, tangents
    u = block_matrix(angles)
    return u, einsum("ab,bc->ac", u, _generator(_pull_back(angles, rates), angles.shape[-1]))
