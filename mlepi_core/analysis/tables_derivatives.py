"""Tables of the report on derivatives of the Hamiltonian."""

from __future__ import annotations

import pandas as pd

from mlepi_core.analysis.numbers import fixed, significant
from mlepi_core.analysis.tables import Table


def derivative_table(table: pd.DataFrame) -> Table:
    """dH/du by step and source."""
    words = {
        "dH_norm": "‖dH/du‖",
        "dH_disagreement": "difference from the exact derivative",
        "dH_error": "difference from DFT",
    }
    rows = []
    for row in table.itertuples(index=False):
        quantity, _, name = row.quantity.partition(" ")
        relative = row.unit == "1"
        rows.append(
            [
                f"{words.get(quantity, quantity)}{f' ({name})' if name else ''}",
                "DFT" if row.source == "dft" else row.source,
                f"{row.step_A:g}" if row.step_A else "exact",
                significant(100 * row.value if relative else row.value, 4 if not relative else 2),
                "%" if relative else row.unit,
            ]
        )
    header = ["quantity", "source", "step (Å)", "value", "unit"]
    note = "One atom displaced; finite steps are central differences; names in brackets are DFT cells."
    return Table("Derivative of the Hamiltonian", header, rows, 2, note)


def frozen_phonon_table(table: pd.DataFrame) -> Table:
    """Splitting of the Dirac cone by frozen phonons, true and predicted."""
    words = {"E2g_x": "E2g, along a1", "E2g_y": "E2g, across", "A1'": "A1′"}
    rows = [
        [
            row.structure,
            row.states,
            words.get(row.pattern, row.pattern),
            fixed(row.splitting_true_eV_per_A, 2),
            fixed(row.splitting_predicted_eV_per_A, 2),
            fixed(100 * row.relative_difference, 2),
            fixed(row.coupling_true_eV2_per_A2, 1),
            fixed(row.coupling_predicted_eV2_per_A2, 1),
            fixed(row.coupling_published_eV2_per_A2, 1),
        ]
        for row in table.itertuples(index=False)
    ]
    header = ["structure", "states", "phonon", "true H (eV/Å)", "predicted H (eV/Å)", "difference (%)"]
    header += ["D² true ((eV/Å)²)", "D² predicted", "D² published"]
    note = (
        "Splitting at K per displacement of every atom of one layer. Layer: states of the block of this "
        "layer; all: coupling in the manifold of all layers. Published: plane-wave DFT of graphene, "
        "S. Piscanec et al., Phys. Rev. Lett. 93, 185503 (2004)."
    )
    return Table("Frozen phonons at the Dirac point", header, rows, 3, note)
