"""PennyLane's compiler Catalyst with lightning.qubit: gate by gate, but compiled, with loops that stay loops.

It has an environment of its own, because it pins another version of JAX. Arithmetic is in double precision.
"""

import jax.numpy as jnp
import numpy as np

from contestants import Contestant
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, cz_ring, observables, split_angles
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """Adjoint differentiation, image by image inside the compiled program; there are no second derivatives."""
    import catalyst
    import pennylane as qml

    q, d = cfg.n_qubits, cfg.depth
    rotation = {"X": qml.RX, "Y": qml.RY}
    pauli = {"X": qml.PauliX, "Z": qml.PauliZ}

    def ring():
        for gate in cz_ring(q):
            qml.CZ(wires=gate.wires)

    def layers(angles, count):
        @catalyst.for_loop(0, count, 1)
        def layer(i):
            for row, axis in enumerate(LAYER_AXES):
                for wire in range(q):
                    rotation[axis](angles[i, row, wire], wires=wire)
            ring()

        layer()

    @qml.qnode(qml.device("lightning.qubit", wires=q), diff_method="adjoint")
    def node(phi, patch):
        blocks, encodings = split_angles(cfg, phi)
        pixels = patch.reshape(2, q, q // 2)
        for stage in range(2):
            layers(blocks[stage], d)
            for wire in range(q):
                for j in range(q // 2):
                    around = encodings[stage][wire, j]
                    angles = around[0], pixels[stage, wire, j], around[1]
                    for axis, angle in zip(ENCODING_AXES[j % 2], angles, strict=True):
                        rotation[axis](angle, wires=wire)
            ring()
        layers(blocks[2], d)
        ring()  # takes the last layer's ring back: two rings cancel
        return tuple(qml.expval(pauli[axis](wire)) for axis, wire in observables(cfg))

    def expectations(phi, patches):
        return jnp.stack(catalyst.vmap(node, in_axes=(None, 0))(phi, patches), 1)

    def cost(phi, patch, weight):
        return jnp.sum(weight * jnp.stack(node(phi, patch)))

    # Along all arguments: with fewer, its differentiation of the classical part stops with an assertion.
    slopes = catalyst.grad(cost, argnums=(0, 1, 2))

    def slope(phi, patches, weights):
        @catalyst.for_loop(0, len(patches), 1)
        def image(i, total):
            return total + slopes(phi, patches[i], weights[i])[0]

        return image(jnp.zeros_like(phi))

    forward, gradient = qml.qjit(expectations), qml.qjit(slope)

    def run(f):
        return lambda *x: np.asarray(f(*(np.asarray(a, np.float64) for a in x)))

    libraries = "pennylane", "pennylane_catalyst", "pennylane_lightning", "jax"
    return Contestant(run(forward), run(gradient), None, libraries)
