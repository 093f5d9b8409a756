"""The circuit gate by gate with dense matrices: slow and plain; only the gate list is the simulator's."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from patchscape.circuit.ansatz import Gate, gates, observables
from patchscape.config import ModelConfig

PAULI = {"X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}


def on_wires(q: int, single: dict[int, np.ndarray]) -> np.ndarray:
    """Single-qubit matrices on some of q wires, wire 0 first."""
    return reduce(np.kron, [single.get(wire, np.eye(2)) for wire in range(q)])


def terms(q: int, gate: Gate) -> tuple[np.ndarray, np.ndarray]:
    """Matrices A and B of a gate cos(t/2) A - i sin(t/2) B; a CZ is A at t = 0."""
    if gate.name == "CZ":
        zero, one = np.diag([1, 0]), np.diag([0, 1])
        a, b = gate.wires
        controlled = on_wires(q, {a: zero}) + on_wires(q, {a: one}) @ on_wires(q, {b: PAULI["Z"]})
        return controlled, np.zeros((2**q, 2**q))
    return np.eye(2**q), on_wires(q, {gate.wires[0]: PAULI[gate.name[1]]})


def unitary(q: int, sequence: list[Gate], phi: np.ndarray) -> np.ndarray:
    """Product of gates in time order, (2^q, 2^q) complex, with NumPy."""
    out = np.eye(2**q)
    for gate in sequence:
        a, b = terms(q, gate)
        t = phi[gate.index] if gate.name != "CZ" else 0.0
        out = (np.cos(t / 2) * a - 1j * np.sin(t / 2) * b) @ out
    return out


def expectations(cfg: ModelConfig, phi: jax.Array, patches: jax.Array) -> jax.Array:
    """Expectation values (N, K) of patches (N, q*q), differentiable by JAX's own rules only."""
    q, sequence = cfg.n_qubits, gates(cfg)
    a, b = (jnp.asarray(np.stack(m), complex) for m in zip(*(terms(q, g) for g in sequence), strict=True))
    place = {"parameter": 0, "pixel": phi.shape[0], None: -1}
    source = np.array([place[g.source] + g.index if g.source else -1 for g in sequence])
    measured = jnp.asarray(np.stack([on_wires(q, {wire: PAULI[axis]}) for axis, wire in observables(cfg)]), complex)

    def one(patch):
        angles = jnp.concatenate([phi, patch, jnp.zeros(1)])[source]

        def step(state, gate):
            a, b, t = gate
            return jnp.cos(t / 2) * (a @ state) - 1j * jnp.sin(t / 2) * (b @ state), None

        state = jax.lax.scan(step, jnp.zeros(2**q, complex).at[0].set(1), (a, b, angles))[0]
        return jnp.einsum("i,kij,j->k", state.conj(), measured, state).real

    return jax.vmap(one)(patches)
