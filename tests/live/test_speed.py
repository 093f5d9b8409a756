"""The cost model against the compiler's own count, and what the speed chapter reads."""

import jax
import jax.numpy as jnp
import pytest

from patchscape.circuit import blocks
from patchscape.config import ModelConfig
from patchscape.live import speed

CFG = ModelConfig(n_patches=4, depth=3, n_qubits=4, image_side=8, n_classes=8)


def flops(f, *x):
    return jax.jit(f).lower(*x).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("q", [4, 6, 8])
def test_an_image_costs_two_products_per_circuit(q):
    cfg = CFG.model_copy(update={"n_qubits": q, "image_side": 14})
    matrix, states = jnp.ones((2**q, 2**q)), jnp.ones((2, 2**q, 10))
    whole = flops(blocks.apply, matrix, states)
    additions = flops(lambda s: blocks.from_real(jnp.sin(blocks.to_real(s))), states)  # to the real basis and back
    counted = speed.operation_count(cfg)["image"] / (4 * 2) * 10
    assert counted < whole <= counted + additions


@pytest.mark.parametrize("q", [6, 8])
def test_a_layer_costs_two_small_products(q):
    cfg = CFG.model_copy(update={"n_qubits": q, "image_side": 14, "depth": 1})
    measured = flops(blocks.block_matrix, jnp.ones((1, 2, q)))  # signs and additions included
    counted = speed.operation_count(cfg)["build"] / (2 * 4)
    assert counted <= measured <= 1.3 * counted


def test_times_grow_with_what_is_counted():
    table = speed.forward_times([CFG, CFG.model_copy(update={"depth": 6})], n_images=5, repeats=1)
    assert list(table.depth) == [3, 6]
    assert table.build[1] == 2 * table.build[0]
    assert table["images"].nunique() == 1
    assert (table.seconds > 0).all()


def test_single_precision_differs_from_double_by_rounding_only():
    found = speed.precision_differences(CFG, 3)
    assert 0 < found["logits"] < 1e-3  # scale 100
    assert 0 < found["gradient"] < 1e-4
    assert 0 < found["product"] < 1e-4
    assert not jax.config.jax_enable_x64
