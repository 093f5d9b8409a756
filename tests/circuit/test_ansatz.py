"""The gate list, and the simulator against the PennyLane circuit made from the same list."""

import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

from patchscape.circuit import ansatz, simulator
from patchscape.config import ModelConfig


def size(q, depth, n_classes):
    return ModelConfig(n_patches=1, depth=depth, n_qubits=q, image_side=q, n_classes=n_classes)


def draw(cfg, n, seed=0):
    random = np.random.default_rng(seed)
    phi = random.uniform(-np.pi, np.pi, cfg.n_params_per_qnn)
    return phi, random.uniform(0, 2 * np.pi / cfg.n_qubits, (n, cfg.n_qubits**2))


def fast(cfg):
    return lambda phi, patches: simulator.expectations(cfg, simulator.prepare(cfg, phi), patches)


@pytest.mark.parametrize("q", [2, 4, 6, 8, 10])
@pytest.mark.parametrize("depth", [1, 3])
def test_every_parameter_and_every_pixel_is_used_exactly_once(q, depth):
    cfg = size(q, depth, 2)
    sequence = ansatz.gates(cfg)
    used = {kind: [g.index for g in sequence if g.source == kind] for kind in ("parameter", "pixel")}
    assert used["parameter"] != []
    assert sorted(used["parameter"]) == list(range(cfg.n_params_per_qnn))
    assert sorted(used["pixel"]) == list(range(q * q))
    assert all(g.index == -1 for g in sequence if g.name == "CZ")


@pytest.mark.parametrize(("depth", "count"), [(50, 2528), (100, 4928), (150, 7328), (200, 9728)])
def test_the_papers_circuits_have_the_papers_number_of_rotations(depth, count):
    names = Counter(g.name if g.source != "pixel" else "pixel" for g in ansatz.gates(size(8, depth, 10)))
    assert names["RX"] + names["RY"] == count
    assert names["pixel"] == 64
    assert names["CZ"] == 8 * (3 * depth - 1 + 2)  # a ring per layer but the last, and one per encoding


@pytest.mark.parametrize("q", [2, 4, 8])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_last_ring_is_left_out(q, depth):
    sequence = ansatz.gates(size(q, depth, 2))
    layer = [*["RX"] * q, *["RY"] * q]
    assert [g.name for g in sequence[-2 * q :]] == layer
    assert [g.name for g in sequence[: 3 * q]] == [*layer, *["CZ"] * q]


def test_the_gates_come_in_the_authors_order():
    q, h = 4, 2
    cfg = size(q, 1, 2)
    sequence = ansatz.gates(cfg)
    # block 1: indices in their order
    assert [g.index for g in sequence[: 2 * q]] == list(range(2 * q))
    assert [g.wires for g in sequence[2 * q : 3 * q]] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    # encoding 1: wire by wire, pixel by pixel: a before, the pixel, b after; axes alternate with the pixel
    encoding = sequence[3 * q : 3 * q + 3 * q * h]
    expected, index = [], 2 * q
    for wire in range(q):
        for j in range(h):
            outer, inner = ("RY", "RX") if j % 2 == 0 else ("RX", "RY")
            expected += [
                (outer, (wire,), "parameter", index),
                (inner, (wire,), "pixel", h * wire + j),
                (outer, (wire,), "parameter", index + 1),
            ]
            index += 2
    assert [tuple(g) for g in encoding] == expected
    # encoding 2 reads the second half of the patch
    pixels = [g.index for g in sequence if g.source == "pixel"]
    assert pixels == list(range(q * q))
    # parameters are read in their flat order throughout
    assert [g.index for g in sequence if g.source == "parameter"] == list(range(cfg.n_params_per_qnn))


def test_half_of_the_classes_are_x_and_half_are_z():
    assert ansatz.observables(size(8, 1, 10)) == [(axis, k) for axis in "XZ" for k in range(5)]
    assert ansatz.observables(size(4, 1, 2)) == [("X", 0), ("Z", 0)]


def test_parameters_are_split_without_loss_also_with_leading_axes():
    cfg = size(4, 3, 2)
    phi = np.arange(2 * cfg.n_params_per_qnn).reshape(2, -1)
    blocks, encodings = ansatz.split_angles(cfg, phi)
    assert [b.shape for b in blocks] == [(2, 3, 2, 4)] * 3
    assert [e.shape for e in encodings] == [(2, 4, 2, 2)] * 2
    order = (blocks[0], encodings[0], blocks[1], encodings[1], blocks[2])
    np.testing.assert_array_equal(np.concatenate([part.reshape(2, -1) for part in order], 1), phi)


def test_parameters_of_another_length_are_refused():
    cfg = size(4, 3, 2)
    with pytest.raises(ValueError, match=r"^phi has 103 angles per circuit; depth=3 and n_qubits=4 need 104\.$"):
        ansatz.split_angles(cfg, np.zeros((2, 103)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("q", "depth", "n_classes"), [(2, 1, 2), (2, 3, 4), (4, 2, 2), (4, 1, 8), (6, 2, 10), (8, 1, 10)]
)
def test_pennylane_and_the_simulator_give_the_same_expectation_values(q, depth, n_classes):
    cfg = size(q, depth, n_classes)
    phi, patches = draw(cfg, 3)
    expected = np.stack(ansatz.qnode(cfg)(phi, patches.T)).T  # PennyLane runs the three patches together
    values = jax.jit(fast(cfg))(jnp.asarray(phi), jnp.asarray(patches))
    assert values.shape == (3, n_classes)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_pennylanes_parameter_shift_gradients_are_those_of_the_simulator():
    cfg = size(4, 1, 4)
    phi, (patch,) = draw(cfg, 1)
    node = ansatz.qnode(cfg, diff_method="parameter-shift")
    x = qml.numpy.array(phi, requires_grad=True), qml.numpy.array(patch, requires_grad=True)
    expected = qml.jacobian(lambda *x: qml.math.stack(node(*x)))(*x)
    ours = jax.jit(jax.jacfwd(lambda p, x: fast(cfg)(p, x[None])[0], argnums=(0, 1)))(
        jnp.asarray(phi), jnp.asarray(patch)
    )
    assert all(np.abs(e).max() > 0.1 for e in expected)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("x64")
def test_pennylanes_backpropagated_gradients_are_those_of_the_simulator():
    cfg = size(4, 2, 8)
    phi, (patch,) = draw(cfg, 1)
    weight = np.cos(np.arange(8.0))
    node = ansatz.qnode(cfg, diff_method="backprop")
    x = qml.numpy.array(phi, requires_grad=True), qml.numpy.array(patch, requires_grad=True)
    expected = qml.grad(lambda *x: qml.math.dot(weight, qml.math.stack(node(*x))))(*x)
    ours = jax.jit(jax.grad(lambda p, x: weight @ fast(cfg)(p, x[None])[0], argnums=(0, 1)))(*map(jnp.asarray, x))
    for a, b in zip(ours, expected, strict=True):
        assert np.abs(b).max() > 0.1
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def test_shots_scatter_around_the_exact_values():
    cfg = size(2, 1, 4)
    phi, (patch,) = draw(cfg, 1)
    exact, sampled = (np.array(ansatz.qnode(cfg, shots=shots)(phi, patch)) for shots in (None, 4000))
    assert 0 < np.abs(sampled - exact).max() < 6 / np.sqrt(4000)


def test_without_pennylane_the_qnode_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pennylane", None)
    with pytest.raises(ImportError, match=r"pip install 'patchscape\[circuit\]'"):
        ansatz.qnode(size(2, 1, 2))
