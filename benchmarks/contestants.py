"""The same circuit in five simulators, each as (forward, gradient) of one number of images.

`forward(phi, patches)` gives the expectation values (N, K); `gradient(phi, patches, weights)` the gradient (P,) of
sum(weights * expectation values) with respect to phi. All take and give NumPy arrays and wait for the result.
"""

import sys
import types
from collections.abc import Callable
from importlib import abc, machinery
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from patchscape.circuit import simulator
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, gates, observables, qnode, split_angles
from patchscape.circuit.blocks import ring_signs
from patchscape.config import ModelConfig


class Contestant(NamedTuple):
    """A simulator, ready to run."""

    forward: Callable
    gradient: Callable


def _with_jax(expectations: Callable) -> Contestant:
    forward = jax.jit(expectations)
    gradient = jax.jit(jax.grad(lambda phi, patches, weights: jnp.sum(weights * expectations(phi, patches))))
    return Contestant(lambda *x: np.asarray(forward(*x)), lambda *x: np.asarray(gradient(*x)))


def patchscape(cfg: ModelConfig) -> Contestant:
    """This project: block unitaries."""
    return _with_jax(lambda phi, patches: simulator.expectations(cfg, simulator.prepare(cfg, phi), patches))


def plain_jax(cfg: ModelConfig) -> Contestant:
    """Gate by gate in JAX, complex64, all images at once; a scan over layers keeps the compile time small."""
    q = cfg.n_qubits
    generator = {"X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]])}
    ring = ring_signs(q).reshape((2,) * q)

    def turn(state, axis, wire, angle):  # state (N, 2, ..., 2); angle () or (N,)
        angle = jnp.reshape(angle, (-1, 1, 1)) / 2
        gate = jnp.cos(angle) * np.eye(2) - 1j * jnp.sin(angle) * generator[axis]
        shape = state.shape
        state = state.reshape(shape[0], 2**wire, 2, -1)
        return jnp.einsum("nij,najb->naib", jnp.broadcast_to(gate, (shape[0], 2, 2)), state).reshape(shape)

    def layers(state, angles, last_ring):
        def layer(state, angles):
            for axis, row in zip(LAYER_AXES, angles, strict=True):
                for wire in range(q):
                    state = turn(state, axis, wire, row[wire])
            return state * ring, None

        state = jax.lax.scan(layer, state, angles)[0]
        return state if last_ring else state * ring

    def expectations(phi, patches):
        blocks, encodings = split_angles(cfg, phi)
        pixels = patches.reshape(len(patches), 2, q, q // 2)
        state = jnp.zeros((len(patches), 2**q), jnp.complex64).at[:, 0].set(1).reshape(-1, *(2,) * q)
        for stage, block in enumerate(blocks):
            state = layers(state, block, last_ring=stage < 2)
            if stage == 2:
                break
            for wire in range(q):
                for j in range(q // 2):
                    around, axes = encodings[stage][wire, j], ENCODING_AXES[j % 2]
                    for axis, angle in zip(axes, (around[0], pixels[:, stage, wire, j], around[1]), strict=True):
                        state = turn(state, axis, wire, angle)
            state = state * ring
        found = []
        for axis, wire in observables(cfg):
            zero, one = jnp.moveaxis(state, wire + 1, 0)
            norm = lambda s: jnp.sum(jnp.abs(s.reshape(len(s), -1)) ** 2, 1)  # noqa: E731
            overlap = jnp.sum((zero.conj() * one).reshape(len(patches), -1), 1).real
            found.append(2 * overlap if axis == "X" else norm(zero) - norm(one))
        return jnp.stack(found, 1)

    return _with_jax(expectations)


def default_qubit(cfg: ModelConfig) -> Contestant:
    """PennyLane default.qubit under jax.jit, images broadcast."""
    node = qnode(cfg, device="default.qubit", diff_method="backprop")
    return _with_jax(lambda phi, patches: jnp.stack(node(phi, patches.T), 1))


def lightning(cfg: ModelConfig) -> Contestant:
    """PennyLane lightning.qubit with adjoint differentiation, image by image (it does not broadcast gradients)."""
    import pennylane as qml
    from pennylane import numpy as pnp

    node = qnode(cfg, device="lightning.qubit", diff_method="adjoint")

    def forward(phi, patches):
        return np.stack([np.stack(node(phi, patch)) for patch in patches])

    def gradient(phi, patches, weights):
        phi = pnp.array(phi, requires_grad=True)
        total = 0
        for patch, weight in zip(patches, weights, strict=True):
            patch = pnp.array(patch, requires_grad=False)
            cost = lambda p, patch=patch, weight=weight: pnp.sum(weight * pnp.stack(node(p, patch)))  # noqa: E731
            total = total + qml.grad(cost)(phi)
        return total

    return Contestant(forward, gradient)


class _Stub(types.ModuleType):
    """A package that TorchQuantum imports at the start and never uses here."""

    __file__ = "stub"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _StubFinder(abc.MetaPathFinder, abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("qiskit", "torchpack"):
            return machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Stub(spec.name)

    def exec_module(self, module):
        module.__path__ = []


def torchquantum(cfg: ModelConfig) -> Contestant:
    """TorchQuantum's functional gates and PyTorch's autograd, all images at once: what the paper used."""
    if not any(isinstance(finder, _StubFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StubFinder())
    import torch
    import torchquantum as tq
    import torchquantum.functional as tqf

    sequence = gates(cfg)
    rotation = {"RX": tqf.rx, "RY": tqf.ry}

    def expectations(phi, patches):
        device = tq.QuantumDevice(n_wires=cfg.n_qubits, bsz=len(patches))
        for gate in sequence:
            if gate.name == "CZ":
                tqf.cz(device, wires=list(gate.wires))
            else:
                angle = phi[gate.index] if gate.source == "parameter" else patches[:, gate.index]
                rotation[gate.name](device, wires=gate.wires[0], params=angle)
        wires = list(range(cfg.n_classes // 2))
        z = tq.expval(device, wires, [tq.PauliZ() for _ in wires])  # first: measuring X rotates the device's state
        return torch.cat([tq.expval(device, wires, [tq.PauliX() for _ in wires]), z], 1)

    def forward(phi, patches):
        with torch.no_grad():
            return expectations(torch.tensor(phi), torch.tensor(patches)).numpy()

    def gradient(phi, patches, weights):
        phi = torch.tensor(phi, requires_grad=True)
        torch.sum(torch.tensor(weights) * expectations(phi, torch.tensor(patches))).backward()
        return phi.grad.numpy()

    return Contestant(forward, gradient)
