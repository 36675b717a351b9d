"""Table of the report on committees."""

from __future__ import annotations

import pandas as pd

from mlepi_core.analysis.numbers import fixed, significant
from mlepi_core.analysis.tables import Table


def calibration_table(table: pd.DataFrame) -> Table:
    """How well the spread of a committee tells its true error, per quantity and split."""
    words = {
        "force": "force vectors",
        "force_component": "force components",
        "hamiltonian_onsite": "blocks of H, on-site",
        "hamiltonian_intra": "blocks of H within a layer",
        "hamiltonian_inter": "blocks of H between layers",
    }
    rows = [
        [
            words.get(row.quantity, row.quantity),
            row.split,
            row.unit,
            significant(row.spread_mean),
            significant(row.error_rms),
            fixed(row.spearman, 2),
            significant(row.scale, 2),
            *(significant(100 * value, 2) for value in (row.within_1, row.within_2)),
            f"{row.n:.0f}",
        ]
        for row in table[table["bin"] == "all"].itertuples(index=False)
    ]
    header = ["quantity", "split", "unit", "mean spread", "rms error", "rank correlation", "scale"]
    header += ["within 1 (%)", "within 2 (%)", "points"]
    note = (
        "Spread: sample standard deviation over the members. Scale: rms error over rms spread of the "
        "validation split; within: errors below one and two scaled spreads (components with Gaussian errors: "
        "68 and 95 %)."
    )
    return Table("Calibration of the committees", header, rows, 3, note)
