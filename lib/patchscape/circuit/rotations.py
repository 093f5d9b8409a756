"""Layers of single-qubit rotations on many states, and their derivative.

A rotation w - i (x X + y Y + z Z) is a unit quaternion (w, x, y, z). The states are (re/im, 2^q, N), images last, so
that every operation runs along contiguous numbers.

Plain reverse mode would store a state for every wire. Here it stores none: a layer is unitary, so that states are
carried back by its inverse, and the derivative with respect to a rotation is the correlation of the cotangent with
the state after the layer, because rotations of different wires commute.
"""

import jax
import jax.numpy as jnp
from jax import lax

from patchscape.numerics.linear import linear_map

Array = jax.Array
Quaternion = tuple[Array, Array, Array, Array]


def rotation(axis: str, angle: Array) -> Quaternion:
    """RX or RY by an angle in rad, as four arrays like the angle."""
    zero, c, s = jnp.zeros_like(angle), jnp.cos(angle / 2), jnp.sin(angle / 2)
    return (c, s, zero, zero) if axis == "X" else (c, zero, s, zero)


def multiply(left: Quaternion, right: Quaternion) -> Quaternion:
    """Product of two rotations, each four arrays of one shape; the right one acts first."""
    (a, b, c, d), (w, x, y, z) = left, right
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def inverse(rotations: Array) -> Array:
    """Inverse of rotations, unit quaternions (4, ...), of the same shape."""
    return jnp.concatenate([rotations[:1], -rotations[1:]])


@jax.custom_jvp
def rotate(rotations: Array, states: Array) -> Array:
    """Rotates every wire of every state.

    Args:
        rotations: (4, q, N), unit quaternions. Derivatives are right along the unit sphere, which is all there is.
        states: (2, 2^q, N).

    Returns:
        (2, 2^q, N).
    """
    return _rotate(rotations, states)


@rotate.defjvp
def _rotate_jvp(primals, tangents):
    after = rotate(*primals)
    return after, linear_map(_tangent, _tangent_transpose, (*primals, after), tangents)


def _rotate(rotations: Array, states: Array) -> Array:
    def wire(s, rotation):
        w, x, y, z = rotation
        (r0, r1), (i0, i1) = s.reshape(2, 2, -1, s.shape[-1])  # by the bit of the first wire
        re = [w * r0 + z * i0 + x * i1 - y * r1, w * r1 - z * i1 + x * i0 + y * r0]
        im = [w * i0 - z * r0 - x * r1 - y * i1, w * i1 + z * r1 - x * r0 + y * i0]
        # The bit moves to the last wire: after q wires the order is restored.
        return jnp.stack([jnp.stack(re, 1), jnp.stack(im, 1)]).reshape(s.shape), None

    return lax.scan(wire, states, rotations.swapaxes(0, 1))[0]


def _tangent(rotations: Array, states: Array, after: Array, d_rotations: Array, d_states: Array) -> Array:
    """Derivative of `rotate` along (d_rotations, d_states); `after`, its value, is there for the transpose."""
    del after
    return jax.jvp(_rotate, (rotations, states), (d_rotations, d_states))[1]


def _tangent_transpose(rotations: Array, states: Array, after: Array, cotangent: Array) -> tuple[Array, Array]:
    """Cotangents of (d_rotations, d_states)."""
    del states
    w, x, y, z = rotations
    generator = lambda d: jnp.stack(multiply(tuple(d), (w, -x, -y, -z))[1:])  # noqa: E731  dV V^dagger
    return (
        jax.linear_transpose(generator, rotations)(_correlate(cotangent, after))[0],
        rotate(inverse(rotations), cotangent),
    )


def _correlate(cotangent: Array, states: Array) -> Array:
    """Re <cotangent| -i sigma |states> for X, Y and Z on every wire: (3, q, N)."""
    n = states.shape[-1]
    n_wires = (states.shape[1] - 1).bit_length()
    found = []
    for wire in range(n_wires):  # not a scan: both arrays are read where they are, nothing is moved

        def by_bit(s, wire=wire):
            return s.reshape(2, 2**wire, 2, -1, n).swapaxes(1, 2).reshape(2, 2, -1, n)

        ((a0, a1), (b0, b1)), ((r0, r1), (i0, i1)) = by_bit(cotangent), by_bit(states)
        x = a0 * i1 - b0 * r1 + a1 * i0 - b1 * r0
        y = a1 * r0 + b1 * i0 - a0 * r1 - b0 * i1
        z = a0 * i0 - b0 * r0 - a1 * i1 + b1 * r1
        found.append(jnp.stack([x, y, z]).sum(1))
    return jnp.stack(found, 1)
