"""What the contestants in PyTorch have in common: from expectation values to the three functions that are timed."""

from collections.abc import Callable

import torch

from contestants import Contestant


def contestant(expectations: Callable, libraries: tuple[str, ...]) -> Contestant:
    """Makes (phi, patches) -> expectation values, its gradient and its Hessian products (autograd, twice)."""

    def weighted(phi, patches, weights):
        return (torch.tensor(weights) * expectations(phi, torch.tensor(patches))).sum()

    def forward(phi, patches):
        with torch.no_grad():
            return expectations(torch.tensor(phi), torch.tensor(patches)).numpy()

    def gradient(phi, patches, weights):
        phi = torch.tensor(phi, requires_grad=True)
        return torch.autograd.grad(weighted(phi, patches, weights), phi)[0].numpy()

    def product(phi, patches, weights, v):
        phi = torch.tensor(phi, requires_grad=True)
        slope = torch.autograd.grad(weighted(phi, patches, weights), phi, create_graph=True)[0]
        return torch.autograd.grad((slope * torch.tensor(v)).sum(), phi)[0].numpy()

    return Contestant(forward, gradient, product, libraries)
