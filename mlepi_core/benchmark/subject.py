"""What the subjects on PyTorch have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class TorchSubject:
    """A network and its input on one device.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.
    threads
        Threads of PyTorch.
    """

    actions: tuple[str, ...] = ("forward", "step")

    def __init__(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device(device)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def device_peak(self, action: str) -> int | None:
        """Peak of allocated device memory above the start, bytes; None on a CPU."""
        if self.device.type != "cuda":
            return None
        self.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        getattr(self, action)()
        self.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)

    def layers(self) -> dict[str, float]:
        """Seconds per layer; empty where layers are not told apart."""
        return {}


def time_modules(
    modules: Iterable[tuple[str, nn.Module]], call: Callable[[], Any], synchronize: Callable[[], None]
) -> dict[str, float]:
    """Seconds spent in the forward pass of modules, summed by name, during `call`."""
    spent: dict[str, float] = {}
    started: dict[str, float] = {}
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            synchronize()
            started[name] = time.perf_counter()

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            synchronize()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started[name]

        return hook

    for name, module in modules:
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return spent


def parameter_count(network: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
