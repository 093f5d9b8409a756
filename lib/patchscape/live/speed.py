"""How fast the simulator is: operations counted, times measured, and what single precision costs in accuracy."""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from patchscape import runtime
from patchscape.circuit.blocks import first_wires
from patchscape.config import ModelConfig
from patchscape.learning import model
from patchscape.store import files

# XLA's default. A chapter asks for less (`runtime.compile_fast`), which would show in what is timed.
_OPTIMISED = {"xla_backend_optimization_level": 3}


def operation_count(cfg: ModelConfig) -> dict[str, float]:
    """Counts the real operations (additions and multiplications) of a forward pass that go into matrix products.

    The rest (rotations, encodings, measurement) is about 16 q 2^q operations per encoding and image.

    Args:
        cfg: the model.

    Returns:
        `build`: once for all images, blocks 2 and 3 of all circuits; `image`: for every image, all circuits.
    """
    q, n = cfg.n_qubits, cfg.n_patches
    # A layer: products with two small real matrices, one for either half of the wires, and a real 2^q x 2^q matrix.
    # An image: two products of a real 2^q x 2^q matrix with two vectors.
    layer = 2 * (2 ** first_wires(q) + 2 ** (q - first_wires(q))) * 4**q
    return {"build": 2 * n * cfg.depth * layer, "image": n * 2 * 2 * 4**q * 2}


def seconds(f: Callable[[], object], repeats: int) -> float:
    """Median wall time of a function that returns JAX arrays, in seconds, after one call that is not counted."""
    jax.block_until_ready(f())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_product_rate(repeats: int = 30) -> float:
    """Speed of a real 256 x 256 times 256 x 1000 product on this machine, in operations per second."""
    a, b = jnp.ones((256, 256)), jnp.ones((256, 1000))
    product = jax.jit(jnp.matmul)
    return 2 * 256 * 256 * 1000 / seconds(lambda: product(a, b), repeats)


def forward_times(cfgs: Sequence[ModelConfig], n_images: int, repeats: int) -> pd.DataFrame:
    """Times forward passes on this machine.

    Args:
        cfgs: the models.
        n_images: random images at once.
        repeats: timed calls of each.

    Returns:
        One row per model: depth, seconds (median), and the operations of `operation_count` for all images together.
    """
    rows = []
    for cfg in cfgs:
        side = cfg.image_side
        angles = jnp.asarray(np.random.default_rng(0).uniform(0, np.pi, (n_images, side, side)), jnp.float32)
        params = model.init(cfg, 0)
        logits = jax.jit(lambda p, x, cfg=cfg: model.logits(cfg, p, x), compiler_options=_OPTIMISED)
        count = operation_count(cfg)
        rows.append(
            {
                "depth": cfg.depth,
                "seconds": seconds(lambda f=logits, p=params, x=angles: f(p, x), repeats),
                "build": count["build"],
                "images": count["image"] * n_images,
            }
        )
    return pd.DataFrame(rows)


def precision_differences(cfg: ModelConfig, n_images: int) -> dict[str, float]:
    """Compares single with double precision on random images.

    Args:
        cfg: the model.
        n_images: number of images.

    Returns:
        Largest absolute difference of the logits, and of the gradient and a Hessian-vector product relative to the
        largest entry in size.
    """
    random = np.random.default_rng(0)
    angles = random.uniform(0, np.pi, (n_images, cfg.image_side, cfg.image_side))
    labels = random.integers(0, cfg.n_classes, n_images)
    start = jax.tree.map(np.asarray, model.init(cfg, 0))
    direction = {name: random.normal(size=value.shape) for name, value in start.items()}

    def everything(dtype: type) -> tuple:
        cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)  # noqa: E731

        def run(p, v, x):
            def loss_and_logits(p):
                z = model.logits(cfg, p, x)
                return model.cross_entropy(z, labels), z

            (slope, z), (product, _) = jax.jvp(jax.grad(loss_and_logits, has_aux=True), (p,), (v,))
            return z, slope["phi"], product["phi"]

        return tuple(map(np.asarray, jax.jit(run)(cast(start), cast(direction), cast(angles))))

    single = everything(jnp.float32)
    runtime.finished()
    with jax.enable_x64(True):
        double = everything(jnp.float64)
    logits, *derivatives = (np.abs(a - b).max() for a, b in zip(single, double, strict=True))
    gradient, product = (d / np.abs(b).max() for d, b in zip(derivatives, double[1:], strict=True))
    return {"logits": float(logits), "gradient": float(gradient), "product": float(product)}


# What the contestants of `benchmarks/` are called in the book.
SIMULATORS = {
    "patchscape": "this book",
    "torch_blocks": "PyTorch, with the idea",
    "torch_blocks:layer_by_layer": "PyTorch, layer by layer",
    "torch_blocks:gate_by_gate": "PyTorch, gate by gate",
    "jax_blocks": "JAX, with the idea",
    "pennylane_blocks": "default.qubit in a scan, with the idea",
    "tensorcircuit": "TensorCircuit-NG, with the idea",
    "fastqml": "fastQML, with the idea",
    "catalyst": "Catalyst, gate by gate",
    "jax_gates": "JAX, gate by gate",
    "torchquantum": "TorchQuantum, gate by gate",
    "lightning": "lightning.qubit from Python, gate by gate",
    "ablation:idea": "this book, layer by layer",
    "ablation:real_basis": "complex blocks and states",
    "ablation:small_products": "a layer as one large product",
    "ablation:block_derivative": "blocks differentiated layer by layer",
    "ablation:encoding_derivative": "encodings differentiated step by step",
}


def comparisons(stored: dict[str, dict]) -> pd.DataFrame:
    """Puts the stored comparisons of simulators into one table.

    Args:
        stored: from `stored_benchmarks`.

    Returns:
        One row for every part, number of qubits, layers per block (`depth`), images and cores, and `simulator` (see
        `SIMULATORS`): median seconds for all images, of processor time with one core and of wall time with more, in
        `forward`, `gradient` and `product`, and the wall seconds of the first call of all three in `first`. NaN is what
        was not measured.
    """
    rows = []
    for part, result in stored["comparisons"].items():
        for row in result["rows"]:
            size = {name: row[name] for name in ("qubits", "depth", "images", "cores")}
            times = row["processor_s" if row["cores"] == 1 else "wall_s"]
            found = {task: times.get(task, np.nan) for task in ("forward", "gradient", "product")}
            first = sum(row["first_s"].values()) if row["first_s"] else np.nan
            rows.append({"part": part} | size | {"simulator": SIMULATORS[row["contestant"]]} | found | {"first": first})
    return pd.DataFrame(rows)


def stored_benchmarks() -> dict[str, dict]:
    """Reads the stored benchmark results, as `benchmarks/run.py` writes them."""
    return json.loads((files.data_folder() / "results" / "benchmarks.json").read_text(encoding="utf-8"))
