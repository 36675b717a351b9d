"""What a training step costs: counted operations, and the numbers of the stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mlepi_core.artefacts import InputError
from mlepi_core.basis.two_centre import overlap_blocks
from mlepi_core.benchmark.cells import SUPPORT, bilayer, synthetic_overlap
from mlepi_core.benchmark.cost import largest_entry
from mlepi_core.benchmark.flops import count_flops
from mlepi_core.benchmark.subject import parameter_count
from mlepi_core.config.training import ElectronTraining, PhononTraining
from mlepi_core.formats.store import LabelStore, StoreWriter
from mlepi_core.nn.electron import ElectronArchitecture
from mlepi_core.nn.electron_graph import join_graphs
from mlepi_core.nn.hamiltonian import HamiltonianModel, new_net
from mlepi_core.nn.model_file import load_phonon_net
from mlepi_core.nn.phonon import PhononArchitecture, PhononNet
from mlepi_core.nn.phonon_graph import build_graph, collate
from mlepi_core.stages.cost import cost
from mlepi_core.stages.train import train

CELLS = "resources/bilayer-graphene/perturbed-4x4.h5"
RIGID = "resources/bilayer-graphene/rigid.h5"
PHONON = {"channels": 4, "radial_hidden": [8], "steps": 1, "warmup_steps": 0, "validation_every": 1}
ELECTRON = {
    "channels": [8, 6, 4],
    "edge_channels": [6, 4],
    "head_channels": [8, 6, 4],
    "head_unnatural": [0, 4],
    "radial_hidden": [8],
    "n_radial": 8,
}


class TestCounter:
    """Against counts by hand."""

    def test_linear_layer_forward_and_backward(self) -> None:
        layer, x = nn.Linear(7, 5, bias=False), torch.randn(3, 7, requires_grad=True)
        product = 2 * 3 * 7 * 5
        assert count_flops(lambda: layer(x)) == product
        # Backward: gradients of the weights and of x, and the ones that `sum` spreads are no arithmetic.
        assert count_flops(lambda: layer(x).sum().backward()) == 3 * product + 3 * 5

    def test_einsum_is_a_batched_product(self) -> None:
        a, b = torch.randn(4, 2, 3), torch.randn(4, 3, 5)
        assert count_flops(lambda: torch.einsum("bij,bjk->bik", a, b)) == 2 * 4 * 2 * 3 * 5

    def test_elementwise_arithmetic(self) -> None:
        x, y = torch.randn(6, 5), torch.randn(6, 5)
        assert count_flops(lambda: torch.nn.functional.silu(x * y) + 1.0) == 3 * 30
        assert count_flops(lambda: torch.addcmul(x, x, y)) == 2 * 30
        assert count_flops(lambda: x * y[:, :1]) == 30

    def test_sums_count_what_they_take(self) -> None:
        x = torch.randn(6, 5)
        assert count_flops(lambda: x.sum(dim=0)) == 30
        assert count_flops(lambda: torch.zeros(2, 5).index_add(0, torch.zeros(6, dtype=torch.int64), x)) == 30

    def test_moving_numbers_is_free(self) -> None:
        x, index = torch.randn(6, 5), torch.tensor([1, 2])
        assert count_flops(lambda: torch.cat([x.t().contiguous().clone().t(), x])[index]) == 0
        assert count_flops(lambda: index + index) == 0

    def test_second_derivatives_count(self) -> None:
        x = torch.randn(4, requires_grad=True)

        def gradient() -> torch.Tensor:
            return torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)[0]

        assert count_flops(lambda: gradient().square().sum().backward()) > count_flops(gradient) > 0


def phonon_step(copies: int) -> Callable[[], None]:
    """Energies, forces and a backward pass of equal cells."""
    torch.manual_seed(1)
    net = PhononNet([6], PhononArchitecture(channels=8, cutoff_intra=4.0, cutoff_inter=4.0))
    batch = collate([build_graph(bilayer(16), [6], net.cutoffs)] * copies, torch.float64)

    def step() -> None:
        energy, forces = net(batch, create_graph=True)
        (energy.sum() + forces.square().sum()).backward()

    return step


def electron_step(copies: int) -> Callable[[], None]:
    """Hamiltonians and a backward pass of equal cells."""
    architecture = ElectronArchitecture(shells={"C": [0, 0, 1, 1]}, support=SUPPORT, **ELECTRON)
    model = HamiltonianModel(new_net(architecture, seed=1), synthetic_overlap([0, 0, 1, 1]))
    atoms = bilayer(16)
    graph = model.graph(model.topology(atoms, overlap_blocks(atoms, model.overlap)), atoms)
    batch = join_graphs([graph] * copies)
    return lambda: sum(values.square().sum() for values in model.net(batch).values()).backward()


@pytest.mark.parametrize("step", [phonon_step, electron_step])
def test_twice_the_atoms_are_twice_the_operations(step: Callable[[int], Callable[[], None]]) -> None:
    one, two, three = (count_flops(step(copies)) for copies in (1, 2, 3))
    assert three - two == two - one
    assert two == pytest.approx(2 * one, rel=0.1)  # what depends on the weights alone is done once


def test_the_largest_training_structure(root: Path) -> None:
    found = largest_entry([root / RIGID, root / CELLS], "electron")
    assert len(found.atoms) == 64
    assert found.split == "train"
    assert found.blocks is not None


@pytest.fixture(scope="module")
def small(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store with two four-atom cells."""
    path = tmp_path_factory.mktemp("cost") / "small.h5"
    with LabelStore(root / RIGID) as source, StoreWriter(path, source.basis) as writer:
        for number, name in enumerate(source.names[:2]):
            entry = source.read(name)
            entry.split = "validation" if number else "train"
            writer.add(entry)
    return path


@pytest.mark.parametrize(
    ("kind", "section"),
    [("phonon", PhononTraining(**PHONON)), ("electron", ElectronTraining(**ELECTRON))],
)
def test_stage_writes_what_it_measured(small: Path, tmp_path: Path, kind: str, section: object) -> None:
    out = tmp_path / "cost.json"
    result = cost(kind, section, [small], out, overlap_smoothing=1e-16)
    assert json.loads(out.read_text()) == result
    assert result["n_atoms"] == 4
    assert result["threads"] == 1
    assert result["flops_step"] > 2 * result["flops_forward"] > 0
    assert 0.1 < result["step_ms"] < 10000
    assert result["memory_step_MiB"] >= 0


def test_parameters_are_those_of_the_model_file(small: Path, tmp_path: Path) -> None:
    section = PhononTraining(**PHONON)
    train("phonon", section, [small], tmp_path / "phonon.pt", device="cpu")
    trained = parameter_count(load_phonon_net(tmp_path / "phonon.pt"))
    assert cost("phonon", section, [small], tmp_path / "cost.json")["parameters"] == trained


def test_refusals(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use one of phonon, electron"):
        cost("photon", PhononTraining(), [small], tmp_path / "cost.json")
    path = tmp_path / "test-only.h5"
    with LabelStore(small) as source, StoreWriter(path, source.basis) as writer:
        entry = source.read(source.names[0])
        entry.split = "test"
        writer.add(entry)
    with pytest.raises(InputError, match="no training structure with forces"):
        cost("phonon", PhononTraining(), [path], tmp_path / "cost.json")
