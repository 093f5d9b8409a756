"""The patch circuit as block unitaries: exact expectation values for many images at once.

Only two thin layers of the circuit see the image. Everything else is the same for all images, so it is built once
per parameter set:

1. block 1 acts on |0...0>: one state vector;
2. blocks 2 and 3 are 2^q x 2^q unitaries;
3. an image then costs two layers of single-qubit rotations and two matrix products, whatever the depth.

Two custom derivative rules keep derivatives of every order cheap. Both are linear in the tangent, so reverse mode is
their transpose and nothing has to be stored layer by layer:

* A block obeys dU = U Omega, where Omega is a sum of Pauli strings carried backwards through the layers
  (Heisenberg picture, `_pull_back`). In the Pauli basis a layer is a product of small rotations and a signed
  permutation, and the derivative with respect to one angle is one coefficient.
* A layer of rotations obeys ds = V ds_in - i (sum_w omega_w . sigma_w) s (`rotate`).

Numbers are real: a complex array carries a leading axis of length 2 (real part, imaginary part), because real matrix
products and element-wise loops are faster than complex ones on every device we measured. The precision follows the
inputs: float32 in, float32 out; float64 likewise.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from patchscape.circuit import ENCODING_AXES, LAYER_AXES, cz_ring, split_angles
from patchscape.config import ModelConfig

Array = jax.Array
_einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)  # without this a GPU rounds float32 products to tf32


class Prepared(NamedTuple):
    """What does not depend on the image, for one circuit.

    Attributes:
        start: (2, 2^q), the state after block 1.
        middle: (2, 2^q, 2^q), CZ ring of encoding 1, then block 2.
        last: (2, 2^q, 2^q), CZ ring of encoding 2, then block 3.
        encodings: (2, q, q/2, 2), angles around every pixel: (half, wire, pixel j, before/after).
    """

    start: Array
    middle: Array
    last: Array
    encodings: Array


# --- single-qubit rotations: w - i (x X + y Y + z Z) as the unit quaternion (w, x, y, z) ------------------------------


def _rotation(axis: str, angle: Array) -> tuple[Array, ...]:
    """RX or RY by an angle."""
    zero, c, s = jnp.zeros_like(angle), jnp.cos(angle / 2), jnp.sin(angle / 2)
    return (c, s, zero, zero) if axis == "X" else (c, zero, s, zero)


def _multiply(left: tuple[Array, ...], right: tuple[Array, ...]) -> tuple[Array, ...]:
    """Product of two rotations; the right one acts first."""
    (a, b, c, d), (w, x, y, z) = left, right
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def _matrix(rotation: tuple[Array, ...]) -> Array:
    """The 2 x 2 unitary, complex (..., 2, 2)."""
    w, x, y, z = rotation
    return jnp.stack([jnp.stack([w - 1j * z, -1j * x - y], -1), jnp.stack([-1j * x + y, w + 1j * z], -1)], -2)


def _adjoint(rotation: tuple[Array, ...]) -> Array:
    """V^dagger P V in the basis (I, Z, X, Y): a real matrix (..., 4, 4) acting on coefficients."""
    w, x, y, z = rotation
    one, zero = jnp.ones_like(w), jnp.zeros_like(w)
    columns = [
        (one, zero, zero, zero),
        (zero, 1 - 2 * (x * x + y * y), 2 * (x * z - w * y), 2 * (y * z + w * x)),
        (zero, 2 * (x * z + w * y), 1 - 2 * (y * y + z * z), 2 * (x * y - w * z)),
        (zero, 2 * (y * z - w * x), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z)),
    ]
    return jnp.stack([jnp.stack(column, -1) for column in columns], -1)


def _kron(matrices: Array) -> Array:
    """Kronecker product over the third axis from the end: (..., k, m, m) -> (..., m^k, m^k)."""
    out = matrices[..., 0, :, :]
    for i in range(1, matrices.shape[-3]):
        side = out.shape[-1] * matrices.shape[-1]
        out = _einsum("...ab,...cd->...acbd", out, matrices[..., i, :, :]).reshape(*out.shape[:-2], side, side)
    return out


# --- constant tables -------------------------------------------------------------------------------------------------


def _bits(q: int) -> np.ndarray:
    """Bits (2^q, q) of every basis state, wire 0 first."""
    return (np.arange(2**q)[:, None] >> np.arange(q)[::-1]) & 1


@lru_cache
def _ring_signs(q: int) -> np.ndarray:
    """Diagonal (2^q,) of the CZ ring."""
    bits = _bits(q)
    return np.prod([1 - 2 * bits[:, g.wires[0]] * bits[:, g.wires[1]] for g in cz_ring(q)], axis=0)


@lru_cache
def _ring_on_paulis(q: int) -> tuple[np.ndarray, np.ndarray]:
    """The CZ ring on coefficients of Pauli strings: new[i] = sign[i] * old[source[i]].

    Strings i^(x.z) X^x Z^z are numbered by the base-4 digits 2 x + z of their wires.
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


@lru_cache
def _paulis_to_matrix(q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tables for M[j ^ x, j] = sum_z i^(x.z) (-1)^(z.j) T[x, z].

    Returns:
        The number of string (x, z); the power of i; the signs (-1)^(z.j); and j ^ x as a row index.
    """
    bits, states = _bits(q), np.arange(2**q)
    number = (2 * bits[:, None] + bits[None]) @ 4 ** np.arange(q)[::-1]
    return number, (bits @ bits.T) % 4, 1 - 2 * (bits @ bits.T % 2), states[:, None] ^ states


# --- blocks ----------------------------------------------------------------------------------------------------------


def _product(u: Array, s: Array) -> Array:
    """Complex product of u (2, m, k) and s (2, k, N) as one real product of twice the size."""
    real = jnp.concatenate([jnp.concatenate([u[0], -u[1]], 1), jnp.concatenate([u[1], u[0]], 1)])
    return jnp.matmul(real, s.reshape(-1, s.shape[-1]), precision=lax.Precision.HIGHEST).reshape(2, -1, s.shape[-1])


def _apply_layers(angles: Array, states: Array) -> Array:
    """Runs states (2, 2^q, N) through the layers with angles (d, 2, q).

    A layer is (A kron B) and signs, A on the first and B on the last half of the wires. With the state kept as
    (re/im, A index, N, B index), A is a product from the left and B one from the right, and nothing is transposed.
    """
    q = angles.shape[-1]
    m, n = 2 ** (q // 2), states.shape[-1]
    v = _matrix(_multiply(*(_rotation(axis, angles[:, a]) for a, axis in reversed(list(enumerate(LAYER_AXES))))))
    a, b = _kron(v[:, : q // 2]), _kron(v[:, q // 2 :]).swapaxes(1, 2)
    left = jnp.concatenate([jnp.concatenate([a.real, -a.imag], 2), jnp.concatenate([a.imag, a.real], 2)], 1)
    right_re, right_im = jnp.concatenate([b.real, b.imag], 2), jnp.concatenate([-b.imag, b.real], 2)
    signs = jnp.asarray(_ring_signs(q).reshape(m, 1, m), angles.dtype)

    def layer(s, matrices):
        left, right_re, right_im = matrices
        s = _einsum("ab,bn->an", left, s.reshape(2 * m, n * m)).reshape(2, m * n, m)
        s = _einsum("nb,bc->nc", s[0], right_re) + _einsum("nb,bc->nc", s[1], right_im)
        s = s.reshape(m, n, 2, m).transpose(2, 0, 1, 3) * signs
        return s, None

    s = states.reshape(2, m, m, n).swapaxes(2, 3)
    return lax.scan(layer, s, (left, right_re, right_im))[0].swapaxes(2, 3).reshape(2, -1, n)


def _pull_back(angles: Array, rates: Array) -> Array:
    """Coefficients (4^q,) of T in dU = -i/2 U T, for rates d(angles) of shape (d, 2, q).

    Layer by layer from the last to the first, T <- L^dagger T L + sum_w (rate of RX_w) X_w + ... : the generator of
    each gate is added where it acts and carried back through the gates before it.
    """
    q = angles.shape[-1]
    rotations = _multiply(*(_rotation(axis, angles[:, a]) for a, axis in reversed(list(enumerate(LAYER_AXES)))))
    pairs = _kron(_adjoint(rotations).reshape(-1, q // 2, 2, 4, 4))
    source, sign = _ring_on_paulis(q)
    generator = {axis: {"X": 2, "Y": 3}[axis] * 4 ** np.arange(q)[::-1] for axis in LAYER_AXES}
    first, second = (generator[axis] for axis in LAYER_AXES)
    sign = jnp.asarray(sign, angles.dtype)

    def layer(t, x):
        pairs, rate = x
        t = (t[source] * sign).at[second].add(rate[1])
        for i in range(q // 2):  # each product moves its pair of wires from the front to the back
            t = _einsum("ab,bn->na", pairs[i], t.reshape(16, -1))
        return t.reshape(-1).at[first].add(rate[0]), None

    return lax.scan(layer, jnp.zeros(4**q, angles.dtype), (pairs, rates), reverse=True)[0]


def _generator(t: Array, q: int) -> Array:
    """The matrix -i/2 T, (2, 2^q, 2^q), of a sum of Pauli strings with coefficients t (4^q,)."""
    number, power, hadamard, row = _paulis_to_matrix(q)
    t = 0.5 * t[number]
    terms = jnp.stack([t * np.array([0, 1, 0, -1])[power], -t * np.array([1, 0, -1, 0])[power]])
    by_flip = _einsum("cxz,zj->cxj", terms.astype(t.dtype), jnp.asarray(hadamard, t.dtype))
    return by_flip[:, row, np.arange(2**q)]


@jax.custom_jvp
def block_unitary(angles: Array) -> Array:
    """Unitary of a block of layers, each with its CZ ring.

    Args:
        angles: (d, 2, q) in rad, axes (layer, RX/RY, wire).

    Returns:
        (2, 2^q, 2^q), real and imaginary part.
    """
    q = angles.shape[-1]
    identity = jnp.stack([jnp.eye(2**q, dtype=angles.dtype), jnp.zeros((2**q, 2**q), angles.dtype)])
    return _apply_layers(angles, identity)


@block_unitary.defjvp
def _block_unitary_jvp(primals, tangents):
    (angles,), (rates,) = primals, tangents
    u = block_unitary(angles)
    return u, _product(u, _generator(_pull_back(angles, rates), angles.shape[-1]))


# --- the image-dependent layers --------------------------------------------------------------------------------------


def _first_wire(s: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Splits states (2, 2^q, N) by the bit of the first wire: (re 0, re 1), (im 0, im 1)."""
    (r0, r1), (i0, i1) = s.reshape(2, 2, -1, s.shape[-1])
    return (r0, r1), (i0, i1)


def _to_last_wire(zero: tuple[Array, Array], one: tuple[Array, Array]) -> Array:
    """Joins the (re, im) of both bit values, the bit moved to the last wire: after q wires the order is restored."""
    return jnp.stack([jnp.stack([a, b], 1) for a, b in zip(zero, one, strict=True)]).reshape(2, -1, zero[0].shape[-1])


@jax.custom_jvp
def rotate(rotations: Array, states: Array) -> Array:
    """Rotates every wire of every state by its own unit quaternion.

    Args:
        rotations: (4, q, N), components (w, x, y, z) of w - i (x X + y Y + z Z).
        states: (2, 2^q, N).

    Returns:
        (2, 2^q, N).
    """

    def wire(s, rotation):
        w, x, y, z = rotation
        (r0, r1), (i0, i1) = _first_wire(s)
        zero = (w * r0 + z * i0 + x * i1 - y * r1, w * i0 - z * r0 - x * r1 - y * i1)
        one = (w * r1 - z * i1 + x * i0 + y * r0, w * i1 + z * r1 - x * r0 + y * i0)
        return _to_last_wire(zero, one), None

    return lax.scan(wire, states, rotations.swapaxes(0, 1))[0]


def _turn(omega: Array, states: Array) -> Array:
    """Applies -i sum_w omega_w . sigma_w, with omega (3, q, N), to states (2, 2^q, N); linear in omega."""

    def wire(carry, omega):
        s, total = carry
        x, y, z = omega
        (r0, r1), (i0, i1) = _first_wire(s)
        (tr0, tr1), (ti0, ti1) = _first_wire(total)
        zero = (tr0 + z * i0 + x * i1 - y * r1, ti0 - z * r0 - x * r1 - y * i1)
        one = (tr1 - z * i1 + x * i0 + y * r0, ti1 + z * r1 - x * r0 + y * i0)
        return (_to_last_wire((r0, i0), (r1, i1)), _to_last_wire(zero, one)), None

    return lax.scan(wire, (states, jnp.zeros_like(states)), omega.swapaxes(0, 1))[0][1]


@rotate.defjvp
def _rotate_jvp(primals, tangents):
    (rotations, states), (d_rotations, d_states) = primals, tangents
    w, x, y, z = rotations
    omega = jnp.stack(_multiply(tuple(d_rotations), (w, -x, -y, -z))[1:])  # dV V^dagger
    out = rotate(rotations, states)
    return out, rotate(rotations, d_states) + _turn(omega, out)


def _encoding_rotations(encoding: Array, pixels: Array) -> Array:
    """The rotation (4, q, N) of each wire: the author's sequence around its q/2 pixels.

    Args:
        encoding: (q, q/2, 2).
        pixels: (q, q/2, N), angles in rad.
    """
    total = None
    for j in range(encoding.shape[1]):
        first, middle, last = ENCODING_AXES[j % 2]
        factor = _multiply(_rotation(middle, pixels[:, j]), _rotation(first, encoding[:, j, :1]))
        factor = _multiply(_rotation(last, encoding[:, j, 1:]), factor)
        total = factor if total is None else _multiply(factor, total)
    return jnp.stack(total)


# --- one circuit -----------------------------------------------------------------------------------------------------


def prepare(cfg: ModelConfig, phi: Array) -> Prepared:
    """Builds everything that does not depend on the image, for one circuit.

    Args:
        cfg: the model.
        phi: (n_params_per_qnn,) in rad.

    Returns:
        The start state, the two unitaries and the encoding angles.
    """
    q = cfg.n_qubits
    (first, second, third), encodings = split_angles(cfg, phi)
    zero_state = jnp.zeros((2, 2**q, 1), phi.dtype).at[0, 0].set(1)
    signs = jnp.asarray(_ring_signs(q), phi.dtype)
    last = signs[:, None] * block_unitary(third)  # undoes the ring after the last layer, which the ansatz leaves out
    return Prepared(
        _apply_layers(first, zero_state)[..., 0],
        block_unitary(second) * signs,
        last * signs,
        jnp.stack(encodings),
    )


def expectations(cfg: ModelConfig, prepared: Prepared, patches: Array) -> Array:
    """Expectation values of one circuit for many patches.

    Args:
        cfg: the model.
        prepared: from `prepare`.
        patches: (N, q*q) angles in rad.

    Returns:
        (N, K) expectation values in [-1, 1]: the X's, then the Z's (`circuit.observables`).
    """
    q, n = cfg.n_qubits, patches.shape[0]
    pixels = patches.T.reshape(2, q, q // 2, n)
    start = jnp.broadcast_to(prepared.start[..., None], (*prepared.start.shape, n))
    s = rotate(_encoding_rotations(prepared.encodings[0], pixels[0]), start)
    s = _product(prepared.middle, s)
    s = rotate(_encoding_rotations(prepared.encodings[1], pixels[1]), s)
    s = _product(prepared.last, s)
    return _measure(cfg, s).T


def _measure(cfg: ModelConfig, s: Array) -> Array:
    """Expectation values (K, N) of the observables in states (2, 2^q, N)."""
    half = cfg.n_classes // 2
    z = _einsum("sk,sn->kn", jnp.asarray(1 - 2 * _bits(cfg.n_qubits)[:, :half], s.dtype), jnp.sum(s * s, axis=0))
    views = [s.reshape(2, 2**wire, 2, -1, s.shape[-1]) for wire in range(half)]
    x = [2 * jnp.sum(v[:, :, 0] * v[:, :, 1], axis=(0, 1, 2)) for v in views]
    return jnp.concatenate([jnp.stack(x), z])
