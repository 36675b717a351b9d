"""Optional GPU kernels of the phonon net, switched on for a whole net and checked where they are switched on.

cuEquivariance (https://docs.nvidia.com/cuda/cuequivariance, Python package `cuequivariance-torch`, with
`cuequivariance-ops-torch-cu12` for its CUDA kernels) evaluates the product basis as a polynomial of
segments, from the same couplings and weights as the reference path.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mlepi_core.artefacts import InputError
from mlepi_core.nn.phonon import PhononNet
from mlepi_core.nn.phonon_committee import PhononCommittee
from mlepi_core.nn.product_basis import SymmetricContraction

__all__ = ["ACCELERATORS", "accelerate"]

ACCELERATORS = ("none", "cuequivariance")
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
_NONZERO = 1e-12

Net = TypeVar("Net", PhononNet, PhononCommittee)
Kernel = Callable[[SymmetricContraction, Tensor, Tensor], Tensor]


def accelerate(net: Net, name: str, *, method: str = "uniform_1d") -> Net:
    """Switch a net to an accelerator, after it is on its device and in its precision.

    Every kernel is compared with the reference path on random features, values and gradients.

    Parameters
    ----------
    net
        Changed in place; its weights and model file stay the same.
    name
        ``none`` or ``cuequivariance``.
    method
        Of `cuequivariance_torch.SegmentedPolynomial`: ``uniform_1d`` (CUDA) or ``naive`` (anywhere, slow).

    Raises
    ------
    InputError
        If the accelerator is unknown, not installed, without a CUDA device, or not equal to the reference.
    """
    if name not in ACCELERATORS:
        raise InputError("accelerator", f"{name!r} is unknown", f"use one of {', '.join(ACCELERATORS)}")
    contractions = [module for module in net.modules() if isinstance(module, SymmetricContraction)]
    if name == "none":
        for contraction in contractions:
            contraction.kernel = None
        return net
    if method != "naive" and net.scale.device.type != "cuda":
        raise InputError("accelerator", f"{name} needs a CUDA device", "use accelerator none, or device cuda")
    for contraction in contractions:
        kernel = _cue_kernel(contraction, method)
        _check(contraction, kernel, net.scale)
        contraction.kernel = kernel
    return net


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            "accelerator", f"cuequivariance is not installed ({error})", "pip install cuequivariance-torch"
        ) from None


def _cue_kernel(contraction: SymmetricContraction, method: str) -> Kernel:
    cue, cuet = _import("cuequivariance"), _import("cuequivariance_torch")
    channels = next(iter(contraction.weights.values())).shape[1]
    couplings = list(_couplings(contraction))
    n_weights = sum(len(tensor) for _, _, tensor in couplings)
    weights, inputs, outputs = (
        cue.SegmentedOperand(ndim=1, segments=[(channels,)] * count)
        for count in (n_weights, contraction.size, contraction.n_out)
    )
    products = {}
    first_weight = 0
    for order, first_row, tensor in couplings:
        if order not in products:
            operands = [weights, *[inputs] * order, outputs]
            products[order] = cue.SegmentedTensorProduct([(operand, "u") for operand in operands])
        for eta, row, *factors in np.argwhere(np.abs(tensor) > _NONZERO).tolist():
            value = float(tensor[eta, row, *factors])
            products[order].add_path(first_weight + eta, *factors, first_row + row, c=value)
        first_weight += len(tensor)
    operations = [(cue.Operation((0, *[1] * order, 2)), product) for order, product in products.items()]
    polynomial = cuet.SegmentedPolynomial(
        cue.SegmentedPolynomial([weights, inputs], [outputs], operations), method=method
    )

    def kernel(module: SymmetricContraction, features: Tensor, species: Tensor) -> Tensor:
        table = torch.cat([weight.transpose(1, 2) for weight in module.weights.values()], dim=1).flatten(1)
        (out,) = polynomial.to(features.device)([table, features.flatten(1)], input_indices={0: species})
        return out.reshape(len(features), module.n_out, -1)

    return kernel


def _couplings(contraction: SymmetricContraction) -> Iterator[tuple[int, int, np.ndarray]]:
    """(order, first output row, U (eta, M, D, …)) in the order of the weights; U on sorted factors alone."""
    rows = np.cumsum([0, *(2 * ell + 1 for ell in contraction.out_ells)])
    for order in range(1, contraction.correlation + 1):
        for first, ell in zip(rows, contraction.out_ells, strict=False):
            flat = getattr(contraction, f"u_{order}_{ell}").double().cpu().permute(0, 3, 1, 2)
            shape = (*flat.shape[:2], *[contraction.size] * order)
            yield order, int(first), _on_sorted_factors(flat.reshape(shape).numpy())


def _on_sorted_factors(tensor: np.ndarray) -> np.ndarray:
    """Sum the permutations of every product of components into the sorted one."""
    axes = tensor.ndim - 2
    total = sum(
        tensor.transpose(0, 1, *(2 + axis for axis in order)) for order in itertools.permutations(range(axes))
    )
    index = np.indices(tensor.shape[2:])
    kept = np.all(np.diff(index, axis=0) >= 0, axis=0)
    # Equal factors have been counted once for every permutation among them.
    repeats = sum(
        np.all(index == index[list(order)], axis=0) for order in itertools.permutations(range(axes))
    )
    return np.where(kept, total / repeats, 0.0)


def _check(contraction: SymmetricContraction, kernel: Kernel, like: Tensor) -> None:
    n_species, channels = next(iter(contraction.weights.values())).shape[:2]
    generator = torch.Generator().manual_seed(0)
    species = (torch.arange(7) % n_species).to(like.device)
    results = []
    values = torch.randn(7, contraction.size, channels, generator=generator).to(like)
    for path in (SymmetricContraction.reference, kernel):
        features = values.clone().requires_grad_(True)
        with torch.enable_grad():
            out = path(contraction, features, species)
            (slope,) = torch.autograd.grad(out.square().sum(), features, create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), features)
        results.append((out.detach(), slope.detach(), second))
    for found, expected in zip(results[1], results[0], strict=True):
        if not (found - expected).abs().max() <= _TOLERANCE[like.dtype] * expected.abs().max():
            raise InputError(
                "accelerator", "cuequivariance gives other values than the reference path", "use none"
            )
