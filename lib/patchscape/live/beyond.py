"""Patch models beyond the paper's: with noise, with another ansatz, without anything quantum.

All are trained in one way and measured in one way, so that only the function of a patch differs. Small models, all
images in one batch, no shared bias. What chapter 9 compares is `KINDS`; its runs are stored in `data/results/beyond`.
"""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax import lax

from patchscape import law, runtime, tables
from patchscape.circuit import ansatz, simulator
from patchscape.circuit.blocks import basis_bits, einsum, kron
from patchscape.config import ModelConfig
from patchscape.learning import data, model
from patchscape.numerics import products, spectra
from patchscape.store import files, records

Array = jax.Array


class PatchFunction(NamedTuple):
    """What stands in the place of one circuit.

    Attributes:
        outputs: (phi (m,), patches (N, q*q) in rad, noise) -> (N, K), each in [-1, 1]. Functions without noise ignore
            the last argument, a strength from 0 to 1.
        start: (random generator, number of patches n) -> (n, m).
    """

    outputs: Callable[[Array, Array, Array], Array]
    start: Callable[[np.random.Generator, int], np.ndarray]


def _angles(m: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, n: rng.uniform(0, np.pi, (n, m))


def paper_circuit(cfg: ModelConfig) -> PatchFunction:
    """Returns the circuit of the paper."""
    return PatchFunction(
        lambda phi, x, noise: simulator.expectations(cfg, simulator.prepare(cfg, phi), x),
        _angles(cfg.n_params_per_qnn),
    )


def tanh_layer(cfg: ModelConfig) -> PatchFunction:
    """Returns a classical function of the same outputs: q_k = tanh(w_k . x + b_k), weights like 1 / sqrt(pixels)."""
    pixels, k = cfg.n_qubits**2, cfg.n_classes

    def outputs(phi: Array, x: Array, noise: Array) -> Array:
        w = phi.reshape(k, pixels + 1)
        return jnp.tanh(x @ w[:, :-1].T + w[:, -1])

    return PatchFunction(outputs, lambda rng, n: rng.normal(0, pixels**-0.5, (n, k * (pixels + 1))))


def entangling_layers(cfg: ModelConfig, layers: int) -> PatchFunction:
    """Returns a circuit of strongly entangling layers {cite}`schuld2020circuit`, as PennyLane's template has them.

    The pixels enter as RY angles, q at a time; before the first, between them and after the last stands a trained
    part. Like the deep blocks of the paper's circuit, the trained parts are built once as matrices.

    Args:
        cfg: the model; its depth is not used.
        layers: of each trained part.

    Returns:
        The function; m = 3 q (q + 1) layers.
    """
    q = cfg.n_qubits
    shape = (q + 1, layers, q, 3)
    rings = np.stack([_cnot_ring(q, layer % (q - 1) + 1) for layer in range(layers)])

    def outputs(phi: Array, x: Array, noise: Array) -> Array:
        before, middle, after = jnp.moveaxis(phi.reshape(shape), -1, 0) / 2
        c, s = jnp.cos(middle), jnp.sin(middle)
        rows = [
            [jnp.exp(-1j * (before + after)) * c, -jnp.exp(1j * (before - after)) * s],
            [jnp.exp(-1j * (before - after)) * s, jnp.exp(1j * (before + after)) * c],
        ]
        parts = rings @ kron(jnp.moveaxis(jnp.stack([jnp.stack(row) for row in rows]), (0, 1), (-2, -1)))
        half = x.reshape(len(x), q, q) / 2
        c, s = jnp.cos(half), jnp.sin(half)
        encodings = kron(jnp.moveaxis(jnp.array([[c, -s], [s, c]]), (0, 1), (-2, -1)))
        state = jnp.zeros((len(x), 2**q), parts.dtype).at[:, 0].set(1)
        for row in range(q + 1):
            for layer in parts[row]:
                state = state @ layer.T
            if row < q:
                state = jnp.einsum("nab,nb->na", encodings[:, row], state)
        return jnp.stack([jnp.sum((state.conj() @ p.T) * state, 1).real for p in _observables(cfg)], 1)

    return PatchFunction(outputs, _angles(int(np.prod(shape))))


def _cnot_ring(q: int, reach: int) -> np.ndarray:
    """CNOTs from every wire to the one `reach` further, in order, as a permutation matrix."""
    states = np.arange(2**q)
    for wire in range(q):
        control, target = q - 1 - wire, q - 1 - (wire + reach) % q
        states = states ^ ((states >> control & 1) << target)
    return np.eye(2**q)[:, states].astype(np.float32)


def _observables(cfg: ModelConfig) -> np.ndarray:
    """Matrices (K, 2^q, 2^q) of the measured operators, real."""
    single = {"X": np.array([[0.0, 1.0], [1.0, 0.0]]), "Z": np.diag([1.0, -1.0])}
    found = []
    for axis, wire in ansatz.observables(cfg):
        left, right = np.eye(2**wire), np.eye(2 ** (cfg.n_qubits - wire - 1))
        found.append(np.kron(np.kron(left, single[axis]), right))
    return np.array(found, np.float32)


class _Gates(NamedTuple):
    """Gates as maps of the expectation values v (D,) of all D = 4^q Pauli strings; arrays may have leading axes.

    A gate makes of v: (keep + cos(angle) turn) v + sin(angle) move v. Noise of probability p then multiplies each
    string by 1 - 4 p / 3 to the power touched.

    Attributes:
        keep: (D,) 1 for strings that commute with the generator.
        turn: (D,) 1 for the others.
        move: (D, D).
        touched: (D,) on how many of the gate's wires a string is not the identity.
        index: of the angle.
        fixed: whether the gate has no angle: it is `move` then.
    """

    keep: np.ndarray
    turn: np.ndarray
    move: np.ndarray
    touched: np.ndarray
    index: np.ndarray
    fixed: np.ndarray


def _pauli_gates(cfg: ModelConfig) -> tuple[_Gates, _Gates]:
    """The gates before, between and after pixels (pixels + 1, L), padded with gates that do nothing, and at pixels."""
    q = cfg.n_qubits
    single = np.array([np.eye(2), [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], np.diag([1, -1])])
    strings = list(itertools.product(range(4), repeat=q))
    paulis = np.array([functools.reduce(np.kron, single[list(string)]) for string in strings])
    size = len(strings)

    def of(maps: np.ndarray) -> np.ndarray:
        return np.einsum("aij,bji->ab", paulis, maps).real / 2**q

    def gate(g: ansatz.Gate) -> _Gates:
        touched = (np.array(strings)[:, list(g.wires)] > 0).sum(1)
        if g.name == "CZ":
            cz = 1 - 2 * basis_bits(q)[:, list(g.wires)].prod(1)
            return _Gates(np.zeros(size), np.zeros(size), of(cz[:, None] * paulis * cz), touched, 0, True)
        axis = paulis[strings.index(tuple("IXYZ".index(g.name[1]) * (g.wires[0] == k) for k in range(q)))]
        left, right = axis @ paulis, paulis @ axis
        keep = np.isclose(left, right).all((1, 2))
        return _Gates(keep, ~keep, of(-0.5j * (left - right)), touched, g.index, False)

    nothing = _Gates(np.ones(size), np.zeros(size), np.zeros((size, size)), np.zeros(size), 0, False)
    pixels, between = [], [[]]
    for g in ansatz.gates(cfg):
        if g.source == "pixel":
            pixels.append(gate(g))
            between.append([])
        else:
            between[-1].append(gate(g))
    longest = max(map(len, between))
    rows = [_stacked([*row, *[nothing] * (longest - len(row))]) for row in between]
    return _stacked(rows), _stacked(pixels)


def _stacked(gates: Sequence[_Gates]) -> _Gates:
    return _Gates(*(np.stack(field) for field in zip(*gates, strict=True)))


def noisy_circuit(cfg: ModelConfig) -> PatchFunction:
    """Returns the circuit of the paper with a depolarising channel after every gate, on each of its wires.

    The noise is the channel's probability, as PennyLane has it. The state is the expectation values of all 4^q Pauli
    strings: rotations turn them, controlled-Z gates permute them, noise shrinks them. What lies between two pixels is
    the same for all images, one matrix. Made for few wires: the tables hold 16^q numbers for each gate.
    """
    between, pixels = _pauli_gates(cfg)
    strings = list(itertools.product("IXYZ", repeat=cfg.n_qubits))
    start = np.array([float(set(string) <= {"I", "Z"}) for string in strings])
    measured = [
        next(i for i, s in enumerate(strings) if s[wire] == axis and s.count("I") == cfg.n_qubits - 1)
        for axis, wire in ansatz.observables(cfg)
    ]

    def outputs(phi: Array, x: Array, noise: Array) -> Array:
        cast = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, None if a.dtype.kind in "bi" else phi.dtype))

        def act(v: Array, gate: _Gates, angle: Array) -> Array:
            cosine, sine = jnp.cos(angle), jnp.where(gate.fixed, 1, jnp.sin(angle))
            moved = sine * einsum("ab,bn->an", gate.move, v)
            shrunk = (1 - 4 / 3 * noise) ** gate.touched[:, None]
            return shrunk * ((gate.keep[:, None] + cosine * gate.turn[:, None]) * v + moved)

        def matrix(gates: _Gates) -> Array:
            identity = jnp.eye(len(start), dtype=phi.dtype)
            return lax.scan(lambda m, gate: (act(m, gate, phi[gate.index]), None), identity, gates)[0]

        first, *_ = matrices = jax.vmap(matrix)(cast(between))

        def stage(v: Array, step: tuple[_Gates, Array]) -> tuple[Array, None]:
            gate, after = step
            return einsum("ab,bn->an", after, act(v, gate, x[:, gate.index])), None

        begin = jnp.broadcast_to((first @ cast(start))[:, None], (len(start), len(x)))
        return lax.scan(stage, begin, (cast(pixels), matrices[1:]))[0][np.array(measured)].T

    return PatchFunction(outputs, _angles(cfg.n_params_per_qnn))


def minima(
    function: PatchFunction,
    cfgs: Sequence[ModelConfig],
    images: data.ImageData,
    *,
    seeds: Sequence[int],
    steps: int,
    learning_rate: float,
    noise: Sequence[float] = (0.0,),
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Trains patch models on all images and measures their sharpness where training ends.

    Adam with a rate that falls to zero along half a cosine. Logits are `cfg.factor` times the sum over patches.

    Args:
        function: of a patch.
        cfgs: cut the patches and set scale and aggregation; without a shared bias, and different in the number of
            patches only. One compiled program serves all: it has room for the most patches and skips what a model
            does not have. All runs of one model go side by side: small arrays cost more by their number than by size.
        images: training images; the test images are not used.
        seeds: of the start, one run each.
        steps: of Adam.
        learning_rate: at the first step.
        noise: strengths; each is trained and measured with its own.

    Returns:
        One row per model, strength and seed: n_patches, angles (m), noise, seed, train_loss (nats), accuracy,
        lambda_max (nats per rad^2; for `tanh_layer` per squared unit of its weights), its residual, and per_loss =
        lambda_max / (1 - exp(-train_loss)); and for each model the parameters where training ended, (len(noise),
        len(seeds), n, m).
    """
    angles, labels = jnp.asarray(images.train_angles), jnp.asarray(images.train_labels)
    room = max(cfg.n_patches for cfg in cfgs)
    outputs = jax.jit(function.outputs)  # traced once: PennyLane takes seconds for it

    def filled(a, axis):
        return jnp.pad(a, [(0, room - size if number == axis else 0) for number, size in enumerate(a.shape)])

    def logits(phi, strength, patches, used, factor):
        def one(circuit):
            phi, x, used = circuit
            nothing = lambda: jnp.zeros((len(labels), cfgs[0].n_classes), phi.dtype)  # noqa: E731
            return lax.cond(used, lambda: outputs(phi, x, strength), nothing)

        return factor * lax.map(one, (phi, patches, used)).sum(0)

    def loss_and_accuracy(phi, *rest):
        z = logits(phi, *rest)
        return model.cross_entropy(z, labels), jnp.mean(jnp.argmax(z, -1) == labels)

    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    @jax.jit
    def train(phi, strength, *rest):
        def one_run(phi, strength):
            def step(carry, _):
                phi, state = carry
                values, gradient = jax.value_and_grad(loss_and_accuracy, has_aux=True)(phi, strength, *rest)
                updates, state = optimiser.update(gradient, state)
                return (optax.apply_updates(phi, updates), state), values

            # One step more than asked for: its rate is zero, and it evaluates where the last one led.
            (phi, _), values = lax.scan(step, (phi, optimiser.init(phi)), length=steps + 1)
            return phi, *(value[-1] for value in values)

        return jax.vmap(one_run)(phi, strength)

    @jax.jit
    def product(phi, v, strength, *rest):
        of_run = lambda phi, v, p: products.hvp(lambda at: loss_and_accuracy(at, p, *rest)[0])(phi, v)  # noqa: E731
        return jax.vmap(of_run)(phi, v, strength)

    runs = list(itertools.product(noise, seeds))  # of one model, side by side
    strength = jnp.array([p for p, _ in runs], angles.dtype)
    trained = []
    for cfg in cfgs:
        used, factor = np.arange(room) < cfg.n_patches, np.asarray(cfg.factor, angles.dtype)
        rest = strength, filled(model.cut_patches(cfg, angles), 0), used, factor
        start = np.stack([function.start(np.random.default_rng(seed), cfg.n_patches) for _, seed in runs])
        trained.append((*train(filled(jnp.asarray(start, angles.dtype), 1), *rest), rest))
    runtime.finished(train)
    rows, ends = [], []
    for cfg, (phi, loss, accuracy, rest) in zip(cfgs, trained, strict=True):
        n, m = shape = cfg.n_patches, phi.shape[2]

        def matvec(v, phi=phi, rest=rest, shape=shape):
            tangent = filled(jnp.asarray(v, phi.dtype).reshape(-1, *shape), 1)
            return np.asarray(product(phi, tangent, *rest), np.float64)[:, : shape[0]].ravel()

        found = spectra.lanczos(matvec, n * m, n_blocks=len(runs), seed=0, max_steps=40)
        for number, (p, seed) in enumerate(runs):
            row = {"n_patches": n, "angles": m, "noise": p, "seed": seed}
            row |= {"train_loss": float(loss[number]), "accuracy": float(accuracy[number])}
            rows.append(row | {"lambda_max": found.values[number, 0], "residual": found.residuals[number, 0]})
        ends.append(np.asarray(phi[:, :n]).reshape(len(noise), len(seeds), n, m))
    runtime.finished()  # the programs of one function are of no use to the next
    table = pd.DataFrame(rows)
    table["per_loss"] = table.lambda_max / law.loss_factor(table.train_loss)
    return table, ends


class Kind(NamedTuple):
    """A function of a patch as chapter 9 compares it.

    Attributes:
        make: model -> the function.
        model: with one patch.
        patches: numbers of patches that are stored.
        steps: of Adam.
        learning_rate: at the first step.
        noise: strengths that are stored.
        keep_end: whether the file keeps where the first run of the largest model ends.
    """

    make: Callable[[ModelConfig], PatchFunction]
    model: ModelConfig
    patches: tuple[int, ...]
    steps: int
    learning_rate: float
    noise: tuple[float, ...] = (0.0,)
    keep_end: bool = False


_ONE = {"n_patches": 1, "shared_bias": False}
_FOUR = ModelConfig(**_ONE, depth=2, n_qubits=4, image_side=8, n_classes=8, scale=25.0), (1, 4, 9, 25), 200
_TWO = ModelConfig(**_ONE, depth=1, n_qubits=2, image_side=4, n_classes=4, scale=10.0), (1, 4, 9), 100
KINDS = {
    "paper": Kind(paper_circuit, *_FOUR, 0.1),
    "entangling": Kind(lambda cfg: entangling_layers(cfg, 1), *_FOUR, 0.1),
    "tanh": Kind(tanh_layer, *_FOUR, 0.03),
    "noisy": Kind(noisy_circuit, *_TWO, 0.1, (0.0, 0.03, 0.1), keep_end=True),
}
STORED: tuple[tuple[str, Literal["mean", "sum"]], ...] = (
    *((kind, "mean") for kind in KINDS),
    ("paper", "sum"),
    ("tanh", "sum"),
)
SEEDS = tuple(range(10))  # ours
IMAGES = 240  # ours


def images_of(kind: str, n_images: int = IMAGES) -> data.ImageData:
    """Returns the scikit-learn digits on which a kind of `KINDS` is trained.

    Args:
        kind: its name.
        n_images: training images; the two-qubit models, which are slow, take at most 100, averaged to 4 x 4 pixels.

    Returns:
        The images of the first eight classes, or four.
    """
    cfg = KINDS[kind].model
    if cfg.image_side == 8:
        return data.load("digits", n_qubits=cfg.n_qubits, n_classes=cfg.n_classes, n_train=n_images)
    images = data.load("digits", n_qubits=cfg.n_qubits, n_classes=cfg.n_classes, n_train=min(n_images, 100))
    averaged = {
        name: getattr(images, name).reshape(-1, 4, 2, 4, 2).mean((2, 4)) for name in ("train_angles", "test_angles")
    }
    return images._replace(**averaged)


def train(
    kind: str,
    images: data.ImageData,
    patches: Sequence[int],
    *,
    seeds: Sequence[int],
    steps: int,
    noise: Sequence[float] = (0.0,),
    aggregation: Literal["mean", "sum"] = "mean",
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Trains and measures a kind of `KINDS`; arguments and result are those of `minima`.

    Args:
        kind: its name.
        images: training images.
        patches: numbers of patches.
        seeds: of the start, one run each.
        steps: of Adam.
        noise: strengths.
        aggregation: of the circuits.

    Returns:
        The table and the ends of `minima`.
    """
    own = KINDS[kind]
    cfgs = [own.model.model_copy(update={"n_patches": n, "aggregation": aggregation}) for n in patches]
    protocol = {"steps": steps, "learning_rate": own.learning_rate, "noise": noise}
    return minima(own.make(own.model), cfgs, images, seeds=seeds, **protocol)


def _settings(kind: str, images: data.ImageData, steps: int, aggregation: str) -> dict[str, Any]:
    own = KINDS[kind]
    model = own.model.model_copy(update={"aggregation": aggregation}).model_dump(mode="json")
    return {"kind": kind, "model": model, "learning_rate": own.learning_rate, "steps": steps} | {
        "images": images.fingerprint
    }


def read_or_train(
    kind: str,
    images: data.ImageData,
    patches: Sequence[int],
    *,
    seeds: Sequence[int],
    steps: int,
    noise: Sequence[float] = (0.0,),
    aggregation: Literal["mean", "sum"] = "mean",
) -> pd.DataFrame:
    """Reads the runs of a kind of `KINDS`, or trains them all if one of them is not stored.

    Args:
        kind: its name.
        images: training images.
        patches: numbers of patches.
        seeds: of the start, one run each.
        steps: of Adam.
        noise: strengths.
        aggregation: of the circuits.

    Returns:
        The table of `minima` with `stored`, whether the runs were read.

    Raises:
        ValueError: if the file is damaged.
    """
    settings = _settings(kind, images, steps, aggregation)
    found = tables.beyond.matching(settings, patches=patches, noise=noise, seeds=seeds)
    if found is not None:
        return found.assign(stored=True)
    fresh, _ = train(kind, images, patches, seeds=seeds, steps=steps, noise=noise, aggregation=aggregation)
    return fresh.assign(stored=False)


def store(kind: str, aggregation: Literal["mean", "sum"], folder: str | Path) -> Path:
    """Makes the file of one kind that chapter 9 reads, with every seed of `SEEDS`, unless it is there.

    Args:
        kind: name in `KINDS`.
        aggregation: of the circuits.
        folder: of the files.

    Returns:
        The file.

    Raises:
        ValueError: if it is damaged, or holds runs of other settings.
    """
    own, images = KINDS[kind], images_of(kind)
    settings, target = _settings(kind, images, own.steps, aggregation), tables.beyond.path(kind, aggregation, folder)
    if target.exists():
        if records.read(target).meta["settings"] != settings:
            raise ValueError(f"{target} holds runs of other settings: delete it and make it anew.")
        return target
    start = time.perf_counter()
    table, ends = train(
        kind, images, own.patches, seeds=SEEDS, steps=own.steps, noise=own.noise, aggregation=aggregation
    )
    meta = {"settings": settings, "wall_s": time.perf_counter() - start, "provenance": records.provenance()}
    arrays = {name: table[name].to_numpy() for name in tables.beyond.COLUMNS}
    files.write("beyond", target, arrays | ({"phi": ends[-1][0, 0]} if own.keep_end else {}), meta)
    return target


def end_of(kind: str, images: data.ImageData, n_patches: int, *, steps: int) -> np.ndarray:
    """Reads where the run with the first strength and seed of a kind ends, or trains it.

    Args:
        kind: its name.
        images: training images.
        n_patches: number of patches.
        steps: of Adam.

    Returns:
        (n, m) angles in rad.

    Raises:
        ValueError: if the file is damaged.
    """
    stored = tables.beyond.end(_settings(kind, images, steps, "mean"))
    if stored is not None and len(stored) == n_patches:
        return stored
    _, (ends,) = train(kind, images, [n_patches], seeds=SEEDS[:1], steps=steps, noise=KINDS[kind].noise[:1])
    return ends[0, 0]


def curvature_from_shots(
    cfg: ModelConfig,
    phi: np.ndarray,
    direction: np.ndarray,
    images: data.ImageData,
    *,
    shots: Sequence[int],
    repeats: int,
    step: float,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimates the curvature along one direction as an experiment would: from losses at three points.

    (L(phi + h v) - 2 L(phi) + L(phi - h v)) / h^2, each expectation value from a finite number of measurements.

    Args:
        cfg: the model, without a shared bias.
        phi: (n, m) in rad.
        direction: (n, m), a unit vector v.
        images: training images.
        shots: numbers of measurements of every circuit for every image; 0 is exact.
        repeats: estimates for each number.
        step: h in rad.
        seed: of the measurements.

    Returns:
        One row per estimate: shots, curvature (nats per rad^2).
    """
    patches = np.asarray(model.cut_patches(cfg, jnp.asarray(images.train_angles)))
    labels, pixels = jnp.asarray(images.train_labels), patches.reshape(-1, patches.shape[-1]).T
    rows = []
    for count in shots:
        node = ansatz.qnode(cfg, shots=count or None, seed=seed)

        def loss(at: np.ndarray, node: Callable = node) -> float:
            # all circuits and images in one call: PennyLane takes long for each
            outputs = np.stack(node(np.repeat(at, len(labels), 0).T, pixels))
            z = cfg.factor * outputs.reshape(cfg.n_classes, cfg.n_patches, -1).sum(1).T
            return float(model.cross_entropy(jnp.asarray(z), labels))

        for _ in range(repeats if count else 1):
            ahead, here, behind = (loss(phi + h * direction) for h in (step, 0, -step))
            rows.append({"shots": count, "curvature": (ahead - 2 * here + behind) / step**2})
    return pd.DataFrame(rows)
