"""Small tables with the columns of a run and roughly its numbers, for the tests of figures and report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mlepi_core.analysis.error_budget import error_budget
from mlepi_core.artefacts import write_json
from mlepi_core.config.figures import FiguresSection
from mlepi_core.inference.calibration import calibration_rows
from mlepi_core.stages.figures import figure
from tests.analysis.synthetic_study import history_table, study_table

TEMPERATURES = (0.0, 100.0, 200.0, 300.0)
WINDOWS = ((0.03, 0.10), (0.03, 0.05), (0.05, 0.10))
NAIVE_WINDOWS = ((0.0, 0.03), (0.0, 0.05), (0.05, 0.10))
STRUCTURES = (("bg4x4_0009", "test"), ("bg4x4_0019", "test"), ("twisted_21.79", "reference"))
FIGURE_TABLES = {
    "learning_curves": {"phonon": "history_phonon", "electron": "history_electron"},
    "parity_phonon": {"parity": "phonon_parity", "errors": "errors"},
    "parity_electron": {"parity": "electron_parity", "errors": "errors"},
    "calibration": {"points": "calibration_points", "calibration": "calibration"},
    "phonon_bands": {"bands": "phonon_bands", "errors": "phonon_errors"},
    "displacements": {"displacements": "displacements"},
    "bands": {"bands": "bands", "errors": "band_errors"},
    "velocity": {"velocity": "velocity"},
    "convergence": {"convergence": "convergence"},
    "timing": {"timing": "timing"},
    "ablation": {"study": "study"},
    "learning_curve_cells": {"study": "study"},
    "learning_curve_time": {"history": "study_history"},
    "size_series": {"sizes": "sizes"},
    "error_budget": {"budget": "budget"},
    "spectral": {"spectral": "spectral", "bare": "bare"},
}
#: Figures of a study and of several runs, which are no part of the report of a run.
NOT_IN_REPORT = (
    "ablation",
    "learning_curve_cells",
    "learning_curve_time",
    "size_series",
    "error_budget",
    "spectral",
)
_RATIOS = {"manifold": 0.982, "bilayer": 0.961, "operator": 0.988}
_NAIVE = {0.03: 0.47, 0.05: 0.62, 0.10: 0.92}


def write_tables(folder: Path) -> dict[str, Path]:
    """Write every table that figures and report read; returns name → path."""
    generator = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "history_phonon": _history(
            generator, 800, {"energy_mae_meV_per_atom": (30, 2.1), "force_mae_meV_per_A": (800, 21)}
        ),
        "history_electron": _history(generator, 1500, {"mae_meV": (21, 2.9), "rmse_meV": (45, 6.1)}),
        "phonon_parity": _phonon_parity(generator),
        "electron_parity": _electron_parity(generator),
        "errors": _errors(),
        **_calibration(generator),
        "phonon_bands": _phonon_bands(),
        "phonon_errors": _phonon_errors(),
        "displacements": _displacements(),
        "bands": _bands(generator),
        "band_errors": pd.DataFrame(
            [
                (name, split, 1.0, 240, 31.5 + 9 * k, 120.0, -4.2, 90.0)
                for k, (name, split) in enumerate(STRUCTURES)
            ],
            columns=[
                "structure",
                "split",
                "window_eV",
                "n_states",
                "rms_meV",
                "max_meV",
                "shift_meV",
                "max_20_states_meV",
            ],
        ),
        "derivative": _derivative(),
        "frozen_phonon": _frozen_phonon(),
        "static_velocity": _static_velocity(),
        "velocity": _velocity(generator),
        "convergence": _convergence(generator),
        "estimators": _estimators(),
        "timing": _timing(),
        **_several_runs(),
        **_spectral(),
        "study": study_table(),
        "study_history": history_table(),
    }
    paths = {}
    for name, table in tables.items():
        paths[name] = folder / f"{name}.csv"
        table.to_csv(paths[name], index=False)
    return paths


def _several_runs() -> dict[str, pd.DataFrame]:
    """Velocities of three sampling cells, and the budget that follows from them."""
    series = []
    for n in (3, 6, 9):
        table = _velocity(np.random.default_rng(n)).assign(supercell_n=n, run=f"results/{n}x{n}")
        series.append(table.assign(ratio=1 - (1 - table["ratio"]) * (1 + 0.1 * n)))
    budget = error_budget(series[0], sizes=series[1:], networks=[series[0].assign(ratio=0.98)])
    return {"sizes": pd.concat(series), "budget": budget}


def _spectral() -> dict[str, pd.DataFrame]:
    """A cosine band along a path, as a line and broadened."""
    ik = np.arange(25)
    place = pd.DataFrame({"ik": ik, "distance_per_A": 0.1 * ik, "label": np.where(ik % 12 == 0, "Γ", "")})
    bare = place.assign(band=0, energy_eV=2 * np.cos(0.25 * ik))
    grid = pd.DataFrame({"energy_eV": np.linspace(-3, 3, 61)})
    spectral = place.merge(grid, how="cross")
    spectral["spectral_per_eV"] = (
        0.1 / np.pi / ((spectral["energy_eV"] - 2 * np.cos(0.25 * spectral["ik"])) ** 2 + 0.01)
    )
    return {"spectral": spectral, "bare": bare}


def figure_inputs(paths: dict[str, Path], name: str) -> dict[str, Path]:
    """Tables of one figure by the names that the figure gives them."""
    return {key: paths[table] for key, table in FIGURE_TABLES[name].items()}


def write_run(folder: Path) -> None:
    """Folder of a finished run: tables, figures, velocity.json, relaxation.json, checksums of labels."""
    paths = write_tables(folder / "tables")
    for name in FIGURE_TABLES:
        figure(name, figure_inputs(paths, name), folder / "figures" / name, FiguresSection(dpi=60))
    note = "Straight-line slope. Finite-size artefact: every snapshot of a small cell has a gap."
    details = {
        "imaginary_policy": "floor",
        "n_touched_modes": 3,
        "results": [{"estimator": "naive", "note": note}, {"estimator": "manifold", "note": "Variance."}],
    }
    rigid = [("shear", 21.4), ("shear", 21.4), ("breathing", 118.0)]
    relaxation = {
        "max_force_start_eV_per_A": 0.0049,
        "residual_force_eV_per_A": 6.1e-5,
        "moved_max_A": 0.021,
        "energy_change_eV": -0.0003,
        "sum_rules_before": {"translation_eV_per_A2": 2e-4, "permutation_eV_per_A2": 3e-4},
        "sum_rules_imposed": "translational",
        "sum_rules_after": {"translation_eV_per_A2": 1e-14, "permutation_eV_per_A2": 2e-15},
        "imaginary_modes": [],
        "rigid_layer_modes": [{"kind": kind, "frequency_cm1": value} for kind, value in rigid],
    }
    write_json(folder / "tables" / "velocity.json", details)
    write_json(folder / "phonons" / "relaxation.json", relaxation)
    sums = {f"resources/{name}.h5": "ab" * 32 for name in ("bilayer-graphene/rigid", "retired")}
    write_json(folder / "labels" / "verified" / "resources" / "data.json", sums)


def _history(
    generator: np.random.Generator, steps: int, metrics: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    step = np.arange(50, steps + 1, 50)
    fall = np.exp(-5.0 * step / steps)
    noise = np.exp(0.05 * generator.standard_normal((len(metrics) + 1, len(step))))
    columns = {
        "step": step,
        "lr": 0.01 * (1 - step / (steps + 1)),
        "train_loss": (0.5 * fall + 0.004) * noise[0],
    }
    for row, (name, (first, last)) in enumerate(metrics.items(), start=1):
        columns[name] = (last + (first - last) * fall) * noise[row]
    return pd.DataFrame({"member": 1} | columns | {"wall_s": 0.4 * step})


def _phonon_parity(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for number, (name, split) in enumerate(STRUCTURES):
        energy = 0.02 + 0.05 * number
        rows.append(("energy", split, name, energy, energy + 0.002 * (number - 1), "eV/atom"))
        label = generator.normal(0, 2.0 if split == "test" else 0.4, 192)
        predicted = label + generator.normal(0, 0.03, 192)
        rows += [("force", split, name, a, b, "eV/Å") for a, b in zip(label, predicted, strict=True)]
    return pd.DataFrame(rows, columns=["quantity", "split", "structure", "label", "predicted", "unit"])


def _electron_parity(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for name, split in STRUCTURES:
        for kind, centre, width in (("onsite", -3.0, 4.0), ("intra", 0.0, 2.0), ("inter", 0.0, 0.3)):
            label = generator.normal(centre, width, 400) * generator.random(400) ** 2
            size = 0.02 + 0.03 * np.abs(label)
            predicted, baseline = (
                label + size * scale * generator.standard_normal(400) for scale in (0.08, 0.6)
            )
            rows += [(kind, split, name, *values) for values in zip(label, predicted, baseline, strict=True)]
    columns = ["kind", "split", "structure", "label_eV", "predicted_eV", "baseline_eV"]
    return pd.DataFrame(rows, columns=columns)


def _calibration(generator: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Points with errors of about twice the spread, and their table."""
    quantities = [("phonon", "force", "meV/Å", 20.0), ("phonon", "force_component", "meV/Å", 12.0)]
    quantities += [
        ("electron", f"hamiltonian_{name}", "meV", size)
        for name, size in (("onsite", 8.0), ("intra", 3.0), ("inter", 0.6))
    ]
    points, rows = [], []
    for model, quantity, unit, size in quantities:
        splits = {}
        for name, split in (("bg4x4_0004", "validation"), *STRUCTURES):
            spread = size * generator.lognormal(0, 0.8, 200)
            error = 2 * spread * np.abs(generator.standard_normal(200))
            common = {"model": model, "quantity": quantity, "split": split, "structure": name, "unit": unit}
            points.append(pd.DataFrame({"spread": spread, "error": error}).assign(**common))
            splits[split] = (spread, error)
        rows += calibration_rows(model, quantity, unit, splits)
    return {"calibration_points": pd.concat(points), "calibration": pd.DataFrame(rows)}


def _errors() -> pd.DataFrame:
    phonon = {"energy_mae": ("meV/atom", 2.3), "force_mae": ("meV/Å", 23.4), "force_rmse": ("meV/Å", 31.0)}
    phonon["force_rms"] = ("meV/Å", 1950.0)
    electron = {
        f"hamiltonian_{key}": ("meV", value)
        for key, value in {
            "mae": 3.1,
            "rmse": 6.4,
            "mae_intra": 4.9,
            "mae_inter": 1.2,
            "mae_onsite": 12.5,
            "mae_aligned": 3.0,
        }.items()
    }
    models = [
        ("phonon", phonon, 1.0),
        ("zero", phonon, 40.0),
        ("mean", phonon, 38.0),
        ("electron", electron, 1.0),
        ("zero", electron, 60.0),
        ("two_centre", electron, 6.5),
    ]
    splits = [("train", 0.8, 60), ("validation", 1.1, 2), ("test", 1.0, 2), ("reference", 1.6, 1)]
    splits += [(f"{split}:{name}", 1.2, 1) for name, split in STRUCTURES]
    rows = [
        (model, split, quantity, unit, value * scale * worse, count)
        for split, worse, count in splits
        for model, quantities, scale in models
        for quantity, (unit, value) in quantities.items()
    ]
    for name, split in STRUCTURES:
        rows.append(("phonon", f"{split}:{name}", "energy_error", "meV/atom", -1.73, 1))
        rows.append(("phonon", f"{split}:{name}", "force_label_rms", "meV/Å", 1404.0, 1))
    return pd.DataFrame(rows, columns=["model", "split", "quantity", "unit", "value", "n_structures"])


def _bands(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    count = 25
    distance = np.linspace(0, 0.8, count)
    marks = {0: "Γ", 9: "M", 14: "K", count - 1: "Γ"}
    for name, split in STRUCTURES:
        for band, centre in enumerate(np.linspace(-4.5, 4.5, 28)):
            dft = centre + 0.8 * np.sin(4 * distance + band) * np.cos(band)
            predicted = dft + 0.03 * generator.standard_normal() + 0.02 * np.sin(9 * distance)
            rows += [
                (name, split, k, distance[k], marks.get(k, ""), band, dft[k], predicted[k])
                for k in range(count)
            ]
    columns = ["structure", "split", "ik", "distance_per_A", "label", "band", "energy_dft_eV"]
    return pd.DataFrame(rows, columns=[*columns, "energy_predicted_eV"])


def _phonon_bands() -> pd.DataFrame:
    distance = np.linspace(0, 4.0, 41)
    marks = {0: "Γ", 16: "M", 24: "K", 40: "Γ"}
    rows = []
    for branch in range(12):
        dft = 1550 * (branch // 3 + 1) / 4 * np.abs(np.sin(0.7 * distance + 0.3 * (branch % 3))) ** 0.7
        for k, value in enumerate(dft):
            place = (marks.get(k, ""), int(k in (0, 8, 16)), k, distance[k], branch)
            rows.append(("dft", *place, value))
            rows.append(("model", *place, value + 9 * np.cos(k + branch) - 6))
    columns = ["source", "label", "commensurate", "iq", "distance_per_A", "branch", "frequency_cm1"]
    return pd.DataFrame(rows, columns=columns)


def _phonon_errors() -> pd.DataFrame:
    differences = [("all", 189, 14.2, 3.1, 40.2), ("ZA", 47, 8.4, -2.2, 21.0), ("ZO", 48, 11.3, 2.0, 29.5)]
    differences += [("TA/LA", 46, 13.1, 5.1, 33.3), ("TO/LO", 48, 20.9, 7.4, 40.2)]
    rows = [("commensurate", group, "model - dft", *numbers, None, None) for group, *numbers in differences]
    modes = [
        ("shear", "model", 21.4, None),
        ("shear", "model", 21.4, None),
        ("breathing", "model", 118.0, None),
    ]
    modes += [("shear", "dft slips, forces", 38.4, 1.1), ("breathing", "dft slips, forces", 128.2, 2.0)]
    rows += [
        ("rigid_layer", mode, source, *(None,) * 4, value, error) for mode, source, value, error in modes
    ]
    columns = ["table", "group", "source", "n_modes", "rms_cm1", "mean_cm1", "max_abs_cm1"]
    return pd.DataFrame(rows, columns=[*columns, "frequency_cm1", "frequency_se_cm1"])


def _displacements() -> pd.DataFrame:
    rows = [
        (temperature, direction, exact * 1.01, 0.02 * exact, exact, 16)
        for temperature in TEMPERATURES
        for direction, exact in (
            ("in_plane", 0.038 + 3e-5 * temperature),
            ("out_of_plane", 0.062 + 2e-4 * temperature),
        )
    ]
    return pd.DataFrame(
        rows, columns=["temperature_K", "direction", "rms_A", "rms_se_A", "exact_rms_A", "n_pairs"]
    )


def _derivative() -> pd.DataFrame:
    rows = [
        ("dH_norm", 0.0, "predicted", 21.3, "eV/Å"),
        ("dH_norm", 0.001, "predicted", 21.31, "eV/Å"),
        ("dH_norm", 0.01, "predicted", 21.35, "eV/Å"),
        ("dH_disagreement", 0.01, "predicted", 0.0031, "1"),
        ("dH_norm disp_0", 0.02, "dft", 21.9, "eV/Å"),
        ("dH_norm disp_0", 0.02, "predicted", 21.4, "eV/Å"),
        ("dH_error disp_0", 0.02, "predicted", 0.041, "1"),
    ]
    return pd.DataFrame(rows, columns=["quantity", "step_A", "source", "value", "unit"])


def _frozen_phonon() -> pd.DataFrame:
    rows = [
        ("bilayer", "layer", "E2g_x", 27.32, 27.08, 27.08 / 27.32 - 1, 46.65, 45.84, 45.6),
        ("bilayer", "layer", "A1'", 28.05, 27.77, 27.77 / 28.05 - 1, 98.32, 96.41, 92.1),
        ("monolayer", "layer", "E2g_x", None, 27.89, None, None, 48.6, 45.6),
    ]
    columns = ["structure", "states", "pattern", "splitting_true_eV_per_A", "splitting_predicted_eV_per_A"]
    columns += ["relative_difference", "coupling_true_eV2_per_A2", "coupling_predicted_eV2_per_A2"]
    return pd.DataFrame(rows, columns=[*columns, "coupling_published_eV2_per_A2"])


def _static_velocity() -> pd.DataFrame:
    rows = [
        ("bg_ab_prim", 2, "naive", 0.0, 0.05, 0.41e6, 0.42e6, 0.42 / 0.41 - 1),
        ("bg_ab_prim", 2, "manifold", 0.03, 0.10, 0.8616e6, 0.8702e6, 0.8702 / 0.8616 - 1),
        ("graphene_prim", 1, "operator", None, None, 0.8643e6, None, None),
    ]
    columns = ["structure", "layers", "estimator", "window_lo_per_A", "window_hi_per_A", "v_true_m_per_s"]
    return pd.DataFrame(rows, columns=[*columns, "v_predicted_m_per_s", "relative_difference"])


def _velocity(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for temperature in TEMPERATURES:
        cases = [("naive", window, _NAIVE[window[1]], 0.011) for window in NAIVE_WINDOWS]
        cases += [
            (name, window, _RATIOS[name], 0.003) for name in ("manifold", "bilayer") for window in WINDOWS
        ]
        cases += [("operator", (np.nan, np.nan), _RATIOS["operator"], 0.002)]
        for name, window, ratio, error in cases:
            static = {"naive": 0.61e6, "manifold": 0.8617e6, "bilayer": 0.866e6, "operator": 0.871e6}[name]
            value = ratio - 2e-5 * temperature + 0.2 * error * generator.standard_normal()
            rows.append(
                (
                    name,
                    3,
                    temperature,
                    *window,
                    value * static,
                    error * static,
                    static,
                    value,
                    error,
                    16,
                    32,
                    1,
                )
            )
    columns = ["estimator", "supercell_n", "temperature_K", "window_lo_per_A", "window_hi_per_A", "v_m_per_s"]
    columns += ["v_se_m_per_s", "v_static_m_per_s", "ratio", "ratio_se", "n_pairs", "n_evaluations", "seed"]
    return pd.DataFrame(rows, columns=columns)


def _convergence(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    cases = [("naive", (0.0, 0.03), 0.47, 0.05), ("naive", (0.0, 0.05), 0.6, 0.05)]
    cases += [("manifold", (0.03, 0.1), 0.982, 0.012), ("bilayer", (0.03, 0.1), 0.961, 0.011)]
    cases += [("operator", (np.nan, np.nan), 0.988, 0.008)]
    for name, window, ratio, spread in cases:
        values = ratio + spread * generator.standard_normal(16)
        for temperature in TEMPERATURES:
            for n in range(1, 17):
                mean = values[:n].mean() - 2e-5 * temperature
                error = values[:n].std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
                rows.append((name, temperature, *window, n, 0.86e6 * mean, 0.86e6 * error, mean, error))
    columns = ["estimator", "temperature_K", "window_lo_per_A", "window_hi_per_A", "n_pairs", "v_m_per_s"]
    return pd.DataFrame(rows, columns=[*columns, "v_se_m_per_s", "ratio", "ratio_se"])


def _estimators() -> pd.DataFrame:
    rows = []
    for temperature in TEMPERATURES:
        for name in ("manifold", "bilayer", "operator"):
            rows.append(("plain", f"velocity_{name}", temperature, 3, 1.0, 1.0, 1.0, 32))
            rows.append(("antithetic", f"velocity_{name}", temperature, 3, 0.7, 0.4, 1.3, 32))
    columns = ["scheme", "observable", "temperature_K", "supercell_n", "cost_ratio_to_plain", "ratio_lo"]
    return pd.DataFrame(rows, columns=[*columns, "ratio_hi", "n_evaluations"])


def _timing() -> pd.DataFrame:
    stages = [
        "train_electron",
        "train_phonon",
        "quantities",
        "compute_phonons",
        "evaluate_electron",
        "compare_bands",
    ]
    stages += [
        "hamiltonians",
        "derive_hamiltonian",
        "fit_overlap",
        "evaluate_phonon",
        "samples",
        "tabulate_phonons",
    ]
    stages += ["tabulate_velocity", "predict_static", "figures", "gather_errors", "verify_labels"]
    rows = [
        (
            stage,
            8 if stage in ("quantities", "samples", "hamiltonians") else 1,
            520 * 0.66**k,
            0,
            0,
            900 + 40 * k,
        )
        for k, stage in enumerate(stages)
    ]
    table = pd.DataFrame(rows, columns=["stage", "n_jobs", "wall_s", "longest_s", "cpu_s", "max_rss_mb"])
    table["longest_s"] = table["wall_s"] / table["n_jobs"] * 1.1
    table["cpu_s"] = table["wall_s"]
    return table
