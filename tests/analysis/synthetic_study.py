"""Tables of a small study with known differences, for the tests of its Markdown and its figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Network → (split, quantity, unit, size relative to the deciding error on test).
ERRORS = {
    "phonon": [
        ("test", "force_mae", "meV/Å", 1.0),
        ("test", "energy_mae", "meV/atom", 0.1),
        ("extrapolation", "force_mae", "meV/Å", 3.0),
        ("extrapolation", "energy_mae", "meV/atom", 0.4),
        ("reference", "force_mae", "meV/Å", 1.5),
        ("reference", "energy_mae", "meV/atom", 0.2),
        ("reference:twisted_21.79", "force_mae", "meV/Å", 1.5),
    ],
    "electron": [
        ("test", "hamiltonian_mae", "meV", 1.0),
        ("test", "hamiltonian_mae_intra", "meV", 1.6),
        ("test", "hamiltonian_mae_inter", "meV", 0.5),
        ("test", "hamiltonian_mae_aligned", "meV", 0.9),
        ("extrapolation", "hamiltonian_mae", "meV", 2.5),
        ("reference", "hamiltonian_mae", "meV", 0.8),
    ],
}
COUNTS = {"test": 2, "extrapolation": 5, "reference": 1}
#: Comparison, variant, label, parameters, errors of both seeds (test, deciding); on other splits the same.
ABLATION = {
    "phonon": [
        ("parameters", "late", "HedgeNet, late fusion, 2 layers, 16 channels", 50_000, (9.5, 10.5)),
        ("parameters", "mace-4", "MACE-like, 4 layers, 14 channels", 51_000, (19.0, 21.0)),
        ("parameters", "mace-2", "MACE-like, 2 layers, 27 channels", 49_500, (9.8, 10.6)),
        ("flops", "late", "HedgeNet, late fusion, 2 layers, 16 channels", 50_000, (9.5, 10.5)),
        ("flops", "mace-2-21", "MACE-like, 2 layers, 21 channels", 40_000, (12.0, 13.4)),
    ],
    "electron": [
        ("parameters", "late", "HedgeNet, late fusion, 3 blocks", 90_000, (2.9, 3.1)),
        ("parameters", "e3-6", "DeepH-E3-like, 6 blocks", 92_000, (3.0, 3.3)),
    ],
}
CELLS = (4, 8, 16)


def study_table() -> pd.DataFrame:
    """``tables/study.csv`` of an ablation and of learning curves of both networks.

    Phonon errors fall with the number of cells to the power −1/2, electron errors do not fall.
    """
    rows = []
    for network, variants in ABLATION.items():
        for comparison, variant, label, parameters, errors in variants:
            rows += _rows(network, comparison, variant, label, parameters, errors, cells=12)
    for cells in CELLS:
        errors = [40 * cells**-0.5 * scatter for scatter in (0.99, 1.01)]
        rows += _rows("phonon", "cells", f"cells-{cells}", f"{cells} cells", 50_000, errors, cells)
        rows += _rows("electron", "cells", f"cells-{cells}", f"{cells} cells", 90_000, (2.8, 3.2), cells)
    return pd.DataFrame(rows)


def history_table() -> pd.DataFrame:
    """``tables/study_history.csv`` of the same trainings."""
    rows = []
    runs = study_table().drop_duplicates(["comparison", "network", "variant", "seed"])
    for run in runs.itertuples(index=False):
        quantities = [("force_mae", "meV/Å"), ("energy_mae", "meV/atom")]
        if run.network == "electron":
            quantities = [("hamiltonian_mae", "meV"), ("hamiltonian_rmse", "meV")]
        for step in range(250, 2001, 250):
            error = run.value * (1 + 3000 / step) * (1 + 0.01 * np.cos(step + run.seed))
            for quantity, unit in quantities:
                names = (run.comparison, run.network, run.variant, run.label, run.seed)
                rows.append((*names, step, run.parameters / 1e6 * step, quantity, error, unit))
    columns = ["comparison", "network", "variant", "label", "seed", "step", "wall_s", "quantity", "value"]
    return pd.DataFrame(rows, columns=[*columns, "unit"])


def _rows(
    network: str,
    comparison: str,
    variant: str,
    label: str,
    parameters: int,
    errors: tuple[float, ...] | list[float],
    cells: int,
) -> list[dict[str, object]]:
    return [
        {
            "comparison": comparison,
            "network": network,
            "variant": variant,
            "label": label,
            "seed": seed,
            "parameters": parameters,
            "flops_forward": 4e4 * parameters,
            "flops_step": 1.2e5 * parameters,
            "step_ms": parameters / 500,
            "memory_step_MiB": 90.0,
            "steps": 2000,
            "train_cells": cells,
            "train_wall_s": 300.0,
            "best_step": 1750,
            "split": split,
            "quantity": quantity,
            "unit": unit,
            "value": error * scale,
            "n_structures": COUNTS[split.partition(":")[0]],
        }
        for seed, error in enumerate(errors, start=1)
        for split, quantity, unit, scale in ERRORS[network]
    ]
