"""This project with one of its steps switched off, to see what the step gives.

A variant puts a plain version in place of a function of the library, in its own process only.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from contestants import Contestant, patchscape
from patchscape.circuit import blocks, rotations, simulator
from patchscape.config import ModelConfig
from patchscape.numerics.linear import linear_map


def _complex_block(angles):
    """A block as a complex matrix, its real and imaginary part first: layers as two small products."""
    q = angles.shape[-1]
    size = 2 ** (q // 2)
    ring = jnp.asarray(blocks.ring_signs(q).reshape(size, size, 1), angles.dtype)
    gates = blocks._matrix(blocks._layer_rotations(angles))

    def layer(s, halves):
        first, last = halves
        s = (first @ s.reshape(size, -1)).reshape(s.shape)
        return jnp.einsum("cb,abm->acm", last, s) * ring, None

    identity = jnp.eye(2**q, dtype=gates.dtype).reshape(size, size, -1)
    halves = blocks.kron(gates[:, : q // 2]), blocks.kron(gates[:, q // 2 :])
    return lax.scan(layer, identity, halves)[0].reshape(2**q, 2**q)


def _complex_generator(t, q):
    """-i/2 of a sum of Pauli strings of odd weight, as a complex matrix."""
    place, power, hadamard, row = blocks._paulis_to_matrix(q)
    t = jnp.zeros(4**q, t.dtype).at[place].set(0.5 * t, unique_indices=True).reshape(2**q, 2**q)
    by_flip = (-1j * t * np.array([1, 1j, -1, -1j])[power]).astype(jnp.result_type(t, jnp.complex64)) @ hadamard
    return by_flip[row, np.arange(2**q, dtype=np.int32)]


def _real_basis() -> None:
    """Blocks and states are complex; the derivative of a block keeps its closed form."""

    @jax.custom_jvp
    def block_matrix(angles):
        return _complex_block(angles)

    @block_matrix.defjvp
    def _(primals, tangents):
        (angles,), (rates,) = primals, tangents
        u = block_matrix(angles)
        t = linear_map(blocks._pull_back, blocks._push_forward, (angles,), (rates,))
        return u, u @ _complex_generator(t, angles.shape[-1])

    def apply(matrix, s):
        out = matrix @ lax.complex(s[0], s[1])
        return jnp.stack([out.real, out.imag])

    def prepare(cfg, phi):
        (first, *others), encodings = simulator.split_angles(cfg, phi)
        ring = jnp.asarray(blocks.ring_signs(cfg.n_qubits), phi.dtype)
        start = jnp.zeros((2, 2**cfg.n_qubits, 1), phi.dtype).at[0, 0].set(1)
        matrices = lax.map(block_matrix, jnp.stack(others)) * ring
        return simulator.Prepared(
            blocks.apply_layers(first, start)[..., 0],
            jax.vmap(simulator._encoding_tables)(jnp.stack(encodings)),
            matrices.at[1].multiply(ring[:, None]),
        )

    simulator.prepare, simulator.apply = prepare, apply


def _small_products() -> None:
    """A layer is one product with a matrix of all wires, in the real basis; the ring is part of it."""

    def layers(angles, x):
        q = angles.shape[-1]
        ring = jnp.asarray(blocks.ring_signs(q), angles.dtype)[:, None]
        gates = blocks._matrix(blocks._layer_rotations(angles))

        def layer(x, gates):
            columns = blocks.kron(gates)[:, : 2 ** (q - 1)] * ring
            return blocks.einsum("ab,bn->an", blocks._real_matrix(jnp.stack([columns.real, columns.imag])), x), None

        return lax.scan(layer, x, gates)[0]

    blocks._real_layers = layers


def _block_derivative() -> None:
    """JAX differentiates the layers of a block, and stores what it needs of each."""
    simulator.block_matrix = lambda angles: blocks._real_layers(
        angles, jnp.eye(2 ** angles.shape[-1], dtype=angles.dtype)
    )


def _encoding_derivative() -> None:
    """JAX differentiates the rotations of the encodings, and stores the states between them."""
    simulator.rotate = rotations._rotate


def _idea() -> None:
    """The states of the images run through the layers of blocks 2 and 3, in the real basis and as small products."""

    def apply(block, s):
        angles, last = block
        ring = jnp.asarray(blocks.ring_signs(angles.shape[-1]), s.dtype)[:, None]
        return blocks.apply_layers(angles, s * ring) * last[:, None]

    def prepare(cfg, phi):
        (first, *others), encodings = simulator.split_angles(cfg, phi)
        ring = jnp.asarray(blocks.ring_signs(cfg.n_qubits), phi.dtype)
        start = jnp.zeros((2, 2**cfg.n_qubits, 1), phi.dtype).at[0, 0].set(1)
        return simulator.Prepared(
            blocks.apply_layers(first, start)[..., 0],
            jax.vmap(simulator._encoding_tables)(jnp.stack(encodings)),
            (jnp.stack(others), jnp.stack([jnp.ones_like(ring), ring])),  # no ring before the measurement
        )

    simulator.prepare, simulator.apply = prepare, apply


_VARIANTS = {
    "idea": _idea,
    "real_basis": _real_basis,
    "small_products": _small_products,
    "block_derivative": _block_derivative,
    "encoding_derivative": _encoding_derivative,
}


def build(cfg: ModelConfig, step: str) -> Contestant:
    """This project without one step.

    Args:
        cfg: the model.
        step: "idea", "real_basis", "small_products", "block_derivative" or "encoding_derivative".

    Returns:
        It; from then on the process has the library without the step.
    """
    _VARIANTS[step]()
    return patchscape.build(cfg)
