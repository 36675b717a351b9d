"""One training by several processes, as torchrun starts them: each takes a share of every step's batch.

The loss of a step is a mean over its whole batch; a process computes the contribution of its share, and the
sum of the gradients is that of the whole batch. Every process then makes the same optimiser step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mlepi_core.artefacts import InputError
from mlepi_core.nn.model_file import resolve_device

__all__ = ["Processes", "joined", "launched", "present", "shares"]

_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# The others wait while the first process validates; torchrun ends them if it dies.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """The processes of a training and this one's place; one process is the rule."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process validates and writes files."""
        return self.rank == 0

    def from_first(self, value: Any) -> Any:
        """The first process' value, on all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def same_weights(self, model: nn.Module) -> None:
        """Give all processes the parameters and buffers of the first: other machines may round otherwise."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                whole = tensor.contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)

    def sum_gradients(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Put the sum of all processes' gradients into `model`; return the sum of their losses, shape (1,).

        A parameter that no process' share reaches keeps no gradient, as with a single process.
        """
        if self.size == 1:
            return loss.detach().reshape(1)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        reached = loss.new_tensor([parameter.grad is not None for parameter in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([loss.detach().reshape(1), reached, *(g.reshape(-1) for g in gradients)])
        dist.all_reduce(flat)
        sizes = [1, len(parameters), *(p.numel() for p in parameters)]
        total, reached, *sums = flat.split(sizes)
        for parameter, anywhere, gradient in zip(parameters, reached.tolist(), sums, strict=True):
            parameter.grad = gradient.view_as(parameter) if anywhere else None
        return total


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return all(name in os.environ for name in _LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1


def present() -> Processes:
    """Processes that `joined` has connected; else this one alone."""
    if not dist.is_initialized():
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Connect the processes that torchrun started, NCCL on GPUs and Gloo on CPUs, until the block ends.

    Alone, or inside another such block, nothing happens.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``; on a machine process k takes its k-th GPU.

    Raises
    ------
    InputError
        If there are more processes than GPUs on a machine.
    """
    if not launched() or dist.is_initialized():
        yield present()
        return
    backend = "gloo"
    if resolve_device(device).type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise InputError(
                "torchrun",
                f"more processes than the {torch.cuda.device_count()} GPUs of this machine",
                "lower --nproc-per-node, or use --device cpu",
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield present()
    finally:
        dist.destroy_process_group()


def shares(sizes: Sequence[int], of: int) -> list[list[int]]:
    """Cut structures into `of` shares of about equal size; a share may be empty.

    The largest structure goes first, each to the share with the fewest atoms so far.

    Parameters
    ----------
    sizes
        Atoms of every structure.

    Returns
    -------
    list
        Positions in `sizes`, ascending, for every share.
    """
    cut: list[list[int]] = [[] for _ in range(of)]
    loads = [0] * of
    for place in sorted(range(len(sizes)), key=lambda k: -sizes[k]):
        lightest = loads.index(min(loads))
        cut[lightest].append(place)
        loads[lightest] += sizes[place]
    return [sorted(share) for share in cut]
