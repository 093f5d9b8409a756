"""TensorCircuit-NG with its JAX backend by somebody who has the idea: blocks as matrices, layers in a scan."""

import jax
import jax.numpy as jnp

from contestants import Contestant, jax_common
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, cz_ring, observables, split_angles
from patchscape.config import ModelConfig


def build(cfg: ModelConfig) -> Contestant:
    """One layer is a circuit; it runs all basis states through a block, vectorised and in a scan."""
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex64")
    q = cfg.n_qubits

    def rotate(circuit, axis, wire, angle):
        (circuit.rx if axis == "X" else circuit.ry)(wire, theta=angle)

    def ring(circuit):
        for gate in cz_ring(q):
            circuit.cz(*gate.wires)

    def layer(state, angles):
        circuit = tc.Circuit(q, inputs=state)
        for row, axis in enumerate(LAYER_AXES):
            for wire in range(q):
                rotate(circuit, axis, wire, angles[row, wire])
        ring(circuit)
        return circuit.state()

    def run(angles, states):
        step = lambda s, a: (jax.vmap(layer, (0, None))(s, a), None)  # noqa: E731
        return jax.lax.scan(step, states, angles)[0]

    def encode(state, angles, pixels):
        circuit = tc.Circuit(q, inputs=state)
        for wire in range(q):
            for j in range(q // 2):
                values = angles[wire, j, 0], pixels[wire, j], angles[wire, j, 1]
                for axis, angle in zip(ENCODING_AXES[j % 2], values, strict=True):
                    rotate(circuit, axis, wire, angle)
        ring(circuit)
        return circuit.state()

    def measure(state):
        circuit = tc.Circuit(q, inputs=state)
        ring(circuit)  # takes the last layer's ring back: two rings cancel
        return jnp.stack([jnp.real(circuit.expectation_ps(**{axis.lower(): [w]})) for axis, w in observables(cfg)])

    def expectations(phi, patches):
        angles, encodings = split_angles(cfg, phi)
        pixels = patches.reshape(len(patches), 2, q, q // 2)
        identity = jnp.eye(2**q, dtype=jnp.complex64)
        states = jnp.broadcast_to(run(angles[0], identity[:1]), (len(patches), 2**q))
        for stage, rows in enumerate(jax.lax.map(lambda a: run(a, identity), jnp.stack(angles[1:]))):
            states = jax.vmap(encode, (0, None, 0))(states, encodings[stage], pixels[:, stage]) @ rows
        return jax.vmap(measure)(states)

    return jax_common.contestant(expectations, ("tensorcircuit-ng", "jax", "jaxlib"))
