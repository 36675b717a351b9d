"""Both networks: float32 in training and float64 in evaluation; shares of a batch for several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.nn.electron import ElectronNet
from mlepi_core.nn.model_file import load_model
from mlepi_core.nn.phonon import PhononNet
from mlepi_core.stages.evaluate import evaluate
from mlepi_core.stages.train import overlap_tables, read_split, train
from mlepi_core.training.electron import prepare_electron
from mlepi_core.training.loop import Trainer
from mlepi_core.training.phonon import prepare_phonon

DATA = Path(__file__).parents[2] / "resources" / "bilayer-graphene" / "rigid.h5"
SHORT = {"steps": 2, "warmup_steps": 1, "batch_size": 2, "radial_hidden": [8]}
SECTIONS = {
    "electron": ElectronTraining(
        channels=[4, 2], edge_channels=[4, 2], head_channels=[4, 2, 2], head_unnatural=[0, 2], blocks=1,
        n_radial=4, **SHORT,
    ),
    "phonon": PhononTraining(channels=2, layers=1, max_ell=1, correlation=1, cutoff_intra=2.0, **SHORT),
}  # fmt: skip
NETS = {"electron": ElectronNet, "phonon": PhononNet}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "four.h5"
    with LabelStore(DATA) as source, StoreWriter(path, source.basis) as writer:
        for name, split in zip(source.names[:4], ("train", "train", "train", "validation"), strict=True):
            entry = source.read(name)
            entry.split = split
            writer.add(entry)
    return path


@pytest.mark.parametrize("kind", NETS)
def test_shares_of_a_batch_add_up(kind: str, store: Path) -> None:
    """Losses and gradients of two processes' shares, two structures and one, are those of the batch."""
    section = SECTIONS[kind].model_copy(update={"dtype": "float64", "batch_size": 3})
    parts = [read_split([store], split, blocks=kind == "electron") for split in ("train", "validation")]
    if kind == "electron":
        task = prepare_electron(*parts, section, overlap_tables([store], None), device="cpu").task
    else:
        task = prepare_phonon(*parts, section, device="cpu").task
    values, gradients = [], []
    for of in (1, 2):
        task.model.zero_grad()
        losses = [task.loss(task.batch(0, rank, of)) for rank in range(of)]
        sum(losses).backward()
        values.append(sum(losses).item())
        gradients.append([p.grad.clone() for p in task.model.parameters() if p.grad is not None])
    assert len(losses) == 2
    assert min(loss.item() for loss in losses) > 0
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    scale = max(float(gradient.abs().max()) for gradient in gradients[0])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("kind", NETS)
def test_training_is_single_and_evaluation_double(
    kind: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    forward = NETS[kind].forward

    def recorded(net, *arguments, **options):
        result = forward(net, *arguments, **options)
        values = result.values() if isinstance(result, dict) else result
        seen.extend(value.dtype for value in values if value is not None)
        return result

    monkeypatch.setattr(NETS[kind], "forward", recorded)
    loop = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer: (seen.clear(), loop(trainer))[1])
    train(kind, SECTIONS[kind], [store], tmp_path / "m.pt", device="cpu")
    assert set(seen) == {torch.float32}
    weights = load_model(tmp_path / "m.pt", kind).state_dict
    assert torch.float32 in {weight.dtype for weight in weights.values()}
    seen.clear()
    evaluate(tmp_path / "m.pt", store, device="cpu")
    assert set(seen) == {torch.float64}
