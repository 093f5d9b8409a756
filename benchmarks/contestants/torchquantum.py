"""TorchQuantum 0.1.7: what the paper used. Later versions exist; this is the one of the author's code."""

import sys
import types
from importlib import abc, machinery

from contestants import Contestant
from contestants.torch_common import contestant
from patchscape.circuit.ansatz import gates
from patchscape.config import ModelConfig


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


def build(cfg: ModelConfig) -> Contestant:
    """Functional gates and PyTorch's autograd, all images at once."""
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

    return contestant(expectations, ("torch", "torchquantum"))._replace(product=None)
