"""Experiments of the chapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape import curvature, data, experiments, model, points
from patchscape.config import ModelConfig

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=2, image_side=4, n_classes=4)
RNG = np.random.default_rng(0)
IMAGES = data.ImageData(*(RNG.uniform(0, np.pi, (12, 4, 4)).astype(np.float32), np.arange(12, dtype=np.int32) % 4) * 2)


@pytest.mark.parametrize("chunk", [12, 5])
def test_curvature_at_minima_is_that_of_the_dense_hessian_in_one_chunk_or_in_several(chunk, monkeypatch):
    monkeypatch.setattr(points, "CHUNK", chunk)
    minima = [model.init(CFG, seed) for seed in (0, 1)]
    stacked = {name: np.stack([m[name] for m in minima]) for name in minima[0]}
    table = experiments.curvature_at_minima(CFG, IMAGES, stacked)

    def loss(params):
        return model.loss(CFG, params, jnp.asarray(IMAGES.train_angles), jnp.asarray(IMAGES.train_labels))

    for params, row in zip(minima, table.itertuples(), strict=True):
        values = np.linalg.eigvalsh(curvature.dense_hessian(loss, params))
        assert row.lambda_max == pytest.approx(values[-1], rel=1e-3)
        assert row.lambda_min == pytest.approx(values[0], abs=1e-3 * values[-1])
        gradient = points.flatten(jax.grad(loss)(params))
        assert row.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
        assert row.converged
