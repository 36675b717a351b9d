"""Markdown of a study: its numbers, what it says of differences, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mlepi_core.analysis.study_statistics import fit_power_law, relative_difference
from mlepi_core.analysis.tables_study import study_markdown
from mlepi_core.artefacts import InputError
from tests.analysis.synthetic_study import study_table


@pytest.fixture(scope="module")
def markdown() -> str:
    return study_markdown(study_table())


def section(markdown: str, title: str) -> str:
    return markdown.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def cells(markdown: str, title: str, label: str) -> dict[str, str]:
    """Header → cell of one variant, with plain spaces."""
    lines = [line for line in section(markdown, title).splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    row = next(row for row in rows if row[0] == label)
    return {name: cell.replace("\N{NO-BREAK SPACE}", " ") for name, cell in zip(rows[0], row, strict=True)}


def plain(markdown: str, title: str) -> str:
    return section(markdown, title).replace("\N{NO-BREAK SPACE}", " ")


def test_cost_mean_and_spread_of_a_variant(markdown: str) -> None:
    found = cells(markdown, "Phonon network: at equal parameters", "MACE-like, 4 layers, 14 channels")
    assert found["parameters"] == "51,000"
    assert found["GFLOP forward"] == "2.04"
    assert found["GFLOP per step"] == "6.12"
    assert found["ms per step"] == "102"
    assert found["MiB"] == "90.0"
    assert found["steps"] == "2000"
    assert found["training (min)"] == "5.0"
    assert found["forces, test (meV/Å)"] == "20.0 ± 1.4"  # 19 and 21
    assert found["forces, extrapolation (meV/Å)"] == "60 ± 4"
    assert found["energy, reference (meV/atom)"] == "4.00 ± 0.28"


def test_electron_columns(markdown: str) -> None:
    found = cells(markdown, "Electron network: at equal parameters", "DeepH-E3-like, 6 blocks")
    assert found["H, test (meV)"] == "3.15 ± 0.21"
    assert found["inter, test (meV)"] == "1.57 ± 0.11"
    assert found["aligned, test (meV)"] == "2.83 ± 0.19"
    assert found["H, reference (meV)"] == "2.52 ± 0.17"


def test_clear_difference_and_none(markdown: str) -> None:
    text = plain(markdown, "Phonon network: at equal parameters")
    lines = [line for line in text.splitlines() if line.startswith("- HedgeNet, late fusion, 2 layers")]
    clear, none = lines
    assert "against MACE-like, 4 layers, 14 channels, at equal parameters" in clear
    assert "on test cells 50 ± 3 % smaller, a difference of 10 standard errors" in clear
    assert "no difference" not in clear
    assert "against MACE-like, 2 layers, 27 channels" in none
    assert "on test cells no difference seen (2 ± 6 % smaller, 0.30 standard errors)" in none
    assert none.count("no difference seen") == 3
    # 2 P(t > 2) with three degrees of freedom
    assert "3 degrees of freedom" in text
    assert "in 14 % of such comparisons" in text


def test_number_of_seeds_and_structures_is_said(markdown: str) -> None:
    text = plain(markdown, "Phonon network: at equal parameters")
    assert "over n = 2 seeds. With so few seeds the spread is itself uncertain, by about 71 %" in text
    assert "Structures: test 2, extrapolation 5, reference 1 (twisted_21.79)." in text
    assert "0.99 to 1.02 times the parameters" in text


def test_number_of_cells_that_halves_the_error(markdown: str) -> None:
    text = plain(markdown, "Phonon network: number of training cells")
    assert "on test cells: goes as (number of cells)^−p with p = 0.500 ± 0.009" in text
    assert "half the error of 16 cells would need 4.0 times as many, 64." in text
    flat = plain(markdown, "Electron network: number of training cells")
    assert "p = 0.00 ± 0.06, which is not seen to differ from zero" in flat
    assert "half the error" not in flat


def test_published_numbers_stand_beside(markdown: str) -> None:
    found = cells(markdown, "Published: phonon network", "HedgeNet-Phonon")
    assert list(found.values())[1:] == ["0.0639", "8.686"]
    found = cells(markdown, "Published: electron network", "DeepH-E3, 6 layers")
    assert list(found.values())[1:] == ["0.310", "0.239"]
    text = plain(markdown, "Published: phonon network")
    assert "better than MACE, 4 layers, of about equal size, by 5.6 % (forces, test)." in text
    assert "Here: 4 to 16 large training cells" in text
    assert "2,000 steps" in text
    text = plain(markdown, "Published: electron network")
    assert "by 2.3 % (H, test) and 14 % (H, twisted)." in text


def test_one_seed_makes_no_claim() -> None:
    table = study_table()
    text = study_markdown(table[table["seed"] == 1]).replace("\N{NO-BREAK SPACE}", " ")
    assert "Mean absolute errors of 1 seed: there is no spread." in text
    assert "on test cells 50.0 % smaller (no spread: this may be chance)" in text
    assert "standard errors" not in text
    found = cells(text, "Phonon network: at equal parameters", "MACE-like, 4 layers, 14 channels")
    assert found["forces, test (meV/Å)"] == "19.0"


def test_one_network_without_extrapolation_and_reference() -> None:
    table = study_table()
    text = study_markdown(table[(table["network"] == "electron") & (table["split"] == "test")])
    assert "extrapolation" not in text
    assert "reference" not in text
    assert "Phonon" not in text


def test_numbers_as_names_are_names() -> None:
    table = study_table()
    table["variant"] = table["variant"].map({name: k for k, name in enumerate(set(table["variant"]))})
    assert "MACE-like, 4 layers" in study_markdown(table)


def test_relative_difference_by_hand() -> None:
    errors = {"a": np.array([9.0, 11.0]), "b": np.array([19.0, 21.0]), "c": np.array([5.0])}
    found = relative_difference(errors, "a", "b")
    pooled = math.sqrt((2 / 10**2 + 2 / 20**2) / 2)
    assert found.percent == pytest.approx(-50)
    assert found.freedom == 2
    assert found.error_percent == pytest.approx(50 * pooled)
    assert found.standard_errors == pytest.approx(math.log(2) / pooled)
    assert relative_difference(errors, "b", "a").standard_errors == pytest.approx(found.standard_errors)
    assert relative_difference(errors, "a", "c").standard_errors == pytest.approx(
        math.log(2) / (pooled * math.sqrt(1.5))
    )


def test_power_law_by_hand() -> None:
    cells = np.array([4.0, 8.0, 16.0])
    law = fit_power_law(cells, 12 * cells**-0.25)
    assert (law.prefactor, law.exponent) == pytest.approx((12, 0.25))
    assert law.halving_factor == pytest.approx(16)
    assert math.isnan(fit_power_law(cells, 12 * cells**0.25).halving_factor)
    scattered = fit_power_law(np.repeat(cells, 2), np.array([10.0, 20, 9, 20, 9, 18]))
    assert scattered.exponent > 0
    assert math.isnan(scattered.halving_factor)


def test_two_points_give_an_exponent_without_error() -> None:
    law = fit_power_law(np.array([4.0, 8.0]), np.array([10.0, 5.0]))
    assert law.exponent == pytest.approx(1)
    assert math.isnan(law.exponent_se)
    table = study_table()
    table = table[(table["seed"] == 1) & (table["network"] == "phonon") & table["train_cells"].isin((4, 8))]
    text = study_markdown(table)
    assert "on test cells: goes as (number of cells)^−p with p = 0.50 of unknown error" in text
    assert "half the error" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="step_ms"), "has no column 'step_ms'"),
        (lambda t: t[t["split"] == "nothing"], "has no rows"),
        (
            lambda t: t[(t["split"] != "test") | (t["network"] == "electron")],
            "has no force_mae on split 'test' of the phonon network; take label stores with test",
        ),
        (
            lambda t: t[~((t["variant"] == "e3-6") & (t["seed"] == 2) & (t["split"] == "reference"))],
            "has no hamiltonian_mae on split 'reference' of the electron network, variant 'e3-6', seed 2",
        ),
        (lambda t: pd.concat([t, t.head(1)]), "has force_mae on split 'test' of one phonon training twice"),
        (lambda t: t.assign(network="photon"), "has an unknown network 'photon'"),
    ],
)
def test_incomplete_tables_are_refused(change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study_markdown(change(study_table()))
