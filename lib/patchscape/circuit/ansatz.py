"""The ansatz, written down once: stages, the order of its parameters, and its gates in time order.

Both the PennyLane circuit (`qnode`: the readable oracle, and what the book draws) and the fast path
(`patchscape.circuit.simulator`) are made from what stands here, so they cannot drift apart. The circuit is the author's
(`author's code`), for any even number of wires. Only this module imports PennyLane, and only when asked.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from patchscape.config import ModelConfig

LAYER_AXES = ("X", "Y")  # author's code: a layer is RX on every wire, then RY on every wire, then a CZ ring
ENCODING_AXES = (
    ("Y", "X", "Y"),
    ("X", "Y", "X"),
)  # author's code: around pixel j, axes [j % 2], in time order


class Gate(NamedTuple):
    """One gate in time order.

    Attributes:
        name: "RX", "RY" or "CZ".
        wires: one wire, or two for CZ.
        source: where the angle comes from: "parameter" (of phi), "pixel" (angle of the patch), None for CZ.
        index: position in phi or in the flattened patch; -1 for CZ.
    """

    name: Literal["RX", "RY", "CZ"]
    wires: tuple[int, ...]
    source: Literal["parameter", "pixel"] | None = None
    index: int = -1


def split_angles(cfg: ModelConfig, phi):
    """Splits one circuit's flat parameters into its three blocks and two encodings.

    Args:
        cfg: the model.
        phi: (..., n_params_per_qnn) angles in rad, NumPy or JAX, in the author's order.

    Returns:
        Three blocks (..., depth, 2, q), axes (layer, RX/RY, wire), and two encodings (..., q, q/2, 2), axes
        (wire, pixel j, before/after the pixel).

    Raises:
        ValueError: if the last axis has the wrong length.
    """
    q, d = cfg.n_qubits, cfg.depth
    if phi.shape[-1] != cfg.n_params_per_qnn:
        raise ValueError(
            f"phi has {phi.shape[-1]} angles per circuit; depth={d} and n_qubits={q} need {cfg.n_params_per_qnn}."
        )
    block, encoding = 2 * d * q, q * q
    parts, start = [], 0
    for length, shape in ((block, (d, 2, q)), (encoding, (q, q // 2, 2))) * 2 + ((block, (d, 2, q)),):
        parts.append(phi[..., start : start + length].reshape(*phi.shape[:-1], *shape))
        start += length
    return parts[0::2], parts[1::2]


def cz_ring(q: int) -> list[Gate]:
    """Returns the CZ gates on (i, i+1 mod q); for q = 2 the two of them cancel."""
    return [Gate("CZ", (i, (i + 1) % q)) for i in range(q)]


def gates(cfg: ModelConfig) -> list[Gate]:
    """Returns every gate of one circuit in time order.

    >>> [g.name for g in gates(ModelConfig(depth=1, n_qubits=2, n_patches=4, image_side=4, n_classes=2))][:6]
    ['RX', 'RX', 'RY', 'RY', 'CZ', 'CZ']
    """
    q = cfg.n_qubits
    blocks, encodings = split_angles(cfg, np.arange(cfg.n_params_per_qnn))
    out: list[Gate] = []
    for stage, block in enumerate(blocks):
        for layer, angles in enumerate(block):
            out += [
                Gate(f"R{axis}", (wire,), "parameter", int(angles[a, wire]))
                for a, axis in enumerate(LAYER_AXES)
                for wire in range(q)
            ]
            if not (stage == 2 and layer == cfg.depth - 1):  # author's code: no ring before the measurement
                out += cz_ring(q)
        if stage < 2:
            for wire in range(q):
                for j in range(q // 2):
                    first, middle, last = ENCODING_AXES[j % 2]
                    before, after = map(int, encodings[stage][wire, j])
                    pixel = stage * q * q // 2 + wire * q // 2 + j
                    out += [
                        Gate(f"R{first}", (wire,), "parameter", before),
                        Gate(f"R{middle}", (wire,), "pixel", pixel),
                        Gate(f"R{last}", (wire,), "parameter", after),
                    ]
            out += cz_ring(q)
    return out


def observables(cfg: ModelConfig) -> list[tuple[Literal["X", "Z"], int]]:
    """Returns the measured Pauli operators as (axis, wire): C/2 X's, then C/2 Z's."""
    half = cfg.n_classes // 2
    return [("X", k) for k in range(half)] + [("Z", k) for k in range(half)]


def qnode(
    cfg: ModelConfig,
    *,
    device: str = "default.qubit",
    diff_method: str = "best",
    shots: int | None = None,
    seed: int | None = None,
) -> Callable:
    """Returns one circuit as a PennyLane QNode.

    Args:
        cfg: the model.
        device: name of a PennyLane device.
        diff_method: as in `qml.QNode`.
        shots: number of measurements; None is exact.
        seed: of the measurements; None is another draw every time.

    Returns:
        A function (phi (n_params_per_qnn,), patch (q*q,), noise=None) -> list of K expectation values. A patch of shape
        (q*q, batch) is broadcast by PennyLane. A noise is the probability of a depolarising channel after every gate on
        each of its wires; it needs the device "default.mixed".

    Raises:
        ImportError: if PennyLane is not installed.
    """
    try:
        import pennylane as qml
    except ImportError as error:
        raise ImportError(
            "The QNode needs PennyLane, which is not installed: pip install 'patchscape[circuit]'."
        ) from error
    sequence, measured = gates(cfg), observables(cfg)
    rotations = {"RX": qml.RX, "RY": qml.RY}
    pauli = {"X": qml.PauliX, "Z": qml.PauliZ}

    def circuit(phi, patch, noise=None):
        for gate in sequence:
            if gate.name == "CZ":
                qml.CZ(wires=gate.wires)
            else:
                angle = phi[gate.index] if gate.source == "parameter" else patch[gate.index]
                rotations[gate.name](angle, wires=gate.wires[0])
            for wire in gate.wires if noise is not None else ():
                qml.DepolarizingChannel(noise, wires=wire)
        return [qml.expval(pauli[axis](wire)) for axis, wire in measured]

    random = {} if seed is None else {"seed": seed}  # not every device has it
    node = qml.QNode(circuit, qml.device(device, wires=cfg.n_qubits, **random), diff_method=diff_method)
    return node if shots is None else qml.set_shots(node, shots=shots)
