"""PyTorch by somebody who has the idea: blocks as complex unitaries, layers as two small products, plain autograd.

The variant "layer_by_layer" is the same program without the idea: every image runs through the layers of the deep
blocks. In "gate_by_gate" the rotations of these layers are not merged either; a ring stays one multiplication.
"""

from functools import reduce

import torch

from contestants import Contestant
from contestants.torch_common import contestant
from patchscape.circuit.ansatz import ENCODING_AXES, LAYER_AXES, observables
from patchscape.circuit.blocks import ring_signs
from patchscape.config import ModelConfig


def _turn(axis, angle):  # (...,) -> (..., 2, 2)
    c, s, zero = torch.cos(angle / 2), torch.sin(angle / 2), torch.zeros_like(angle)
    real, imaginary = ((c, zero, zero, c), (zero, -s, -s, zero)) if axis == "X" else ((c, -s, s, c), (zero,) * 4)
    return torch.complex(torch.stack(real, -1), torch.stack(imaginary, -1)).reshape(*angle.shape, 2, 2)


def _kron(gates):  # (..., k, 2, 2) -> (..., 2^k, 2^k)
    def pair(a, b):
        side = a.shape[-1] * b.shape[-1]
        return torch.einsum("...ab,...cd->...acbd", a, b).reshape(*a.shape[:-2], side, side)

    return reduce(pair, gates.unbind(-3))


def build(cfg: ModelConfig, variant: str = "") -> Contestant:
    """Everything in complex64, images first; both deep blocks are built side by side.

    Args:
        cfg: the model.
        variant: "layer_by_layer" or "gate_by_gate", if the images' states, in place of all basis states, are to run
            through the layers.

    Returns:
        It.
    """
    q, d = cfg.n_qubits, cfg.depth
    half = q // 2
    size = 2**half
    ring = torch.tensor(ring_signs(q), dtype=torch.float32)
    square = ring.reshape(size, size, 1)
    block, encoding = 2 * d * q, q * q

    def halves(gates):
        return _kron(gates[..., :half, :, :]), _kron(gates[..., half:, :, :])

    def layers(first, last, states):  # (k, d, 2^half, 2^half) twice, (k, 2^half, 2^half, M)
        shape = states.shape
        for layer in range(d):
            states = (first[:, layer] @ states.reshape(shape[0], size, -1)).reshape(shape)
            states = last[:, layer, None] @ states * square
        return states

    def rotations(angles, states):  # (d, 2, q), (2^q, N)
        for layer in range(d):
            for axis, row in zip(LAYER_AXES, angles[layer], strict=True):
                for wire in range(q):
                    states = torch.einsum("ij,ajb->aib", _turn(axis, row[wire]), states.reshape(2**wire, 2, -1))
            states = states.reshape(2**q, -1) * ring[:, None]
        return states

    def expectations(phi, patches):
        parts = torch.split(phi, [block, encoding, block, encoding, block])
        angles = torch.stack(parts[0::2]).reshape(3, d, 2, q)
        encodings = torch.stack(parts[1::2]).reshape(2, q, half, 2)
        first, last = halves(_turn(LAYER_AXES[1], angles[:, :, 1]) @ _turn(LAYER_AXES[0], angles[:, :, 0]))
        identity = torch.eye(2**q, dtype=torch.complex64).reshape(1, size, size, -1)
        states = layers(first[:1], last[:1], identity[..., :1]).reshape(1, size, size)
        if variant:
            deep = tuple(zip(first[1:], last[1:], strict=True))
        else:
            deep = layers(first[1:], last[1:], identity.expand(2, -1, -1, -1)).reshape(2, 2**q, 2**q)
        pixels = patches.reshape(-1, 2, q, half)
        for stage in range(2):
            steps = []
            for j in range(half):
                before, middle, after = ENCODING_AXES[j % 2]
                around = encodings[stage, :, j]
                turned = _turn(middle, pixels[:, stage, :, j]) @ _turn(before, around[:, 0])
                steps.append(_turn(after, around[:, 1]) @ turned)
            first, last = halves(reduce(lambda total, step: step @ total, steps))
            states = (first @ states @ last.transpose(1, 2)).reshape(len(patches), -1) * ring
            if variant == "gate_by_gate":
                states = rotations(angles[stage + 1], states.T).T
            elif variant == "layer_by_layer":
                columns = layers(*(halves[None] for halves in deep[stage]), states.T.reshape(1, size, size, -1))
                states = columns.reshape(2**q, -1).T
            else:
                states = states @ deep[stage].T
            states = (states if stage == 0 else states * ring).reshape(-1, size, size)  # no ring before the measurement
        found = []
        for axis, wire in observables(cfg):
            by_bit = states.reshape(len(patches), 2**wire, 2, -1)
            zero, one = by_bit[:, :, 0], by_bit[:, :, 1]
            if axis == "X":
                found.append(2 * (zero.conj() * one).real.sum((1, 2)))
            else:
                found.append((zero.abs() ** 2).sum((1, 2)) - (one.abs() ** 2).sum((1, 2)))
        return torch.stack(found, 1)

    found = contestant(expectations, ("torch",))
    # autograd keeps the state after every rotation, twice for a product: too much memory for 1000 images
    return found._replace(product=None) if variant == "gate_by_gate" else found
