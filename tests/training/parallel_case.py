"""One process of a training of the phonon net on CPUs; run by torchrun in `test_parallel`, or alone."""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path

import torch

from mlepi_core.training import parallel
from mlepi_core.training.phonon import train_phonon
from tests.training.test_phonon_training import SECTION, entries

STEPS = 12


def check_sum(processes: parallel.Processes) -> None:
    """Weights that one share or none reaches: only in the latter case there is no gradient."""
    model = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.ones(2)) for name in "abc"})
    if processes.first:
        loss = 3 * model["a"].sum()
        loss.backward()
    else:
        loss = model["a"].sum() + 5 * model["b"].sum()
        loss.backward()
    total = processes.sum_gradients(model, loss)
    assert total.item() == 6.0 + 2.0 + 10.0
    assert model["a"].grad.tolist() == [4.0, 4.0]
    assert model["b"].grad.tolist() == [5.0, 5.0]
    assert model["c"].grad is None


def main(folder: Path, batch_size: int, die_at: int) -> None:
    """Train into `folder`; the first process kills itself when it has done `die_at` steps (0: never)."""
    torch.set_num_threads(1)
    changes = {
        "steps": STEPS,
        "warmup_steps": 2,
        "validation_every": 4,
        "checkpoint_every": 4,
        "batch_size": batch_size,
        "force_floor": 0.2,
    }
    section = types.SimpleNamespace(**(vars(SECTION) | changes))

    def progress(done: int, total: int, text: str = "") -> None:
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with parallel.joined("cpu") as processes:
        if processes.size == 2:
            check_sum(processes)
        result = train_phonon(
            entries(4) + entries(4, size=1, first=50),
            entries(1, split="validation", first=90),
            section,
            folder / "m.pt",
            restart=folder / "restart.pt",
            history_csv=folder / "history.csv",
            device="cpu",
            progress=progress,
        )
        torch.save(result.state_dict, folder / f"rank{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
