"""Experiments of the chapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape.config import ModelConfig
from patchscape.curvature import bounds, full_data
from patchscape.learning import data, model
from patchscape.live import sweeps

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4)
RNG = np.random.default_rng(0)
IMAGES = data.ImageData(*(RNG.uniform(0, np.pi, (12, 4, 4)).astype(np.float32), np.arange(12, dtype=np.int32) % 4) * 2)


@pytest.mark.slow
def test_curvature_at_minima_is_that_of_the_dense_hessian_in_one_chunk_or_in_several(monkeypatch):
    minima = [model.init(CFG, seed) for seed in (0, 1)]
    stacked = {name: np.stack([params[name] for params in minima]) for name in minima[0]}
    tables = []
    for chunk in (12, 5):
        monkeypatch.setattr(full_data, "CHUNK", chunk)
        tables.append(sweeps.curvature_at_minima(CFG, IMAGES, stacked))

    gradient = jax.grad(lambda p: model.loss(CFG, model.unflatten(CFG, p), *map(jnp.asarray, IMAGES[:2])))
    along = jax.jit(lambda p, v: jax.jvp(gradient, (p,), (v,)))
    for number, params in enumerate(minima):
        p = model.flatten(params)
        hessian = np.stack([along(p, v)[1] for v in jnp.eye(p.size)]).astype(float)
        values, norm = np.linalg.eigvalsh((hessian + hessian.T) / 2), float(jnp.linalg.norm(along(p, p)[0]))
        for table in tables:
            row = table.iloc[number]
            assert row.lambda_max == pytest.approx(values[-1], rel=1e-3)
            assert row.lambda_min == pytest.approx(values[0], abs=1e-3 * values[-1])
            assert row.gradient_norm == pytest.approx(norm, rel=1e-4)
            assert row.converged


def test_the_terms_of_the_bounds_come_with_the_coherence_of_blocks_drawn_anew_and_of_e2():
    table, norms = sweeps.bound_sweep([4], 1, [0], n_qubits=4, n_classes=2, epochs=1, n_images=12)
    start, trained = (table[table["where"] == where].iloc[0] for where in ("start", "trained"))
    assert np.isnan(start.redrawn_coherence)
    assert norms[4].shape == (4, 4)
    for name in ("coherence", "redrawn_coherence", "expected_coherence"):
        assert 1 / 4 < trained[name] < 1
    assert trained.redrawn_coherence != pytest.approx(trained.coherence, rel=1e-3)


def test_the_coherence_of_redrawn_blocks_is_that_of_the_bounds_if_they_are_where_they_were(monkeypatch):
    params = model.init(CFG, 3)
    monkeypatch.setattr(sweeps.redrawn, "with_new_blocks", lambda cfg, phi, rng: phi)
    found = sweeps._redrawn_coherence(CFG, params, IMAGES.train_angles, IMAGES.train_labels, 0)
    terms = bounds.evaluate(CFG, params, jnp.asarray(IMAGES.train_angles), jnp.asarray(IMAGES.train_labels))
    assert found == pytest.approx(terms.coherence, rel=1e-4)
