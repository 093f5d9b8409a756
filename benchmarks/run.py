"""Times the same circuit in several simulators, side by side, after checking that they agree.

Usage: make bench (or: python benchmarks/run.py --help). Results: data/results/benchmarks.json.

One circuit of the paper (q wires, d layers per block, a q x q patch), the same parameters and images for all. For
every point all contestants are run in turn, several times, and medians are compared: a slow spell of the machine
meets all of them. A contestant that does not handle a size in reasonable time is left out there, and named.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import contestants
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from patchscape import config
from patchscape.circuit import derivatives, simulator
from patchscape.config import ModelConfig
from patchscape.curvature.full_data import FullDataLoss
from patchscape.learning import data, model
from patchscape.live import speed
from patchscape.store import files, records

# (qubits, depth, images, contestants): against depth, against images, against qubits
ALL = ("patchscape", "plain_jax", "torchquantum", "lightning")
GRID = [
    *((8, depth, 100, ALL) for depth in (5, 20, 50)),
    *((8, depth, 100, ALL[:3]) for depth in (100, 200)),  # image by image it takes minutes
    *((8, 50, images, ALL[:3]) for images in (1, 10, 1000)),
    *((q, 20, 100, ALL) for q in (4, 6, 10)),
    (4, 2, 100, (*ALL, "default_qubit")),  # at 8 qubits and depth 2 it compiles for minutes
]
WHOLE = [(6, 4, 100), (8, 2, 100), (8, 6, 100)]  # (qubits, depth, images)
SMOKE = [(4, 2, 3, (*ALL, "default_qubit"))]
BUDGET = 240.0  # seconds per contestant and point after which no further run is started


def seconds(f, *x) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    f(*x)
    return time.perf_counter() - start


def problem(qubits: int, depth: int, images: int) -> tuple[ModelConfig, np.ndarray, np.ndarray, np.ndarray]:
    """One circuit with random angles, random images, and random weights of its expectation values."""
    cfg = ModelConfig(n_patches=1, depth=depth, n_qubits=qubits, image_side=qubits, n_classes=min(10, 2 * qubits))
    rng = np.random.default_rng(0)
    phi = rng.uniform(0, np.pi, cfg.n_params_per_qnn).astype(np.float32)
    patches = rng.uniform(0, np.pi, (images, qubits**2)).astype(np.float32)
    weights = rng.normal(size=(images, cfg.n_classes)).astype(np.float32)
    return cfg, phi, patches, weights


def compare(qubits: int, depth: int, images: int, names: tuple[str, ...], runs: int) -> list[dict]:
    """Checks that the contestants agree on one size, then times them in turn."""
    cfg, phi, patches, weights = problem(qubits, depth, images)
    ready, first, reference = {}, {}, None
    for name in names:
        contestant = ready[name] = getattr(contestants, name)(cfg)
        start = time.perf_counter()
        values, slopes = contestant.forward(phi, patches), contestant.gradient(phi, patches, weights)
        first[name] = time.perf_counter() - start
        reference = reference or (values, slopes)
        scale = np.abs(reference[1]).max()
        np.testing.assert_allclose(values, reference[0], rtol=0, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(slopes / scale, reference[1] / scale, rtol=0, atol=1e-3, err_msg=name)
    found = {name: {"forward": [], "gradient": []} for name in names}
    for _ in range(runs):
        for name in names:
            if sum(map(sum, found[name].values())) < BUDGET:
                found[name]["forward"].append(seconds(ready[name].forward, phi, patches))
                found[name]["gradient"].append(seconds(ready[name].gradient, phi, patches, weights))
    rows = []
    for name in names:
        medians = {key: statistics.median(times) for key, times in found[name].items()}
        size = {"qubits": qubits, "depth": depth, "images": images, "contestant": name}
        rows.append(size | medians | {"first_call": first[name], "runs": len(found[name]["forward"])})
        print(*(f"{key} {value:.4g}" if isinstance(value, float) else value for key, value in rows[-1].items()))
    return rows


def paper_size(images: int, depths: tuple[int, ...], runs: int) -> list[dict]:
    """Forward pass, gradient and Hessian product of the paper's model with 4 patches over many images."""
    rows = []
    source = data.load("mnist")
    angles, labels = source.train_angles[:images], source.train_labels[:images]
    for depth in depths:
        cfg = config.paper(4, depth).model
        params = model.init(cfg, 1001)
        loss = FullDataLoss(cfg, angles, labels)
        point, v = ravel_pytree(params)[0], np.random.default_rng(0).normal(size=loss.size)
        # what a call takes longer the first time is compiling
        at, at_again = (seconds(loss.at, point) for _ in range(2))
        product = loss.at(point).hessian
        first, again = (seconds(product, v) for _ in range(2))
        row = {"images": images, "depth": depth, "first_product": at + first}
        row |= {"compile_point": at - at_again, "compile_product": first - again}
        chunks = jax.tree.map(jnp.asarray, data.chunks(angles, labels, 500))
        start = time.perf_counter()
        compiled = model.evaluate.lower(cfg, params, chunks).compile()
        row["compile_forward"] = time.perf_counter() - start
        batch = (angles[:1000], labels[:1000])
        start = time.perf_counter()
        jax.jit(jax.grad(lambda p, c=cfg, b=batch: model.loss(c, p, *b))).lower(params).compile()
        row["compile_batch_gradient"] = time.perf_counter() - start
        evaluate = lambda c=compiled, p=params, x=chunks: jax.block_until_ready(c(p, x))  # noqa: E731
        evaluate()
        forward, products = [], []
        for _ in range(runs):  # in turn
            forward.append(seconds(evaluate))
            products.append(seconds(product, v))
        row |= {"forward": statistics.median(forward), "hessian_product": statistics.median(products)}
        print(row)
        rows.append(row)
    return rows


def whole_hessian(qubits: int, depth: int, images: int, runs: int) -> dict:
    """All second derivatives of one circuit: from matrix products, and from Hessian products with all unit vectors."""
    cfg, phi, patches, weights = problem(qubits, depth, images)
    at = jnp.concatenate([phi, jnp.zeros(qubits**2, jnp.float32)])

    def total(v):
        prepared = simulator.prepare(cfg, v[: len(phi)])
        return jnp.sum(weights * simulator.expectations(cfg, prepared, patches + v[len(phi) :]))

    product = lambda v: jax.jvp(jax.grad(total), (at,), (v,))[1]  # noqa: E731
    products = jax.jit(lambda units: jax.lax.map(product, units, batch_size=16))
    by_products = lambda: np.asarray(products(jnp.eye(len(at), dtype=jnp.float32)))  # noqa: E731
    by_matrices = lambda: derivatives.circuit_derivatives(cfg, phi, patches, weights)[1]  # noqa: E731
    row = {"qubits": qubits, "depth": depth, "images": images, "angles": len(at)}
    start = time.perf_counter()
    found, exact = by_products(), by_matrices()
    row["first_call"] = time.perf_counter() - start
    row["difference"] = float(np.abs(found - exact).max() / np.abs(exact).max())
    if row["difference"] > 1e-4:
        raise RuntimeError(f"the two Hessians differ by {row['difference']:.1e}: nothing was timed.")
    times = [(seconds(by_matrices), seconds(by_products)) for _ in range(runs)]  # in turn
    row["matrices"], row["products"] = (statistics.median(t) for t in zip(*times, strict=True))
    print(row)
    return row


def headline(runs: int) -> dict:
    """The whole model at (n, d) = (4, 50), 1000 images: loss and gradient, TorchQuantum against this project."""
    cfg = config.paper(4, 50).model
    source = data.load("mnist")
    angles, labels = jnp.asarray(source.train_angles[:1000]), jnp.asarray(source.train_labels[:1000])
    params = model.init(cfg, 1001)
    logits = jax.jit(lambda p: model.logits(cfg, p, angles))
    gradient = jax.jit(jax.grad(lambda p: model.loss(cfg, p, angles, labels)))
    ours = {
        "forward": lambda: logits(params).block_until_ready(),
        "gradient": lambda: jax.block_until_ready(gradient(params)),
    }
    one = ModelConfig(n_patches=1, depth=50, n_qubits=8, image_side=8)
    theirs = contestants.torchquantum(one)
    patches = np.asarray(model.cut_patches(cfg, angles), np.float32)
    phi = np.asarray(params["phi"])
    z = cfg.scale * np.mean([theirs.forward(a, x) for a, x in zip(phi, patches, strict=True)], 0)
    np.testing.assert_allclose(z, logits(params), rtol=0, atol=1e-3)
    # d loss / d expectation value is the weight that gives TorchQuantum the same gradient
    weights = np.asarray(jax.grad(lambda z: model.cross_entropy(z, labels))(jnp.asarray(z))) * cfg.scale / 4
    same = np.stack([theirs.gradient(a, x, weights) for a, x in zip(phi, patches, strict=True)])
    expected = np.asarray(gradient(params)["phi"])
    np.testing.assert_allclose(same, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    times = {f"{who}_{what}": [] for who in ("patchscape", "torchquantum") for what in ("forward", "gradient")}
    for _ in range(runs):
        for what, f in ours.items():
            f()
            times[f"patchscape_{what}"].append(seconds(f))
        whole = lambda: [theirs.forward(a, x) for a, x in zip(phi, patches, strict=True)]  # noqa: E731
        times["torchquantum_forward"].append(seconds(whole))
        whole = lambda: [theirs.gradient(a, x, weights) for a, x in zip(phi, patches, strict=True)]  # noqa: E731
        times["torchquantum_gradient"].append(seconds(whole))
    out = {name: statistics.median(values) for name, values in times.items()}
    for what in ours:
        pairs = zip(times[f"torchquantum_{what}"], times[f"patchscape_{what}"], strict=True)
        out[f"ratio_{what}"] = statistics.median(theirs / ours for theirs, ours in pairs)
    print(out)
    return out


def main() -> None:
    """Runs the benchmarks that were asked for and stores them with their provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="timed runs per contestant and point")
    parser.add_argument("--smoke", action="store_true", help="one tiny point, nothing stored")
    parser.add_argument(
        "--only", choices=("grid", "paper", "headline", "hessian"), help="renew one part of the results"
    )
    parser.add_argument("--out", type=Path, default=files.data_folder() / "results" / "benchmarks.json")
    args = parser.parse_args()
    if args.smoke:
        for point in SMOKE:
            compare(*point, runs=1)
        whole_hessian(4, 1, 5, runs=1)
        return
    stored = json.loads(args.out.read_text()) if args.out.exists() else {}

    def keep(name: str, rows: object) -> None:  # after every point, so that a stopped run loses little
        stored[name] = {"rows": rows, "provenance": records.provenance()}
        stored["floor"] = {"matrix_product": speed.matrix_product_rate()}
        records.write_bytes(args.out, (json.dumps(stored, indent=1) + "\n").encode())

    if args.only in (None, "headline"):
        keep("headline", headline(max(1, args.runs // 2)))
    if args.only in (None, "paper"):
        keep("paper", paper_size(60_000, (50, 200), args.runs))
    if args.only in (None, "hessian"):
        keep("hessian", [whole_hessian(*size, max(1, args.runs // 2)) for size in WHOLE])
    if args.only in (None, "grid"):
        rows = []
        for point in GRID:
            rows += compare(*point, runs=args.runs)
            keep("grid", rows)


if __name__ == "__main__":
    main()
