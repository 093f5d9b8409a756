"""Experiments of the chapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape.config import ModelConfig
from patchscape.curvature import full_data
from patchscape.learning import data, model
from patchscape.live import sweeps

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4)
RNG = np.random.default_rng(0)
IMAGES = data.ImageData(*(RNG.uniform(0, np.pi, (12, 4, 4)).astype(np.float32), np.arange(12, dtype=np.int32) % 4) * 2)


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
