"""Theorems T1 to T3 on many random models, with the pieces checked against independent algebra."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from patchscape import law
from patchscape.config import ModelConfig
from patchscape.curvature import bounds, exact
from patchscape.learning import model
from patchscape.numerics import products


def _problem(seed: int, **changes):
    rng = np.random.default_rng(seed)
    cfg = ModelConfig(
        **{"n_patches": 4, "depth": 1, "n_qubits": 2, "image_side": 4, "n_classes": 4, "scale": 5.0} | changes
    )
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), model.init(cfg, seed))
    if cfg.shared_bias:
        params["bias"] = jnp.asarray(rng.normal(0, 0.3, (4, 4)))
    return cfg, params, jnp.asarray(rng.uniform(0, 3, (6, 4, 4))), jnp.asarray(rng.integers(0, 4, 6))


CASES = [
    pytest.param({}, id="mean"),
    pytest.param({"n_patches": 9}, id="nine overlapping patches"),
    pytest.param({"aggregation": "sum"}, id="sum"),
    pytest.param({"shared_bias": False}, id="no bias"),
]


@pytest.mark.parametrize("changes", CASES)
def test_no_bound_is_broken_and_the_blocks_add_up_to_the_hessian(changes):
    with jax.enable_x64(True):
        for seed in range(3):
            cfg, params, angles, labels = _problem(seed, **changes)
            t = bounds.evaluate(cfg, params, angles, labels)
            if seed == 0:
                phi_loss = lambda phi: model.loss(cfg, params | {"phi": phi}, angles, labels)  # noqa: B023, E731
                np.testing.assert_allclose(t.hessian, products.dense_hessian(phi_loss, params["phi"]), atol=1e-10)
            slack = 1 + 1e-12
            assert t.hessian_blocks.max() <= t.lambda_max * slack
            assert (
                t.lambda_max <= t.t1 * slack <= t.t1_uniform * slack**2 <= t.t2 * slack**3 <= t.t2_a_priori * slack**4
            )
            assert 1 / cfg.n_patches <= t.coherence * slack <= slack**2
            if cfg.shared_bias:
                assert t.gauss_newton_bias <= t.t3_bias * slack
            else:
                assert t.t3_bias is None


def _random_problem(seed: int):
    """A random model of any kind at a random point, from nearly flat to saturated logits; five points each."""
    rng = np.random.default_rng(seed // 5)  # what is compiled for one point serves five
    cfg = ModelConfig(
        n_patches=int(rng.choice([1, 4, 9])),
        depth=int(rng.integers(1, 4)),
        n_qubits=2,
        image_side=4,
        n_classes=int(rng.choice([2, 4])),
        scale=float(10 ** rng.uniform(-1, 2)),
        aggregation=str(rng.choice(["mean", "sum"])),
        shared_bias=bool(rng.integers(2)),
    )
    rng = np.random.default_rng((seed, 1))
    params = {"phi": jnp.asarray(rng.uniform(0, 2 * np.pi, (cfg.n_patches, cfg.n_params_per_qnn)))}
    if cfg.shared_bias:
        params["bias"] = jnp.asarray(rng.normal(0, 1, (4, 4)))
    return cfg, params, jnp.asarray(rng.uniform(0, 3, (6, 4, 4))), jnp.asarray(rng.integers(0, cfg.n_classes, 6))


@pytest.mark.slow
def test_the_theorems_hold_for_three_hundred_random_models():
    """T1 to T3, the steps between them, and the bounds on the whole Hessian; wrong constants are caught."""
    slack, wrong = 1 + 1e-9, {"half of T1's sum": 0, "coherence below 1/n": 0, "the bias left out": 0}
    with jax.enable_x64(True):
        for seed in range(300):
            cfg, params, angles, labels = _random_problem(seed)
            t = bounds.evaluate(cfg, params, angles, labels)
            n = cfg.n_patches
            steps = [t.hessian_blocks.max(), t.lambda_max, t.t1, t.t1_uniform, t.t2, t.t2_a_priori]
            assert all(a <= b * slack + 1e-12 for a, b in pairwise(steps)), (seed, steps)
            assert 1 / n <= t.coherence * slack <= slack**2, seed
            assert t.lambda_max <= t.gauss_newton + t.residual_blocks.max() + 1e-12, seed
            if cfg.shared_bias:
                assert t.gauss_newton_bias <= t.t3_bias * slack, seed
                parts = exact.decompose(cfg, params, angles, labels, norms=False)
                whole = np.linalg.norm(parts.root, 2) ** 2
                assert whole <= (t.gauss_newton + t.gauss_newton_bias) * slack, seed
                wrong["the bias left out"] += whole > t.gauss_newton * 1.01
            wrong["half of T1's sum"] += t.lambda_max > t.t1 / 2
            wrong["coherence below 1/n"] += n > 1 and t.coherence > 1.01 / n
    assert min(wrong.values()) > 10, wrong


def test_the_hessian_of_the_cross_entropy_is_at_most_a_half_and_two_classes_reach_it():
    for classes in (2, 3, 10):
        pi = np.random.default_rng(0).dirichlet(np.full(classes, 0.3), 2000)
        pi[0] = np.eye(classes)[:2].mean(0)
        labels = np.zeros(len(pi), int)
        tops = np.linalg.eigvalsh(np.einsum("ij,jk->ijk", pi, np.eye(classes)) - pi[:, :, None] * pi[:, None])[:, -1]
        assert tops.max() == pytest.approx(0.5)
        losses = -np.log(pi[np.arange(len(pi)), labels])
        assert np.all(tops <= law.softmax_factor(losses) + 1e-12)
        assert np.any(tops > 0.6 * 2 * law.loss_factor(losses))  # the near one where the loss is small
    assert law.t2(9.0, 4, 1.0, 3.0, 0.0) == 0.5 * 4 * 3
    assert law.t2(0.01, 4, 1.0, 3.0, 1.0) == pytest.approx(2 * law.loss_factor(0.01) * (4 * 3 + 1))
    assert law.t3(9.0, 4, 1.0, 2.0, 3.0) == 0.5 * 4 * 2 * 3


def test_a_wrong_constant_would_be_caught():
    """T1 with 1/n^2 instead of 1/n is broken by circuits that agree."""
    with jax.enable_x64(True):
        cfg, params, angles, labels = _problem(0, n_patches=4, shared_bias=False)
        same = {"phi": jnp.broadcast_to(params["phi"][:1], params["phi"].shape)}
        flat = jnp.broadcast_to(angles[:, :1, :1], angles.shape)  # every patch sees the same
        t = bounds.evaluate(cfg, same, flat, labels)
        assert t.coherence == pytest.approx(1)
        assert t.lambda_max <= t.t1
        assert t.gauss_newton > t.gauss_newton_blocks.sum() / cfg.n_patches * 1.01


def test_independent_circuits_on_similar_patches_have_a_coherence_near_one():
    """Their parts X_p X_p^T of a positive sum have one mean; 1/n needs circuits that move other images or classes."""
    with jax.enable_x64(True):
        for seed in range(3):
            cfg, params, angles, labels = _problem(seed, n_patches=9, n_qubits=2, shared_bias=False, depth=3)
            alike = jnp.broadcast_to(angles[:, :1, :1], angles.shape)
            assert bounds.evaluate(cfg, params, alike, labels).coherence > 0.6


def test_replicated_patches_scale_exactly_like_one_over_n():
    """n equal circuits on equal patches: G is 1/n of the single circuit's, its lambda_max too."""
    with jax.enable_x64(True):
        cfg, params, angles, labels = _problem(1, n_patches=4, shared_bias=False)
        one = ModelConfig(**{**cfg.model_dump(), "n_patches": 1})
        flat = jnp.broadcast_to(angles[:, :1, :1], angles.shape)
        phi = params["phi"][:1]
        single = bounds.evaluate(one, {"phi": phi}, flat, labels)
        four = bounds.evaluate(cfg, {"phi": jnp.repeat(phi, 4, 0)}, flat, labels)
        assert four.gauss_newton == pytest.approx(single.gauss_newton / 4)
        np.testing.assert_allclose(four.residual_blocks, single.residual_blocks[0] / 4, atol=1e-12)
