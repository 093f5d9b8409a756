"""PennyLane's default.qubit by somebody who has the idea: the listing of the chapter on speed, compiled by JAX.

A QNode of one layer runs all basis states through the layers of a block, in a scan, so that it is compiled once,
whatever the depth. The circuit of an image has the blocks as matrices.
"""

import jax
import jax.numpy as jnp
import pennylane as qml

from contestants import Contestant, jax_common
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, cz_ring, observables, split_angles
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """All images at once, in single precision."""
    q = cfg.n_qubits
    wires, rotation = range(q), {"X": qml.RX, "Y": qml.RY}
    device = qml.device("default.qubit", wires=q)

    def ring():
        for gate in cz_ring(q):
            qml.CZ(wires=gate.wires)

    @qml.qnode(device)
    def layer(states, angles):
        qml.StatePrep(states, wires=wires, validate_norm=False)
        for row, axis in enumerate(LAYER_AXES):
            for wire in wires:
                rotation[axis](angles[row, wire], wires=wire)
        ring()
        return qml.state()

    def block(angles):  # (d, 2, q) -> the block's matrix
        step = lambda states, a: (layer(states, a).astype(states.dtype), None)  # noqa: E731
        return jax.lax.scan(step, jnp.eye(2**q, dtype=jnp.complex64), angles)[0].T

    @qml.qnode(device)
    def images(start, blocks, encodings, pixels):
        qml.StatePrep(start, wires=wires, validate_norm=False)
        for stage in range(2):
            for wire in wires:
                for j in range(q // 2):
                    around = encodings[stage][wire, j]
                    angles = around[0], pixels[:, stage, wire, j], around[1]
                    for axis, angle in zip(ENCODING_AXES[j % 2], angles, strict=True):
                        rotation[axis](angle, wires=wire)
            ring()
            qml.QubitUnitary(blocks[stage], wires=wires)
        ring()  # takes the last layer's ring back: two rings cancel
        pauli = {"X": qml.PauliX, "Z": qml.PauliZ}
        return [qml.expval(pauli[axis](wire)) for axis, wire in observables(cfg)]

    def expectations(phi, patches):
        angles, encodings = split_angles(cfg, phi)
        first, *others = jax.lax.map(block, jnp.stack(angles))
        pixels = patches.reshape(len(patches), 2, q, q // 2)
        return jnp.stack(images(first[:, 0], others, encodings, pixels), 1)

    return jax_common.contestant(expectations, ("pennylane", "jax", "jaxlib"))
