"""Block matrices and their derivative rule against products of dense gates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from patchscape.circuit import blocks
from patchscape.circuit.ansatz import gates
from patchscape.config import ModelConfig

pytestmark = pytest.mark.usefixtures("x64")
each_size = pytest.mark.parametrize(("q", "depth"), [(2, 1), (2, 3), (4, 2), (6, 2)])


def draw(depth, q, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (depth, 2, q))


def first_block(q, depth):
    """The gates of block 1: its rotations have the first indices, its rings follow its layers."""
    cfg = ModelConfig(n_patches=1, depth=depth, n_qubits=q, image_side=q, n_classes=2)
    return gates(cfg)[: 3 * q * depth]


def unitary(angles):
    """The block as a complex matrix, (2, 2^q, 2^q): what it makes of every basis state."""
    size = 2 ** angles.shape[-1]
    identity = jnp.stack([jnp.eye(size), jnp.zeros((size, size))]).astype(angles.dtype)
    return blocks.apply(blocks.block_matrix(angles), identity)


def complex_(u):
    return np.asarray(u[0]) + 1j * np.asarray(u[1])


@each_size
def test_a_block_equals_the_product_of_its_gates(q, depth):
    angles = draw(depth, q)
    u = complex_(jax.jit(unitary)(jnp.asarray(angles)))
    np.testing.assert_allclose(u, oracle.unitary(q, first_block(q, depth), angles.ravel()), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("q", "depth"), [(2, 1), (4, 5), (8, 3)])
def test_a_block_is_unitary(q, depth):
    u = complex_(jax.jit(unitary)(jnp.asarray(draw(depth, q))))
    np.testing.assert_allclose(u.conj().T @ u, np.eye(2**q), rtol=0, atol=1e-12)


def test_a_deep_block_stays_unitary_in_single_precision():
    u = complex_(jax.jit(unitary)(jnp.asarray(draw(200, 6), jnp.float32)))
    np.testing.assert_allclose(u.conj().T @ u, np.eye(64), rtol=0, atol=2e-5)


def test_a_block_of_zero_angles_is_its_rings():
    u = complex_(jax.jit(unitary)(jnp.zeros((1, 2, 4))))
    bits = (np.arange(16)[:, None] >> np.arange(4)[::-1]) & 1
    ring = (-1.0) ** (bits * np.roll(bits, -1, axis=1)).sum(1)
    np.testing.assert_allclose(u, np.diag(ring), rtol=0, atol=1e-15)
    two = complex_(jax.jit(unitary)(jnp.zeros((2, 2, 4))))
    np.testing.assert_allclose(two, np.eye(16), rtol=0, atol=1e-15)


def test_the_two_gates_of_a_ring_on_two_wires_cancel():
    assert blocks.ring_signs(2).tolist() == [1, 1, 1, 1]


@each_size
def test_the_derivative_of_a_block_is_that_of_its_gates(q, depth):
    angles, rates = draw(depth, q), draw(depth, q, seed=1)
    _, du = jax.jit(lambda a, r: jax.jvp(unitary, (a,), (r,)))(angles, rates)
    sequence, h = first_block(q, depth), 1e-5
    ahead, behind = (oracle.unitary(q, sequence, (angles + s * rates).ravel()) for s in (h, -h))
    np.testing.assert_allclose(complex_(du), (ahead - behind) / (2 * h), rtol=0, atol=1e-8)


def string(number, q):
    """The dense Pauli string with base-4 digits I, Z, X, Y of its wires."""
    paulis = {"I": np.eye(2), **oracle.PAULI}
    return functools.reduce(np.kron, [paulis["IZXY"[number >> 2 * (q - 1 - wire) & 3]] for wire in range(q)])


@pytest.mark.parametrize("q", [2, 4, 6])
def test_two_half_layers_carry_an_odd_string_as_the_gates_do(q):
    strings, random = blocks._odd_strings(q), np.random.default_rng(q)
    n, angles = len(strings.number), draw(1, q)
    assert len(set(strings.number)) == n == (4**q - 2**q) // 2
    start = random.integers(n)
    t = np.eye(n)[start]
    for side in range(2):
        units = jax.tree.map(lambda m, side=side: m[side].T, blocks._half_layers(jnp.asarray(angles)))
        turned = np.asarray(blocks._turn(jnp.asarray(t), q, units))
        (source, sign), (back, back_sign) = ((x[side] for x in table) for table in (strings.forward, strings.backward))
        t = turned[source] * sign
        np.testing.assert_array_equal(t[back] * back_sign, turned)
    layer = oracle.unitary(q, first_block(q, 1), angles.ravel())
    carried = layer @ string(strings.number[start], q) @ layer.conj().T
    for i in [*np.argsort(-abs(t))[:3], *random.integers(n, size=10)]:
        expected = np.trace(string(strings.number[i], q) @ carried).real / 2**q
        np.testing.assert_allclose(t[i], expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.sum(t**2), 1, rtol=1e-12)


def test_the_derivative_of_every_single_angle_is_exact():
    # A rotation's derivative is the same gate turned by pi, divided by two.
    q, depth = 4, 2
    angles = draw(depth, q)
    jacobian = np.asarray(jax.jit(jax.jacfwd(unitary))(jnp.asarray(angles))).reshape(2, 16, 16, -1)
    for k in range(angles.size):
        shifted = angles.ravel().copy()
        shifted[k] += np.pi
        expected = oracle.unitary(q, first_block(q, depth), shifted) / 2
        np.testing.assert_allclose(complex_(jacobian[..., k]), expected, rtol=0, atol=1e-12)


def test_reverse_mode_is_the_transpose_of_forward_mode():
    angles = jnp.asarray(draw(2, 4))
    weight = jnp.asarray(np.random.default_rng(2).normal(size=(2, 16, 16)))
    f = lambda a: jnp.vdot(weight, unitary(a))  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.grad(f))(angles), jax.jit(jax.jacfwd(f))(angles), rtol=0, atol=1e-12)


def test_layers_act_on_states_as_the_block_does():
    random, angles = np.random.default_rng(3), draw(3, 4)
    states = random.normal(size=(2, 16, 5))
    out = jax.jit(blocks.apply_layers)(jnp.asarray(angles), jnp.asarray(states))
    expected = oracle.unitary(4, first_block(4, 3), angles.ravel()) @ complex_(states)
    np.testing.assert_allclose(complex_(out), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("q", [2, 4, 6])
def test_the_real_basis_is_that_of_time_reversal(q):
    random = np.random.default_rng(4)
    s = random.normal(size=(2, 2**q, 3))
    reversal = functools.reduce(np.kron, [oracle.PAULI["Y"]] * q)
    parts = np.asarray(blocks.to_real(jnp.asarray(s)))
    again = np.asarray(blocks.from_real(jnp.asarray(parts)))
    np.testing.assert_allclose(again, s, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.square(parts).sum((0, 1)), np.square(s).sum((0, 1)), rtol=1e-13)
    for part in range(2):
        alone = parts * (np.arange(2) == part)[:, None]
        own = complex_(blocks.from_real(jnp.asarray(alone))) * (1, -1j)[part]
        np.testing.assert_allclose(reversal @ own.conj() * (-1) ** (q // 2), own, rtol=0, atol=1e-14)


def test_a_matrix_acts_on_both_real_parts_of_a_state():
    random = np.random.default_rng(5)
    matrix, s, rates = (jnp.asarray(random.normal(size=shape)) for shape in ((16, 16), (2, 16, 3), (2, 16, 3)))
    expected = np.einsum("ab,bcn->acn", matrix, blocks.to_real(s))
    np.testing.assert_allclose(blocks.to_real(blocks.apply(matrix, s)), expected, rtol=0, atol=1e-13)
    f = lambda m, x: jnp.vdot(rates, blocks.apply(m, x) ** 2)  # noqa: E731
    for argument in range(2):
        found, other = (jax.jit(mode(f, argument))(matrix, s) for mode in (jax.grad, jax.jacfwd))
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-12)


def test_the_product_of_rotations_applies_the_right_one_first():
    a, b = 0.7, -1.9
    quaternion = blocks.multiply(blocks.rotation("X", jnp.asarray(a)), blocks.rotation("Y", jnp.asarray(b)))
    w, *xyz = map(float, quaternion)
    matrix = w * np.eye(2) - 1j * sum(c * oracle.PAULI[axis] for c, axis in zip(xyz, "XYZ", strict=True))
    rx = np.cos(a / 2) * np.eye(2) - 1j * np.sin(a / 2) * oracle.PAULI["X"]
    ry = np.cos(b / 2) * np.eye(2) - 1j * np.sin(b / 2) * oracle.PAULI["Y"]
    np.testing.assert_allclose(matrix, rx @ ry, rtol=0, atol=1e-14)


def test_single_and_double_precision_can_take_turns_in_one_process():
    gradients = []
    for double in (False, True, False):
        with jax.enable_x64(double):
            angles = jnp.asarray(np.linspace(0, 3, 8).reshape(2, 2, 2), jnp.float64 if double else jnp.float32)
            gradient = jax.jit(jax.grad(lambda a: jnp.sum(unitary(a) ** 3)))(angles)
            assert gradient.dtype == angles.dtype
            gradients.append(np.asarray(gradient))
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-5)
    np.testing.assert_array_equal(gradients[0], gradients[2])
