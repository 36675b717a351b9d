"""Markdown tables of a study, what they say, and the published numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from mlepi_core.analysis.numbers import MISSING, counted, fixed, joined, significant, with_error
from mlepi_core.analysis.study_statistics import (
    DECIDING,
    NETWORKS,
    SEEN,
    SPLITS,
    Difference,
    check_study,
    comparisons,
    differs_in_cells,
    errors_by_variant,
    fit_power_law,
    mean_and_spread,
    relative_difference,
)

PAPER = "Z. Wang, W. Duan, Z. Lin, arXiv:2602.23084 (2026)"
#: Errors that the paper prints, with its digits.
PUBLISHED = {
    "phonon": [
        ["model", "energy, test (meV/atom)", "forces, test (meV/Å)"],
        ["MACE, 2 layers", "0.1", "9.5"],
        ["MACE, 4 layers", "0.1", "9.2"],
        ["HedgeNet-Phonon", "0.0639", "8.686"],
    ],
    "electron": [
        ["model", "H, test (meV)", "H, twisted (meV)"],
        ["DeepH", "2.1", MISSING],
        ["DeepH-E3, as reported by its authors", "0.40", MISSING],
        ["DeepH-E3, 3 layers", "0.395", "0.285"],
        ["DeepH-E3, 6 layers", "0.310", "0.239"],
        ["HedgeNet-Electron", "0.303", "0.206"],
    ],
}
_THEIR_DATA = {
    "phonon": "2000 cells of 64 atoms from VASP (PBE with DFT-D2), 81 % of them to train",
    "electron": "the bilayer-graphene Hamiltonians of DeepH (OpenMX, basis s2p2d1), 60 % of them to train",
}

_EQUAL = {
    "parameters": "at equal parameters",
    "flops": "at equal operations per step",
    "cells": "number of training cells",
}
_WHERE = {
    "test": "test cells",
    "extrapolation": "the cells with the largest displacements",
    "reference": "reference cells",
}
_ERRORS = {
    "phonon": [
        (split, quantity, f"{words}, {split} ({unit})")
        for split in SPLITS
        for quantity, words, unit in (("energy_mae", "energy", "meV/atom"), ("force_mae", "forces", "meV/Å"))
    ],
    "electron": [
        ("test", "hamiltonian_mae", "H, test (meV)"),
        ("test", "hamiltonian_mae_intra", "intra, test (meV)"),
        ("test", "hamiltonian_mae_inter", "inter, test (meV)"),
        ("test", "hamiltonian_mae_aligned", "aligned, test (meV)"),
        ("extrapolation", "hamiltonian_mae", "H, extrapolation (meV)"),
        ("reference", "hamiltonian_mae", "H, reference (meV)"),
    ],
}
_COSTS = [
    ("parameters", "parameters", lambda value: f"{value:,.0f}"),
    ("flops_forward", "GFLOP forward", lambda value: significant(value / 1e9)),
    ("flops_step", "GFLOP per step", lambda value: significant(value / 1e9)),
    ("step_ms", "ms per step", significant),
    ("memory_step_MiB", "MiB", significant),
    ("steps", "steps", lambda value: f"{value:.0f}"),
    ("train_cells", "cells", lambda value: f"{value:.0f}"),
    ("train_wall_s", "training (min)", lambda value: significant(value / 60, 2)),
]


def study_markdown(table: pd.DataFrame) -> str:
    """Tables, sentences computed from them, and published numbers, as Markdown.

    Parameters
    ----------
    table
        ``tables/study.csv``: a row per comparison, network, variant, seed, split and quantity.

    Raises
    ------
    InputError
        If a column, an error of one training or the test split is missing.
    """
    check_study(table, "tables/study.csv")
    table = table.astype({"comparison": str, "variant": str, "label": str})
    parts = ["# Comparison of networks"]
    for network, comparison, rows in comparisons(table):
        parts += _comparison(network, comparison, rows)
    for network in NETWORKS:
        if (table["network"] == network).any():
            parts += _published(network, table[table["network"] == network])
    return "\n\n".join(parts) + "\n"


def _comparison(network: str, comparison: str, table: pd.DataFrame) -> list[str]:
    title = f"## {NETWORKS[network]}: {_EQUAL.get(comparison, comparison)}"
    sentences = (
        _falls(network, table) if differs_in_cells(table) else _differences(network, comparison, table)
    )
    return [title, _table(network, table), _legend(network, table), *sentences]


def _table(network: str, table: pd.DataFrame) -> str:
    shown = [column for column in _ERRORS[network] if errors_by_variant(table, *column[:2])]
    header = ["variant", *(words for _, words, _ in _COSTS), *(words for *_, words in shown)]
    rows = []
    for variant, part in table.groupby("variant", sort=False):
        costs = part.drop_duplicates("seed")[[name for name, *_ in _COSTS]].mean()
        rows.append(
            [
                part["label"].iloc[0],
                *(words(costs[name]) if np.isfinite(costs[name]) else MISSING for name, _, words in _COSTS),
                *(_value(errors_by_variant(table, *column[:2]).get(variant)) for column in shown),
            ]
        )
    return _markdown([header, *rows])


def _value(values: np.ndarray | None) -> str:
    """Mean ± standard deviation over seeds."""
    if values is None:
        return MISSING
    mean, spread = mean_and_spread(values)
    return with_error(mean, spread) if spread > 0 else significant(mean)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """First row: header. First column left-aligned."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def _legend(network: str, table: pd.DataFrame) -> str:
    """Number of seeds, what ± is, and which structures the errors are of."""
    seeds = table.groupby("variant")["seed"].nunique()
    low, high = seeds.min(), seeds.max()
    count = counted(int(low), "seed") if low == high else f"{low} to {high} seeds"
    if high == 1:
        text = f"Mean absolute errors of {count}: there is no spread."
    else:
        text = f"Mean absolute errors, mean ± standard deviation (n − 1) over n = {count}."
        if low < 3:
            off = 100 / np.sqrt(2 * (max(low, 2) - 1))
            text += f" With so few seeds the spread is itself uncertain, by about {off:.0f} % of it."
    return " ".join([text, _structures(network, table), "Cost: a step on the largest training cell."])


def _structures(network: str, table: pd.DataFrame) -> str:
    counts = []
    for split in SPLITS:
        rows = table[(table["split"] == split) & (table["quantity"] == DECIDING[network][0])]
        if len(rows):
            places = table.loc[table["split"].str.startswith(f"{split}:"), "split"]
            names = [place.partition(":")[2] for place in dict.fromkeys(places)]
            listed = f" ({', '.join(names)})" if split == "reference" and 0 < len(names) <= 4 else ""
            counts.append(f"{split} {rows['n_structures'].max():.0f}{listed}")
    return f"Structures: {', '.join(counts)}."


def _differences(network: str, comparison: str, table: pd.DataFrame) -> list[str]:
    """A sentence for each variant that the first one is compared with."""
    labels = table.drop_duplicates("variant").set_index("variant")["label"].to_dict()
    first, *others = labels
    if not others:
        return []
    quantity, words = DECIDING[network]
    errors = {split: errors_by_variant(table, split, quantity) for split in SPLITS}
    equal = _EQUAL.get(comparison, f"comparison {comparison}")
    lines, freedom = [], 0
    for other in others:
        found = {s: relative_difference(errors[s], first, other) for s in SPLITS if errors[s]}
        freedom = found["test"].freedom
        clauses = "; ".join(f"on {_WHERE[split]} {_clause(value)}" for split, value in found.items())
        lines.append(f"- {labels[first]}, against {labels[other]}, {equal}, error of {words}: {clauses}.")
    return [_matched(table, labels, first), "\n".join(lines), _chance(freedom)]


def _clause(value: Difference) -> str:
    size = with_error(abs(value.percent), value.error_percent, 1)
    size += f" % {'smaller' if value.percent < 0 else 'larger'}"
    if not np.isfinite(value.standard_errors):
        return f"{size} (no spread: this may be chance)"
    count = f"{significant(value.standard_errors, 2)} standard errors"
    return f"{size}, a difference of {count}" if value.seen else f"no difference seen ({size}, {count})"


def _matched(table: pd.DataFrame, labels: dict[str, str], first: str) -> str:
    """How equal what should be equal is."""
    costs = table.drop_duplicates("variant").set_index("variant")
    ranges = []
    for name, words in (
        ("parameters", "parameters"),
        ("flops_step", "operations of a step"),
        ("step_ms", "time of a step"),
    ):
        ratio = costs[name].drop(first) / costs.loc[first, name]
        low, high = (fixed(value, 2) for value in (ratio.min(), ratio.max()))
        ranges.append(f"{low} times the {words}" if low == high else f"{low} to {high} times the {words}")
    return f"Relative to {labels[first]} the others have {joined(ranges)}."


def _chance(freedom: int) -> str:
    if not freedom:
        return "With one seed each, differences of this size may be chance."
    chance = 100 * 2 * student.sf(SEEN, freedom)
    return (
        "Standard errors are those of the ratio of two means, from the relative spread over seeds, pooled "
        f"over the variants of this comparison ({counted(freedom, 'degree')} of freedom). Below {SEEN:g} no "
        f"difference is called seen; seeds alone would exceed that in {chance:.0f} % of such comparisons. "
        "What other test structures would give is not in them."
    )


def _falls(network: str, table: pd.DataFrame) -> list[str]:
    """A sentence for each split: power law of the error in the number of training cells."""
    quantity, words = DECIDING[network]
    lines = []
    for split in SPLITS:
        rows = table[(table["split"] == split) & (table["quantity"] == quantity)]
        if rows.empty:
            continue
        law = fit_power_law(rows["train_cells"].to_numpy(float), rows["value"].to_numpy())
        exponent = with_error(law.exponent, law.exponent_se, 2)
        line = f"- Error of {words} on {_WHERE[split]}: goes as (number of cells)^−p with p = {exponent}"
        factor, most = law.halving_factor, int(rows["train_cells"].max())
        if np.isfinite(factor):
            times, cells = significant(factor, 2), significant(factor * most, 2)
            line += f"; half the error of {most} cells would need {times} times as many, {cells}."
        elif np.isnan(law.exponent_se):
            line += " of unknown error: no number of cells follows from it."
        else:
            line += ", which is not seen to differ from zero: no number of cells follows from it."
        lines.append(line)
    note = (
        "Fits of ln error to all seeds; ± is the standard error by their residuals. Numbers of cells beyond "
        "the largest are extrapolated. Only large cells are counted; the small ones are in every training."
    )
    return ["\n".join(lines), note]


def _published(network: str, table: pd.DataFrame) -> list[str]:
    """The paper's table, and what differs here."""
    cells, steps, parameters = (_range(table[name]) for name in ("train_cells", "steps", "parameters"))
    text = (
        f"Theirs: {_THEIR_DATA[network]}, networks of full width. Here: {cells} large training cells and the "
        f"small ones (the bundled data are OpenMX with basis s2p2), networks of {parameters} parameters, "
        f"{steps} steps. Sizes of errors cannot be compared, only which variant is better and by what part. "
        f"{_published_gain(network)} No spread over seeds is printed there."
    )
    return [f"## Published: {NETWORKS[network].lower()}", _markdown(PUBLISHED[network]), f"{PAPER}. {text}"]


def _published_gain(network: str) -> str:
    (_, *small), (_, *ours) = PUBLISHED[network][-2:]
    name = PUBLISHED[network][-2][0]
    words = [header.partition(" (")[0] for header in PUBLISHED[network][0][1:]]
    parts = joined(
        f"{significant(100 * (1 - float(our) / float(their)), 2)} % ({word})"
        for word, their, our in zip(words, small, ours, strict=True)
        if len(their.strip("0.")) > 1  # a single digit says nothing on a few per cent
    )
    return f"HedgeNet is there better than {name}, of about equal size, by {parts}."


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
