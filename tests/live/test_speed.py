"""The cost model against the compiler's own count, and what the speed chapter reads."""

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

from patchscape import runtime
from patchscape.circuit import ansatz, blocks, simulator
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


def listing(cell_id):
    """A program of the chapter to take home, as a reader copies it: a code cell, or the code in a text cell."""
    notebook = nbformat.read(runtime.ROOT / "chapters" / "10_speed.ipynb", 4)
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    source = cell.source if cell.cell_type == "code" else cell.source.split("```python\n")[1].split("```")[0]
    names = {}
    exec(source, names)
    return names


@pytest.fixture
def single_again():
    yield  # the listing in PennyLane asks for double precision, as its readers would
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("single_again")
@pytest.mark.filterwarnings("ignore:jax.core.is_concrete:DeprecationWarning")  # PennyLane asks JAX for it
@pytest.mark.parametrize("cell_id", ["take-home-pennylane", "take-home-pytorch"])
def test_the_listings_to_take_home_agree_with_the_simulator(cell_id):
    if cell_id == "take-home-pytorch":
        torch = pytest.importorskip("torch", reason="PyTorch is no part of the book's environment (make bench has it)")
    names = listing(cell_id)
    q, n = names["q"], 3
    cfg = ModelConfig(n_patches=1, depth=names["d"], n_qubits=q, image_side=q, n_classes=2 * q)
    random = np.random.default_rng(0)
    phi = random.uniform(0, np.pi, cfg.n_params_per_qnn).astype(np.float32)
    patches = random.uniform(0, np.pi, (n, q * q)).astype(np.float32)
    arguments = [*map(np.stack, ansatz.split_angles(cfg, phi)), patches.reshape(n, 2, q, q // 2)]
    if cell_id == "take-home-pytorch":
        arguments = map(torch.tensor, arguments)
    expected = simulator.expectations(cfg, simulator.prepare(cfg, jnp.asarray(phi)), patches)
    np.testing.assert_allclose(names["expectations"](*arguments), expected, rtol=0, atol=5e-6)


def test_comparisons_take_processor_time_on_one_core_and_wall_time_on_more():
    size = {"qubits": 8, "depth": 50, "images": 10}
    times = {"wall_s": {"forward": 2.0}, "processor_s": {"forward": 1.0}, "contestant": "torchquantum"}
    rows = [size | times | {"cores": cores, "first_s": first} for cores, first in ((1, {"forward": 3.0}), (2, {}))]
    table = speed.comparisons({"comparisons": {"part": {"rows": rows}}})
    assert list(table.forward) == [1.0, 2.0]
    assert table.gradient.isna().all()
    assert table["first"].tolist()[0] == 3.0
    assert set(table.simulator) == {speed.SIMULATORS["torchquantum"]}


def test_every_stored_comparison_has_a_contestant_with_a_name_and_agrees():
    for part, result in speed.stored_benchmarks()["comparisons"].items():
        for row in result["rows"]:
            assert row["contestant"] in speed.SIMULATORS
            assert all(value < 1e-3 for value in row["difference"].values()), (part, row)


def test_the_idea_pays_from_about_as_many_images_as_basis_states():
    """Blocks of 2^q basis states against the states of the images, through as many layers: q = 8."""
    table = speed.comparisons(speed.stored_benchmarks())
    table = table[table.part.str.startswith("idea-")]
    times = table.pivot(index="images", columns="simulator", values="gradient")
    gain = times[speed.SIMULATORS["torch_blocks:layer_by_layer"]] / times[speed.SIMULATORS["torch_blocks"]]
    assert gain.is_monotonic_increasing
    assert gain[100] < 1 < gain[1000]
    crossing = np.exp(np.interp(0, np.log(gain), np.log(gain.index)))
    assert 2**8 / 2 < crossing < 2 * 2**8
