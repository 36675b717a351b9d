"""Numbers of a study: errors of variants over seeds, differences, power law in the number of cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlepi_core.artefacts import InputError

NUMBERS = (
    "seed",
    "parameters",
    "flops_forward",
    "flops_step",
    "step_ms",
    "memory_step_MiB",
    "steps",
    "train_cells",
    "train_wall_s",
    "value",
    "n_structures",
)
COLUMNS = ("comparison", "network", "variant", "label", "split", "quantity", "unit", *NUMBERS)
NETWORKS = {"phonon": "Phonon network", "electron": "Electron network"}
#: The error by which variants are compared, and its words.
DECIDING = {"phonon": ("force_mae", "forces"), "electron": ("hamiltonian_mae", "H")}
#: Structures that errors are compared on; none was trained on.
SPLITS = ("test", "extrapolation", "reference")
#: Below so many standard errors no difference is seen.
SEEN = 2.0

_KEY = ["comparison", "variant", "seed"]


@dataclass(frozen=True)
class Difference:
    """Relative difference of two mean errors: ``percent`` of the other's (negative: the first is smaller).

    Its standard error, and how many of these it is, are NaN where no variant has more than one seed.
    ``freedom``: degrees of freedom of the spread.
    """

    percent: float
    error_percent: float
    standard_errors: float
    freedom: int

    @property
    def seen(self) -> bool:
        """Whether it is at least `SEEN` standard errors."""
        return bool(self.standard_errors >= SEEN)


@dataclass(frozen=True)
class PowerLaw:
    """Error = prefactor · cells^−exponent; the standard error of the exponent is NaN without residuals."""

    prefactor: float
    exponent: float
    exponent_se: float

    @property
    def halving_factor(self) -> float:
        """How many times as many cells the fit says halve the error; NaN where it is not seen to fall.

        Seen: the exponent is at least `SEEN` of its standard errors above zero.
        """
        falls = self.exponent > 0 and self.exponent >= SEEN * self.exponent_se
        return float(2 ** min(1 / self.exponent, 1000.0)) if falls else float("nan")


def check_study(table: pd.DataFrame, where: str) -> None:
    """Every training has each error that others of its network have, once, and test errors there are.

    Parameters
    ----------
    table
        ``tables/study.csv``; `where` names it in messages.

    Raises
    ------
    InputError
        If a column, an error of a training or the test split is missing, a network is unknown, or an error
        stands there twice.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(where, f"has no column {missing[0]!r}", "make it with this version of the program")
    if table.empty:
        raise InputError(where, "has no rows", "run the study again")
    unknown = sorted(set(table["network"]) - set(NETWORKS))
    if unknown:
        raise InputError(where, f"has an unknown network {unknown[0]!r}", f"use {' or '.join(NETWORKS)}")
    for network, part in table.groupby("network"):
        _check_network(str(network), part, where)


def _check_network(network: str, table: pd.DataFrame, where: str) -> None:
    quantity = DECIDING[network][0]
    trainings = table[_KEY].drop_duplicates()
    for split in SPLITS:
        rows = table[(table["split"] == split) & (table["quantity"] == quantity)]
        if rows.empty and split != "test":
            continue
        name = f"{quantity} on split {split!r}"
        if rows.empty:
            raise InputError(
                where, f"has no {name} of the {network} network", "take label stores with test structures"
            )
        if rows.duplicated(_KEY).any():
            raise InputError(where, f"has {name} of one {network} training twice", "run the study again")
        merged = trainings.merge(rows[[*_KEY, "value"]], how="left")
        lacking = merged[~np.isfinite(merged["value"])]
        if len(lacking):
            first = lacking.iloc[0]
            training = f"variant {first['variant']!r}, seed {first['seed']}"
            raise InputError(where, f"has no {name} of the {network} network, {training}", "train it again")


def comparisons(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Network, comparison and their rows: phonon first, comparisons in the order of the table."""
    for network in NETWORKS:
        of_network = table[table["network"] == network]
        for comparison in dict.fromkeys(of_network["comparison"]):
            yield network, comparison, of_network[of_network["comparison"] == comparison]


def errors_by_variant(table: pd.DataFrame, split: str, quantity: str) -> dict[str, np.ndarray]:
    """Variant → errors of its seeds, in the order of the table; those without one are left out."""
    rows = table[(table["split"] == split) & (table["quantity"] == quantity)]
    return {str(name): part["value"].to_numpy() for name, part in rows.groupby("variant", sort=False)}


def mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (n − 1); NaN for the latter of one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def relative_difference(errors: Mapping[str, np.ndarray], first: str, other: str) -> Difference:
    """How much larger the mean error of `first` is than that of `other`.

    Two seeds say little on the spread of one variant, but seeds scatter all variants of a comparison by
    about the same ratio: the relative variances of all variants in `errors` are pooled, weighted by their
    degrees of freedom. The difference counts in standard errors of the logarithm of the ratio, so
    exchanging both only changes its sign.
    """
    moments = [(len(values), *mean_and_spread(values)) for values in errors.values()]
    freedom = sum(n - 1 for n, _, _ in moments)
    squares = sum((n - 1) * (spread / mean) ** 2 for n, mean, spread in moments if n > 1)
    pooled = np.sqrt(squares / freedom) if freedom and squares else float("nan")
    standard_error = pooled * np.sqrt(1 / len(errors[first]) + 1 / len(errors[other]))
    ratio = float(np.mean(errors[first]) / np.mean(errors[other]))
    return Difference(
        100 * (ratio - 1), 100 * ratio * standard_error, abs(np.log(ratio)) / standard_error, freedom
    )


def differs_in_cells(table: pd.DataFrame) -> bool:
    """Whether the variants of a comparison were trained on different numbers of cells."""
    return table["train_cells"].nunique() > 1


def fit_power_law(cells: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Least squares of ln error against ln cells; `cells` and `errors` (n,) with at least two sizes."""
    x, y = np.log(cells), np.log(errors)
    slope, offset = np.polyfit(x, y, 1)
    residual = y - offset - slope * x
    freedom = len(x) - 2
    variance = (residual @ residual) / freedom if freedom else float("nan")
    error = np.sqrt(variance / ((x - x.mean()) ** 2).sum())
    return PowerLaw(float(np.exp(offset)), float(-slope), float(error))
