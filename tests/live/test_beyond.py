"""Patch models beyond the paper's, against PennyLane and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

from patchscape import tables
from patchscape.circuit import ansatz
from patchscape.config import ModelConfig
from patchscape.learning import data, model
from patchscape.live import beyond
from patchscape.numerics import products

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4, scale=10.0, shared_bias=False)
RNG = np.random.default_rng(0)
IMAGES = data.ImageData(*(RNG.uniform(0, 1, (12, 4, 4)), np.arange(12) % 4) * 2)


@pytest.mark.parametrize("q", [2, 4])
def test_entangling_layers_are_those_of_pennylane(q):
    cfg = ModelConfig(n_patches=1, n_qubits=q, image_side=q, n_classes=2 * q, shared_bias=False)
    function, x = beyond.entangling_layers(cfg, 2), RNG.uniform(0, 3, (3, q * q))
    phi = function.start(RNG, 1)[0]
    pauli = {"X": qml.PauliX, "Z": qml.PauliZ}

    @qml.qnode(qml.device("default.qubit", wires=q))
    def node(x):
        weights = phi.reshape(q + 1, 2, q, 3)
        for row in range(q):
            qml.StronglyEntanglingLayers(weights[row], wires=range(q))
            qml.AngleEmbedding(x[row * q : (row + 1) * q], wires=range(q), rotation="Y")
        qml.StronglyEntanglingLayers(weights[q], wires=range(q))
        return [qml.expval(pauli[axis](wire)) for axis, wire in ansatz.observables(cfg)]

    np.testing.assert_allclose(function.outputs(jnp.asarray(phi), x, 0.0), [node(row) for row in x], atol=2e-6)


def test_noise_pulls_every_expectation_value_towards_zero_and_none_is_the_circuit_itself():
    phi, x = jnp.asarray(RNG.uniform(0, 3, CFG.n_params_per_qnn)), jnp.asarray(RNG.uniform(0, 1, (3, 4)))
    noisy = jax.jit(beyond.noisy_circuit(CFG).outputs)
    exact = beyond.paper_circuit(CFG).outputs(phi, x, 0.0)
    np.testing.assert_allclose(noisy(phi, x, 0.0), exact, atol=2e-6)
    some, more = (np.abs(noisy(phi, x, p)).max() for p in (0.05, 0.2))
    assert more < some < np.abs(exact).max()
    np.testing.assert_allclose(noisy(phi, x, 0.75), 0, atol=1e-6)  # completely depolarising


@pytest.mark.parametrize(("q", "depth"), [(2, 2), (4, 1)])
def test_noise_is_the_depolarising_channel_of_pennylane(q, depth):
    cfg = ModelConfig(n_patches=1, depth=depth, n_qubits=q, image_side=q, n_classes=2 * q, shared_bias=False)
    phi, x = RNG.uniform(0, 3, cfg.n_params_per_qnn), RNG.uniform(0, 1, (2, q * q))
    node, noisy = ansatz.qnode(cfg, device="default.mixed"), jax.jit(beyond.noisy_circuit(cfg).outputs)
    expected = [node(phi, row, 0.02) for row in x]
    np.testing.assert_allclose(noisy(jnp.asarray(phi), x, 0.02), expected, atol=2e-6)


def test_a_minimum_is_trained_and_its_eigenvalue_is_that_of_the_dense_hessian():
    function, other = beyond.tanh_layer(CFG), CFG.model_copy(update={"n_patches": 1})
    table, (of_one, ends) = beyond.minima(function, [other, CFG], IMAGES, seeds=[0, 1], steps=30, learning_rate=0.1)
    assert of_one.shape == (1, 2, 1, 4 * 5)
    assert ends.shape == (1, 2, 4, 4 * 5)
    assert table.n_patches.tolist() == [1, 1, 4, 4]
    for cfg, row, phi in ((other, table.iloc[1], of_one[0, 1]), (CFG, table.iloc[2], ends[0, 0])):
        patches = model.cut_patches(cfg, jnp.asarray(IMAGES.train_angles))

        def loss(phi, cfg=cfg, patches=patches):
            z = cfg.factor * sum(function.outputs(p, x, 0.0) for p, x in zip(phi, patches, strict=True))
            return model.cross_entropy(z, jnp.asarray(IMAGES.train_labels))

        assert row.train_loss == pytest.approx(float(loss(phi)), rel=1e-4)
        start = function.start(np.random.default_rng(int(row.seed)), cfg.n_patches).astype(np.float32)
        assert row.train_loss < loss(start)
        dense = products.dense_hessian(loss, jnp.asarray(phi))
        assert row.lambda_max == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=2e-3)


def test_shots_scatter_about_the_exact_curvature_and_more_shots_scatter_less():
    phi = np.asarray(RNG.uniform(0, np.pi, (4, CFG.n_params_per_qnn)))
    direction = RNG.standard_normal(phi.shape)
    direction /= np.linalg.norm(direction)
    table = beyond.curvature_from_shots(CFG, phi, direction, IMAGES, shots=[0, 100, 10000], repeats=6, step=0.5)
    again = beyond.curvature_from_shots(CFG, phi, direction, IMAGES, shots=[100], repeats=6, step=0.5)
    np.testing.assert_array_equal(again.curvature, table.curvature[table.shots == 100])  # the measurements are seeded
    found = table.groupby("shots")
    spread = found.curvature.std()
    assert spread[10000] < spread[100]
    assert abs(found.curvature.mean()[10000] - found.curvature.mean()[0]) < 5 * spread[10000]


@pytest.mark.slow
def test_runs_are_read_where_they_are_stored_and_trained_where_one_is_missing(tmp_path, monkeypatch):
    quick = beyond.KINDS["tanh"]._replace(patches=(1, 4), steps=3)
    monkeypatch.setitem(beyond.KINDS, "tanh", quick)
    monkeypatch.setattr(beyond, "SEEDS", (0, 1))
    monkeypatch.setenv("PATCHSCAPE_DATA", str(tmp_path))
    images = beyond.images_of("tanh", 60)
    monkeypatch.setattr(beyond, "images_of", lambda kind: images)
    file = beyond.store("tanh", "mean", tmp_path / "results" / "beyond")
    kept = tables.beyond.table()
    assert kept[["kind", "aggregation"]].drop_duplicates().to_numpy().tolist() == [["tanh", "mean"]]
    read = beyond.read_or_train("tanh", images, [4, 1], seeds=[1], steps=3)
    assert read.stored.all()
    assert read.n_patches.tolist() == [4, 1]
    fresh = beyond.read_or_train("tanh", images, [4], seeds=[1, 2], steps=3)  # seed 2 is not stored
    assert not fresh.stored.any()
    assert fresh.lambda_max[0] == pytest.approx(read.lambda_max[0], rel=1e-3)
    other = images._replace(train_angles=images.train_angles / 2)
    assert not beyond.read_or_train("tanh", other, [4], seeds=[1], steps=3).stored.any()
    written = file.stat().st_mtime_ns
    assert beyond.store("tanh", "mean", file.parent).stat().st_mtime_ns == written
    monkeypatch.setitem(beyond.KINDS, "tanh", quick._replace(steps=4))
    with pytest.raises(ValueError, match="holds runs of other settings: delete it and make it anew"):
        beyond.store("tanh", "mean", file.parent)


def test_the_stored_runs_are_those_that_the_chapter_asks_for():
    for kind, way in beyond.STORED:
        own = beyond.KINDS[kind]
        settings = beyond._settings(kind, beyond.images_of(kind), own.steps, way)
        found = tables.beyond.matching(settings, patches=own.patches, noise=own.noise, seeds=beyond.SEEDS)
        assert len(found) == len(own.patches) * len(own.noise) * len(beyond.SEEDS)
        assert (found.residual < 1e-3 * found.lambda_max).all()
