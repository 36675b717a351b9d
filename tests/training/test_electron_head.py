"""Hidden channels of the head: enough for the shells, or refused."""

from __future__ import annotations

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.config.training import ElectronTraining
from mlepi_core.orbitals import Basis
from mlepi_core.training.electron_head import head_sizes, needed_degrees

SP = Basis({"C": (0, 0, 1, 1)})
SPD = Basis({"B": (0, 0, 1, 1, 2), "N": (0, 1)})


@pytest.mark.parametrize(
    ("basis", "spin", "natural", "unnatural"),
    [
        (Basis({"H": (0,)}), "none", 0, -1),
        (SP, "none", 2, 1),
        (SPD, "none", 4, 3),
        (SP, "soc", 2, 3),  # 1 x 1 -> L = 2, times a spin vector -> J = 3 of even parity
    ],
)
def test_degrees_follow_the_shells(basis: Basis, spin: str, natural: int, unnatural: int) -> None:
    assert needed_degrees(basis, spin, False) == (natural, unnatural)


def test_defaults_end_where_the_blocks_do() -> None:
    sizes = head_sizes(ElectronTraining(), SPD, "none", False)
    assert [len(sizes[key]) for key in ("head_channels", "head_unnatural")] == [5, 4]
    assert sizes["head_unnatural"][0] == 0


def test_given_sizes_are_kept() -> None:
    section = ElectronTraining(head_channels=[8, 8, 8, 8], head_unnatural=[0, 4])
    sizes = head_sizes(section, SP, "none", False)
    assert sizes == {"head_channels": [8, 8, 8, 8], "head_unnatural": [0, 4]}


@pytest.mark.parametrize("key", ["head_channels", "head_unnatural"])
def test_a_head_that_would_predict_zeros_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=rf"training\.electron\.{key}: \[0?8?, 8\] ends at l = 1.*give"):
        head_sizes(
            ElectronTraining(**{key: [8, 8] if key == "head_channels" else [0, 8]}), SPD, "none", False
        )
