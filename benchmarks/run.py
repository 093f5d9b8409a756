"""Times the same circuit in several simulators, side by side, after checking that they agree.

Usage: make bench (or: python benchmarks/run.py --help). Results: data/results/benchmarks.json.

One circuit of the paper (q wires, d layers per block, a q x q patch), the same parameters and images for all. Every
contestant has a process of its own, with its own interpreter where it needs other libraries. For every comparison all
contestants are run in turn, several times, and medians are compared: a slow spell of the machine meets all of them. A
contestant that does not handle a size in reasonable time is left out there; one that does not answer in time is
stopped, and its row says so. A part of the comparisons can be measured anew; the rest of the file stays.
"""

import argparse
import json
import os
import pickle
import platform
import selectors
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import contestants
import jax
import jax.numpy as jnp
import numpy as np
from contestants import torchquantum
from jax.flatten_util import ravel_pytree

from patchscape import config
from patchscape.circuit import derivatives, simulator
from patchscape.config import ModelConfig
from patchscape.curvature.full_data import FullDataLoss
from patchscape.learning import data, model
from patchscape.live import speed
from patchscape.numerics import spectra
from patchscape.store import files, records
from patchscape.study import jobs

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("forward", "gradient", "product")


class Comparison(NamedTuple):
    """One size, and who is compared there."""

    qubits: int
    depth: int
    images: int
    cores: int
    names: tuple[str, ...]
    tasks: tuple[str, ...] = TASKS


BLOCKS = ("patchscape", "torch_blocks", "jax_blocks")
IDEA = ("torch_blocks", "torch_blocks:layer_by_layer")
PLAIN = ("torch_blocks:layer_by_layer", "torch_blocks:gate_by_gate", "ablation:idea")  # without it
STEPS = ("real_basis", "small_products", "block_derivative", "encoding_derivative")
SCAN = (*IDEA, "patchscape", "torchquantum")
COMPARISONS = {
    "thousand-images": Comparison(8, 50, 1000, 1, BLOCKS + PLAIN),
    # Each by itself beside one other: their gradients need much memory, and are slower when others hold it.
    "thousand-images-torchquantum": Comparison(8, 50, 1000, 1, ("torch_blocks", "torchquantum"), TASKS[:2]),
    "thousand-images-pennylane": Comparison(8, 50, 1000, 1, ("torch_blocks", "pennylane_blocks"), TASKS[:2]),
    "hundred-images-pennylane": Comparison(8, 50, 100, 1, ("torch_blocks", "pennylane_blocks"), TASKS[:2]),
    "hundred-images": Comparison(
        *(8, 50, 100, 1),
        (*BLOCKS, *PLAIN, "torchquantum", "jax_gates", "catalyst", "fastqml", "tensorcircuit"),
        TASKS[:2],
    ),
    "ten-images": Comparison(8, 50, 10, 1, (*SCAN, "catalyst"), TASKS[:2]),
    "one-image": Comparison(8, 50, 1, 1, (*SCAN, "ablation:idea", "catalyst", "lightning"), TASKS[:2]),
    **{f"idea-{images}": Comparison(8, 50, images, 1, IDEA) for images in (10, 30, 100, 300, 1000, 3000)},
    "ablation": Comparison(8, 50, 1000, 1, ("patchscape", *(f"ablation:{step}" for step in STEPS))),
    **{f"qubits-{q}": Comparison(q, 20, 100, 1, SCAN, TASKS[:2]) for q in (4, 6, 8, 10)},
    **{f"depth-{depth}": Comparison(8, depth, 100, 1, SCAN, TASKS[:2]) for depth in (5, 200)},
    "thousand-images-two-cores": Comparison(8, 50, 1000, 2, BLOCKS),
    "thousand-images-deep": Comparison(8, 200, 1000, 1, BLOCKS),
}
WHOLE = [(6, 4, 100), (8, 2, 100), (8, 6, 100)]  # (qubits, depth, images)
SMOKE = Comparison(4, 2, 3, 2, tuple(dict.fromkeys(n for c in COMPARISONS.values() for n in c.names)))
BUDGET = 8.0  # seconds per contestant and task after which no further run is started
# Seconds between two contestants: one that has answered still frees its memory on the core that the next one uses.
SETTLE = 0.5


class Process:
    """A contestant in a process of its own (`contestants/__main__.py`)."""

    def __init__(self, name: str, interpreter: str, cores: int) -> None:
        names = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "lib")])
        environment = os.environ | {"PYTHONPATH": names, "JAX_PLATFORMS": "cpu"}
        environment |= {"OMP_NUM_THREADS": str(cores), "NPROC": str(cores)}  # NPROC: threads of XLA
        cpus = sorted(os.sched_getaffinity(0))[:cores]
        self._process = subprocess.Popen(
            [interpreter, "-m", "contestants", name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        self._name = name

    def ask(self, *request: object, patience: float) -> dict:
        """Sends a request and waits for its answer.

        Args:
            *request: a verb and its arguments.
            patience: seconds to wait.

        Returns:
            The answer.

        Raises:
            TimeoutError: if there is no answer in time; the process is then ended.
            RuntimeError: if the process fails: its message is on standard error.
        """
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            if not waiting.select(patience):
                self._process.kill()
                raise TimeoutError(f"{self._name}: no answer in {patience:.0f} s to {request[0]}")
        try:
            return pickle.load(self._process.stdout)
        except EOFError:
            raise RuntimeError(f"{self._name} failed in {request[0]}: see the message above.") from None

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def machine() -> dict:
    """What the times depend on besides the code: processor, cores, load and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "load": os.getloadavg()[0]}


def problem(qubits: int, depth: int, images: int) -> tuple[ModelConfig, np.ndarray, np.ndarray, np.ndarray]:
    """One circuit with random angles, random images, and random weights of its expectation values."""
    cfg = ModelConfig(n_patches=1, depth=depth, n_qubits=qubits, image_side=qubits, n_classes=min(10, 2 * qubits))
    rng = np.random.default_rng(0)
    phi = rng.uniform(0, np.pi, cfg.n_params_per_qnn).astype(np.float32)
    patches = rng.uniform(0, np.pi, (images, qubits**2)).astype(np.float32)
    weights = rng.normal(size=(images, cfg.n_classes)).astype(np.float32)
    return cfg, phi, patches, weights


def compare(which: Comparison, runs: int, patience: float, interpreters: dict[str, str]) -> dict:
    """Checks that the contestants agree on one size, then times them in turn.

    Args:
        which: size and contestants.
        runs: timed runs of each.
        patience: seconds to wait for one answer of a contestant.
        interpreters: of each environment; a contestant without one is left out.

    Returns:
        Rows, and with what they were made. A row has for every task the medians of wall and processor seconds, the wall
        seconds of the first call, and the largest difference from the first contestant; `stopped` names the task that
        gave no answer in time.

    Raises:
        RuntimeError: if a contestant fails, or differs from the first.
    """
    start, load = time.time(), machine()
    cfg, phi, patches, weights = problem(*which[:3])
    v = np.random.default_rng(1).normal(size=phi.shape).astype(np.float32)
    arguments = {"forward": (phi, patches), "gradient": (phi, patches, weights), "product": (phi, patches, weights, v)}
    tolerance = {"forward": 1e-4, "gradient": 1e-3, "product": 1e-3}  # the latter of the largest entry
    processes, rows, versions, reference, times = {}, {}, {}, {}, {}
    for name in which.names:
        home = contestants.ENVIRONMENTS.get(name.partition(":")[0], "bench")
        if home not in interpreters:
            print(f"{name}: left out, no interpreter of the environment {home} is known (--python {home}=PATH)")
            continue
        size = {key: getattr(which, key) for key in ("qubits", "depth", "images", "cores")}
        row = rows[name] = size | {"contestant": name, "first_s": {}, "difference": {}}
        process = Process(name, interpreters[home], which.cores)
        try:
            built = process.ask("build", cfg.model_dump(), patience=patience)
            versions[name] = built["versions"]
            for task in (task for task in which.tasks if task in built["has"]):
                row["stopped"] = task
                answer = process.ask(task, *arguments[task], patience=patience)
                row["first_s"][task] = answer["seconds"]
                expected = reference.setdefault(task, answer["value"])
                scale = 1 if task == "forward" else np.abs(expected).max()
                row["difference"][task] = float(np.abs(answer["value"] - expected).max() / scale)
                if not row["difference"][task] < tolerance[task]:
                    raise RuntimeError(f"{name} differs in {task} by {row['difference'][task]:.1e}: nothing was timed.")
            del row["stopped"]
        except TimeoutError as error:
            print(error)
            row["patience_s"] = patience
        processes[name], times[name] = process, {task: [] for task in row["first_s"]}
    for _ in range(runs):
        for name, process in processes.items():
            time.sleep(SETTLE)
            for task, found in times[name].items():
                if "stopped" not in rows[name] and (not found or sum(wall for wall, _ in found) < BUDGET):
                    answer = process.ask(task, *arguments[task], patience=patience)
                    found.append((answer["seconds"], answer["cpu_s"]))
    for name, process in processes.items():
        process.close()
        measured = {task: found for task, found in times[name].items() if found}
        for kind, key in enumerate(("wall_s", "processor_s")):
            rows[name][key] = {task: statistics.median(x[kind] for x in found) for task, found in measured.items()}
        rows[name]["runs"] = {task: len(found) for task, found in measured.items()}
        print(name, *(f"{key} {rows[name][key]}" for key in ("wall_s", "processor_s", "first_s")), flush=True)
    made = records.provenance() | load | {"versions": versions, "wall_s": round(time.time() - start, 1)}
    return {"rows": list(rows.values()), "provenance": made}


def read(path: Path) -> dict:
    """What is stored so far."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def seconds(f, *x) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    f(*x)
    return time.perf_counter() - start


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
    theirs = torchquantum.build(one)
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
    print(out)
    return out


# Whose largest eigenvalue `stability` looks at.
STABLE = files.data_folder() / "results" / "laptop" / "mnist-n4-d6-s0to9-746baccd2690.safetensors"


def stable_value() -> float:
    """The largest eigenvalue of the dense Hessian over all training images at that minimum, as stored."""
    measured = records.read(STABLE.with_name(f"{STABLE.stem}-curvature.safetensors"))
    return float(measured.arrays["lambda_max"][0])


def stability(subsets: int = 5) -> list[dict]:
    """The largest Hessian eigenvalue at one stored minimum, by number of images and by number of products.

    Returns:
        Rows of three kinds. "images": random subsets of the training images. "lanczos": after every step, from several
        random starts. "power": power iteration that stops when two consecutive values differ by less than 1e-3 of the
        value, as PyHessian does (defaults of its `eigenvalues`, tol=1e-3 and maxIter=100), and with a smaller limit.
    """
    record = records.read(STABLE)
    run, images = config.RunConfig(**record.meta["run"]), jobs.images_of(record)
    flat, unravel = ravel_pytree(files.minimum(record, 0))
    angles, labels = jnp.asarray(images.train_angles), jnp.asarray(images.train_labels)

    @jax.jit
    def product(v, weights):
        def loss(p):
            return model.chunk_loss(run.model, model.prepare(run.model, unravel(p)), (angles, labels, weights))

        return jax.jvp(jax.grad(loss), (flat,), (v,))[1]

    def of(chosen: np.ndarray):
        weights = np.zeros(len(labels), np.float32)
        weights[chosen] = 1 / len(chosen)
        return lambda v: np.asarray(product(jnp.asarray(v, jnp.float32), weights), np.float64)

    rows, size = [], len(flat)
    for count in (10, 30, 100, len(labels)):
        for seed in range(subsets if count < len(labels) else 1):
            chosen = np.random.default_rng(seed).choice(len(labels), count, replace=False)
            found = spectra.eigenpairs(of(chosen), size, 1, seed=0, tol=1e-4)
            value, residual = float(found.values[0]), float(found.residuals[0])
            rows.append({"kind": "images", "images": count, "seed": seed, "value": value, "residual": residual})
    whole, known = of(np.arange(len(labels))), {}

    def remembered(v):  # more steps from the same start begin with the same products
        key = v.tobytes()
        if key not in known:
            known[key] = whole(v)
        return known[key]

    for seed in range(subsets):
        for steps in range(1, 21):
            found = spectra.lanczos(remembered, size, seed=seed, max_steps=steps, tol=1e-12)
            value, residual = float(found.values[0, 0]), float(found.residuals[0, 0])
            rows.append({"kind": "lanczos", "steps": steps, "seed": seed, "value": value, "residual": residual})
        for limit in (1e-3, 1e-6):
            v = np.random.default_rng(seed).standard_normal(size)
            values = []
            while len(values) < 100:
                v = v / np.linalg.norm(v)
                image = remembered(v)
                values.append(float(v @ image))
                if len(values) > 1 and abs(values[-2] - values[-1]) / (abs(values[-2]) + 1e-6) < limit:
                    break
                if len(values) < 100:
                    v = image
            value = values[-1]
            row = {"kind": "power", "limit": limit, "steps": len(values), "seed": seed, "value": value}
            rows.append(row | {"residual": float(np.linalg.norm(image - value * v))})
    return rows


def main() -> None:
    """Runs the benchmarks that were asked for and stores them with their provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("headline", "paper", "hessian", "stability", "precision", *COMPARISONS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"renew these; default all: {', '.join(parts)}")
    parser.add_argument("--runs", type=int, default=5, help="timed runs per contestant and task")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="leave the other tasks out")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for one answer of a contestant")
    parser.add_argument("--smoke", action="store_true", help="one tiny comparison of all contestants, nothing stored")
    parser.add_argument(
        "--python", action="append", default=[], metavar="ENVIRONMENT=PATH", help="interpreter of an environment"
    )
    parser.add_argument("--out", type=Path, default=files.data_folder() / "results" / "benchmarks.json")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(parts)}.")
    interpreters = {"bench": sys.executable} | dict(entry.split("=", 1) for entry in args.python)
    if args.smoke:
        compare(SMOKE, 1, args.patience, interpreters)
        whole_hessian(4, 1, 5, runs=1)
        return
    if len(args.parts) != 1:  # a process for each: what TorchQuantum has used would stay with this one
        options = ["--runs", str(args.runs), "--patience", str(args.patience), "--out", str(args.out)]
        options += ["--tasks", *args.tasks, *(word for entry in args.python for word in ("--python", entry))]
        for part in args.parts or parts:
            subprocess.run([sys.executable, __file__, part, *options], check=True)
        return
    few, (part,) = max(1, args.runs // 2), args.parts
    others = {
        "headline": lambda: headline(few),
        "paper": lambda: paper_size(60_000, (50, 200), args.runs),
        "stability": stability,
        "precision": lambda: {"depth": 50} | speed.precision_differences(config.paper(4, 50).model, 16),
        "hessian": lambda: [whole_hessian(*size, few) for size in WHOLE],
    }
    if part in others:
        load, start = machine(), time.time()
        rows = others[part]()
        made = records.provenance() | load | {"wall_s": round(time.time() - start, 1)}
        result = {"rows": rows, "provenance": made}
        if part == "stability":
            result["exact"] = stable_value()
    else:
        which = COMPARISONS[part]
        which = which._replace(tasks=tuple(task for task in which.tasks if task in args.tasks))
        result = compare(which, args.runs, args.patience, interpreters)
        if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # a first call that finds its program compiled says nothing
            known = read(args.out).get("comparisons", {}).get(part, {"rows": []})["rows"]
            first = {row["contestant"]: row["first_s"] for row in known}
            for row in result["rows"]:
                row["first_s"] = first.get(row["contestant"], {})
    # after every part, and read anew, so that a stopped run loses little
    stored = read(args.out)
    within = stored if part in others else stored.setdefault("comparisons", {})
    within[part] = result | {"matrix_product": speed.matrix_product_rate()}
    records.write_bytes(args.out, (json.dumps(stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
