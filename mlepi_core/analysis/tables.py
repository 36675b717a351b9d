"""Tables of the report: from data frames to rows of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlepi_core.analysis.numbers import MISSING, counted, duration, fixed, significant, with_error

#: Models of errors.csv in the order of columns.
_MODELS = {
    "phonon": "network",
    "electron": "network",
    "two_centre": "two-centre baseline",
    "mean": "mean energy, no force",
    "zero": "zero",
}
_QUANTITIES = {
    "energy_mae": "energy, MAE",
    "force_mae": "forces, MAE",
    "force_rmse": "forces, rms error",
    "force_spread": "forces, rms spread of the committee",
    "hamiltonian_mae": "H, MAE of all elements",
    "hamiltonian_mae_intra": "H, MAE within layers",
    "hamiltonian_mae_inter": "H, MAE between layers",
    "hamiltonian_mae_onsite": "H, MAE on-site",
    "hamiltonian_mae_aligned": "H, MAE after a shift μS",
    "hamiltonian_rmse": "H, rms error",
    "hamiltonian_spread": "H, rms spread of the committee",
}

_SCATTER_NOTE = (
    "± is the standard error over the structures, where there is more than one and each was evaluated."
)


@dataclass(frozen=True)
class Table:
    """Text of a table: caption, header, rows; the first `n_words` columns are left-aligned."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    n_words: int = 1
    note: str = ""
    marked: set[int] = field(default_factory=set)


def velocity_tables(table: pd.DataFrame) -> list[Table]:
    """Ratios to the static lattice, and the velocities themselves: a row per estimator and window."""
    note = (
        "± is the standard error over independent pairs (jackknife): the scatter of the samples, not the "
        "errors of networks, cell size or DFT functional. Shaded rows (naive) show the finite-size artefact."
    )
    ratio = _by_temperature(table, "Ratio v(T)/v(static)", ("ratio", "ratio_se"), 1.0, note)
    value = _by_temperature(table, "Velocity (10⁶ m/s)", ("v_m_per_s", "v_se_m_per_s"), 1e-6, "")
    return [ratio, value]


def _by_temperature(
    table: pd.DataFrame, caption: str, columns: tuple[str, str], scale: float, note: str
) -> Table:
    temperatures = sorted(table["temperature_K"].unique())
    window = [table[name].fillna(-1) for name in ("window_lo_per_A", "window_hi_per_A")]
    rows, marked = [], set()
    groups = table.groupby([table["estimator"], *window], sort=False)
    for (estimator, *_), part in sorted(groups, key=lambda item: item[0][0] == "naive"):
        if estimator == "naive":
            marked.add(len(rows))
        first = part.iloc[0]
        cells = [estimator, window_words(first["window_lo_per_A"], first["window_hi_per_A"])]
        cells.append(fixed(first["v_static_m_per_s"] / 1e6, 4))
        at = part.drop_duplicates("temperature_K").set_index("temperature_K")
        for temperature in temperatures:
            known = temperature in at.index
            cells.append(
                with_error(*(scale * at.loc[temperature, name] for name in columns)) if known else MISSING
            )
        rows.append([*cells, f"{part['n_pairs'].max():.0f}"])
    header = ["estimator", "window (Å⁻¹)", "static (10⁶ m/s)", *(f"{t:g} K" for t in temperatures), "pairs"]
    return Table(caption, header, rows, 2, note, marked)


def window_words(low: float, high: float) -> str:
    """``0.03–0.10``, or a dash for an estimator without a window."""
    return f"{low:.2f}–{high:.2f}" if np.isfinite(high) else MISSING


def static_velocity_table(table: pd.DataFrame) -> Table:
    """Velocities of static cells from true and from predicted H."""
    rows = [
        [
            row.structure,
            f"{row.layers:.0f}",
            row.estimator,
            window_words(row.window_lo_per_A, row.window_hi_per_A),
            fixed(row.v_true_m_per_s / 1e6, 4),
            fixed(row.v_predicted_m_per_s / 1e6, 4),
            fixed(100 * row.relative_difference, 2),
        ]
        for row in table.itertuples(index=False)
    ]
    marked = {k for k, name in enumerate(table["estimator"]) if name == "naive"}
    header = ["structure", "layers", "estimator", "window (Å⁻¹)", "true H (10⁶ m/s)"]
    header += ["predicted H (10⁶ m/s)", "difference (%)"]
    note = "Shaded rows (naive): the slope depends on the window where bands are curved, as in a bilayer."
    return Table("Velocity of static cells", header, rows, 1, note, marked)


def error_table(errors: pd.DataFrame, split: str) -> Table:
    """Errors of both networks on one split beside the trivial baselines."""
    part = _with_scatter(errors)
    part = part[(part["split"] == split) & part["quantity"].isin(_QUANTITIES)]
    names = part["model"].map(_MODELS)
    columns = [name for name in dict.fromkeys(_MODELS.values()) if (names == name).any()]
    rows = _error_rows(part, names, columns)
    count = counted(int(part["n_structures"].max()), "structure") if len(part) else "no structure"
    caption = f"Errors and baselines, {split} split ({count})"
    return Table(caption, ["quantity", "unit", *columns], rows, 2, _SCATTER_NOTE)


def split_table(errors: pd.DataFrame) -> Table:
    """Errors of both networks on every split."""
    part = _with_scatter(errors)
    part = part[part["model"].isin(("phonon", "electron")) & part["quantity"].isin(_QUANTITIES)]
    columns = [split for split in dict.fromkeys(part["split"]) if ":" not in split]
    header = [f"{split} ({part.loc[part['split'] == split, 'n_structures'].max():.0f})" for split in columns]
    rows = _error_rows(part, part["split"], columns)
    note = f"In brackets the number of structures, the larger one of both networks. {_SCATTER_NOTE}"
    return Table("Errors of the networks on every split", ["quantity", "unit", *header], rows, 2, note)


def _error_rows(errors: pd.DataFrame, key: pd.Series, columns: list[str]) -> list[list[str]]:
    """A row per quantity, in each column the first value with this key."""
    rows = []
    for quantity, words in _QUANTITIES.items():
        found = errors["quantity"] == quantity
        if found.any():
            cells = [_error_cell(errors[found & (key == name)]) for name in columns]
            rows.append([words, errors.loc[found, "unit"].iloc[0], *cells])
    return rows


def _error_cell(rows: pd.DataFrame) -> str:
    """The first value with its standard error, if it has one."""
    if rows.empty:
        return MISSING
    value, error = rows["value"].iloc[0], rows["standard_error"].iloc[0]
    return with_error(value, error) if error > 0 else significant(value)


def _with_scatter(errors: pd.DataFrame) -> pd.DataFrame:
    """errors.csv with the column `standard_error`: scatter over structures that have rows of their own.

    NaN for splits without such rows and for fewer than two structures.
    """
    split, _, structure = zip(*errors["split"].str.partition(":").to_numpy(), strict=True)
    single = errors.assign(split=split)[np.array(structure) != ""]
    # the signed error of the energy of a structure is what its mean absolute error is made of
    quantity = single["quantity"].replace({"energy_error": "energy_mae"})
    single = single.assign(quantity=quantity, value=single["value"].abs())
    key = ["model", "split", "quantity"]
    scatter = {
        name: _standard_error(name[-1], part["value"].to_numpy()) for name, part in single.groupby(key)
    }
    found = [scatter.get(name, np.nan) for name in zip(*(errors[column] for column in key), strict=True)]
    return errors.assign(standard_error=found)


def _standard_error(quantity: str, values: np.ndarray) -> float:
    """Of a mean of `values` (n,), or of the root of the mean of their squares."""
    if len(values) < 2:
        return np.nan
    if not quantity.endswith(("rms", "rmse", "spread")):
        return float(values.std(ddof=1) / np.sqrt(len(values)))
    squares = values**2
    return float(squares.std(ddof=1) / np.sqrt(len(values)) / (2 * np.sqrt(squares.mean())))


def structure_table(errors: pd.DataFrame, band_errors: pd.DataFrame) -> Table:
    """One row per structure of the test and reference splits."""
    names = [split for split in dict.fromkeys(errors["split"]) if split.startswith(("test:", "reference:"))]
    bands = band_errors.drop_duplicates("structure").set_index("structure")
    rows = []
    for split in names:
        kind, _, name = split.partition(":")
        value = value_lookup(errors, split)
        force, size = value("phonon", "force_mae"), value("phonon", "force_label_rms")
        h, baseline = value("electron", "hamiltonian_mae"), value("two_centre", "hamiltonian_mae")
        known = name in bands.index
        rows.append(
            [
                name,
                kind,
                significant(abs(value("phonon", "energy_error"))),
                significant(force),
                significant(100 * force / size, 2) if size else MISSING,
                significant(h),
                significant(baseline),
                significant(baseline / h, 2) if h else MISSING,
                significant(bands.loc[name, "rms_meV"]) if known else MISSING,
            ]
        )
    header = [
        "structure",
        "split",
        "|energy error| (meV/atom)",
        "force MAE (meV/Å)",
        "of rms force (%)",
        "H MAE (meV)",
        "two-centre H MAE (meV)",
        "gain",
        "bands rms (meV)",
    ]
    limit = band_errors["window_eV"].dropna()
    note = f"Bands: states within ±{limit.iloc[0]:g} eV of the DFT Fermi level. " if len(limit) else ""
    note += "Reference structures are of a kind that training never saw."
    return Table("Test and reference structures", header, rows, 2, note)


def value_lookup(errors: pd.DataFrame, split: str) -> Any:
    """Function (model, quantity) → value on a split, NaN if the table has none."""
    part = errors[errors["split"] == split]
    known = {
        (model, quantity): value
        for model, quantity, value in zip(part["model"], part["quantity"], part["value"], strict=True)
    }
    return lambda model, quantity: known.get((model, quantity), float("nan"))


def band_table(band_errors: pd.DataFrame) -> Table:
    """Difference of predicted and DFT bands per structure; columns that the table lacks are left out."""
    optional = {
        "max_meV": "largest (meV)",
        "max_20_states_meV": "largest of 20 states (meV)",
        "shift_meV": "common shift (meV)",
    }
    optional = {name: words for name, words in optional.items() if name in band_errors.columns}
    rows = [
        [
            row["structure"],
            row["split"],
            f"±{row['window_eV']:g}",
            f"{row['n_states']:.0f}",
            significant(row["rms_meV"]),
            *(significant(float(row[name])) for name in optional),
        ]
        for _, row in band_errors.iterrows()
    ]
    header = ["structure", "split", "window (eV)", "states", "rms (meV)", *optional.values()]
    note = (
        "Predicted energies are compared after one common shift, as H has a free constant. "
        "Window: states around the DFT Fermi level; 20 states: those nearest to it at each k."
    )
    return Table("Electron bands against DFT", header, rows, 2, note)


def estimator_table(table: pd.DataFrame) -> Table:
    """What antithetic pairs cost relative to independent samples."""
    part = table[table["scheme"] != "plain"]
    rows = [
        [
            row.observable.removeprefix("velocity_"),
            row.scheme,
            f"{row.temperature_K:g}",
            significant(row.cost_ratio_to_plain, 2),
            f"{significant(row.ratio_lo, 2)}–{significant(row.ratio_hi, 2)}",
            f"{row.n_evaluations:.0f}",
        ]
        for row in part.itertuples(index=False)
    ]
    header = ["velocity by", "scheme", "T (K)", "cost / plain", "95 % interval", "evaluations"]
    note = "Samples needed for the same error relative to independent ones: below 1 the pairs pay."
    return Table("Gain of the sampling scheme", header, rows, 2, note)


def precision_table(table: pd.DataFrame) -> Table:
    """How precise every temperature became, against what was asked for."""
    rows = [
        [
            row.observable.removeprefix("velocity_"),
            f"{row.temperature_K:g}",
            *(significant(value / 1e6, 4) for value in (row.value, row.half_width, row.wanted)),
            "yes" if row.met == "True" else "no",
            f"{row.n_pairs:.0f}",
        ]
        for row in table.itertuples(index=False)
    ]
    header = ["velocity by", "T (K)", "value (10⁶ m/s)", "± (95 %)", "wanted", "met", "pairs"]
    note = (
        f"Half width of the 95 % confidence interval (t distribution). Pairs were doubled until it was as "
        f"short as wanted or there were {table['max_pairs'].max():.0f}."
    )
    return Table("Precision and target", header, rows, 1, note)


def timing_table(table: pd.DataFrame) -> Table:
    """Stages by their wall time."""
    rows = [
        [
            row.stage.replace("_", " "),
            f"{row.n_jobs:.0f}",
            duration(row.wall_s),
            duration(row.longest_s),
            duration(row.cpu_s),
            f"{row.max_rss_mb / 1024:.2f}",
        ]
        for row in table.itertuples(index=False)
    ]
    header = ["stage", "jobs", "wall time", "longest job", "CPU time", "memory (GiB)"]
    note = "Wall times of a stage's jobs added up; jobs ran side by side. Memory: largest of a job."
    return Table("Time and memory", header, rows, 1, note)


def phonon_tables(errors: pd.DataFrame) -> list[Table]:
    """Differences from DFT by branch group, and rigid-layer modes of network and slips."""
    found = []
    part = errors[errors["table"] == "commensurate"]
    if len(part):
        rows = [
            [row.group, f"{row.n_modes:.0f}", *map(significant, (row.rms_cm1, row.mean_cm1, row.max_abs_cm1))]
            for row in part.itertuples(index=False)
        ]
        header = ["branches", "modes", "rms (cm⁻¹)", "mean (cm⁻¹)", "largest (cm⁻¹)"]
        note = "Network minus DFT at the q points that the DFT supercell holds, all of them counted once."
        found.append(Table("Phonons against DFT", header, rows, 1, note))
    part = errors[errors["table"] == "rigid_layer"]
    if len(part):
        rows = [
            [row.group, _SOURCES.get(row.source, row.source), *_frequency(row)]
            for row in part.itertuples(index=False)
        ]
        note = "Slips: rigid displacements of whole layers, the accurate reference of these soft modes."
        found.append(Table("Rigid-layer modes at Γ", ["mode", "source", "frequency (cm⁻¹)"], rows, 2, note))
    return found


_SOURCES = {
    "model": "phonon network",
    "dft slips, forces": "DFT slips, from forces",
    "dft slips, energies": "DFT slips, from energies",
}


def _frequency(row: Any) -> list[str]:
    value, error = abs(row.frequency_cm1), row.frequency_se_cm1
    return [with_error(value, error, 1) + (" i (imaginary)" if row.frequency_cm1 < 0 else "")]


def displacement_table(table: pd.DataFrame) -> Table:
    """Rms displacements of the samples beside the exact ones."""
    rows = [
        [
            row.direction.replace("_", " "),
            f"{row.temperature_K:g}",
            with_error(row.rms_A, row.rms_se_A),
            fixed(row.exact_rms_A, 4),
        ]
        for row in table.sort_values(["direction", "temperature_K"]).itertuples(index=False)
    ]
    header = ["direction", "T (K)", "samples (Å)", "exact (Å)"]
    note = "Root mean square per Cartesian component, mean over atoms."
    return Table("Displacements", header, rows, 1, note)
