"""Bundled studies: the ablation compares like with like, learning curves are of the quick run's networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlepi_core.benchmark.cost import TrainingCost, largest_entry, prepare_one
from mlepi_core.config import Settings, load_config
from mlepi_core.config.study import StudyVariant
from mlepi_core.stages.train import overlap_tables, read_split

NETWORKS = ("phonon", "electron")
WIDTHS = {"channels", "edge_channels", "head_channels", "head_unnatural"}
TOLERANCE = {"parameters": 0.05, "flops": 0.06}
"""As the head of config/ablation.yaml says."""
QUANTITY = {"parameters": "parameters", "flops": "flops_step"}


@pytest.fixture(scope="module")
def ablation(root: Path) -> Settings:
    return load_config(root / "config" / "ablation.yaml", root=root)


@pytest.fixture(scope="module")
def costs(ablation: Settings, root: Path) -> dict[tuple[str, str], dict[str, int]]:
    """Parameters and operations of every variant on a bundled cell, by network and name."""
    stores = [root / path for path in ablation.labels.path]
    tables = overlap_tables(stores, None, ablation.labels.overlap_smoothing)
    entries = {kind: largest_entry(stores, kind) for kind in NETWORKS}
    found = {}
    for variant in ablation.study.variants:
        section = trained(ablation, variant)
        prepared = prepare_one(variant.network, section, entries[variant.network], tables)
        found[variant.network, variant.name] = TrainingCost(prepared).info()
    return found


def trained(settings: Settings, variant: StudyVariant) -> object:
    return getattr(settings.trained_as(variant, seed=1).training, variant.network)


def compared(settings: Settings, network: str, comparison: str) -> list[StudyVariant]:
    return [v for v in settings.study.variants if v.network == network and comparison in v.comparisons]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("comparison", QUANTITY)
def test_variants_are_matched(
    ablation: Settings, costs: dict[tuple[str, str], dict[str, int]], network: str, comparison: str
) -> None:
    reference, *others = compared(ablation, network, comparison)
    assert (trained(ablation, reference).relations, trained(ablation, reference).fusion) == ("hetero", "late")
    aim = costs[network, reference.name][QUANTITY[comparison]]
    assert len(others) == 3
    for variant in others:
        value = costs[network, variant.name][QUANTITY[comparison]]
        assert value == pytest.approx(aim, rel=TOLERANCE[comparison]), variant.name


@pytest.mark.parametrize("comparison", QUANTITY)
def test_depths_are_those_that_are_announced(ablation: Settings, comparison: str) -> None:
    for network, key, depths in (("phonon", "layers", [2, 2, 2, 4]), ("electron", "blocks", [3, 3, 3, 6])):
        sections = [trained(ablation, v) for v in compared(ablation, network, comparison)]
        assert [getattr(each, key) for each in sections] == depths
        kinds = [(each.relations, each.fusion) for each in sections]
        assert kinds[:2] == [("hetero", "late"), ("hetero", "layerwise")]
        assert {relations for relations, _ in kinds[2:]} == {"homo"}


def test_variants_differ_in_wiring_depth_and_width_alone(ablation: Settings) -> None:
    for variant in ablation.study.variants:
        cutoffs = set() if set(variant.comparisons) & set(QUANTITY) else {"cutoff_intra", "cutoff_inter"}
        assert set(variant.settings) <= {"relations", "fusion", "layers", "blocks"} | WIDTHS | cutoffs
    # One stack has one cutoff: it sees the same edges as two stacks only if theirs are equal.
    assert ablation.training.phonon.cutoff_intra == ablation.training.phonon.cutoff_inter
    assert len(ablation.study.seeds) >= 2


def test_wide_cells_stay_out_and_some_remain(ablation: Settings, root: Path) -> None:
    stores = [root / path for path in ablation.labels.path]
    for split in ("train", "validation", "test"):
        entries = read_split(stores, split, blocks=False, hold_out=ablation.labels.hold_out_rms_force)
        assert any(len(entry.atoms) == 64 for entry in entries), split
    every = read_split(stores, "train", blocks=False)
    kept = read_split(stores, "train", blocks=False, hold_out=ablation.labels.hold_out_rms_force)
    assert len(kept) < len(every)


def test_learning_curves_are_of_the_networks_of_the_quick_run(root: Path) -> None:
    curves = load_config(root / "config" / "learning-curves.yaml", root=root)
    assert curves.training == load_config(root / "config" / "config.yaml", root=root).training
    for network in NETWORKS:
        variants = compared(curves, network, "cells")
        assert [trained(curves, v).train_cells for v in variants] == [4, 8, None]
        assert all(set(v.settings) <= {"train_cells"} for v in variants)
