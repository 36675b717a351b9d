"""The three comparisons of `mlepi benchmark networks`: electron net, phonon net, cost against size."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlepi_core.artefacts import InputError
from mlepi_core.benchmark.cells import bilayer
from mlepi_core.benchmark.measure import Measurement, growth_exponent, in_turns, start
from mlepi_core.benchmark.settings import ELECTRON, PHONON, SCALING_PHONON, SEED
from mlepi_core.benchmark.tables import comparison_table, layer_table, size_table
from mlepi_core.structures import neighbour_pairs

ELECTRON_MODULE = "mlepi_core.benchmark.electron"
PHONON_MODULE = "mlepi_core.benchmark.phonon"
PEER_MODULE = "mlepi_core.benchmark.mace_peer"
ACTIONS = ("forward", "step")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a benchmark runs.

    Parameters
    ----------
    atoms
        Size of the cell of the comparisons, 4 n².
    sizes
        Atoms of the cells of the cost curve, each 4 n².
    twist_index
        m of the twisted bilayer whose H is predicted; None leaves it out.
    settings
        Names of the electron and phonon nets that are compared; see `settings`.
    threads
        Of every process.
    rounds
        Timed turns.
    dtype
        Of the comparisons and the cost curve; predictions are in float64.
    device
        ``cpu`` or ``cuda``.
    """

    atoms: int
    sizes: tuple[int, ...]
    twist_index: int | None
    electron: tuple[str, ...]
    phonon: tuple[str, ...]
    threads: int
    rounds: int
    dtype: str
    device: str

    def spec(self, architecture: Mapping[str, Any], n_atoms: int, **more: Any) -> dict[str, Any]:
        """Specification of a subject."""
        common = {"seed": SEED, "dtype": self.dtype, "device": self.device, "threads": self.threads}
        return common | {"architecture": dict(architecture), "n_atoms": n_atoms} | more

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def compare_electron(options: Options, say: Say) -> dict[str, Any]:
    """SO(2) convolution against e3nn's tensor product, for every setting."""
    results = {}
    for name in options.electron:
        specs = {
            label: (
                ELECTRON_MODULE,
                options.spec(ELECTRON[name] | {"convolution": convolution}, options.atoms),
                sys.executable,
            )
            for label, convolution in (("SO(2)", "so2"), ("e3nn", "e3nn"))
        }
        with ExitStack() as stack:
            workers = start(stack, specs, options.threads)
            measured = {action: in_turns(workers, action, options.rounds) for action in ACTIONS}
            layers = {label: worker.layers() for label, worker in workers.items()}
            info = {label: worker.info for label, worker in workers.items()}
        title = f"Electron net, {name}: {options.atoms} atoms, {options.dtype}, {options.threads} threads"
        say(comparison_table(title, measured, info, reference="e3nn", ours="SO(2)"))
        say(layer_table(layers))
        results[name] = {
            "architecture": ELECTRON[name],
            "info": info,
            "layers_forward_s": layers,
            "forward_ratio": measured["forward"].ratio("e3nn", "SO(2)"),
            "step_ratio": measured["step"].ratio("e3nn", "SO(2)"),
            "forward_cpu_ratio": measured["forward"].cpu_ratio("e3nn", "SO(2)"),
            "step_cpu_ratio": measured["step"].cpu_ratio("e3nn", "SO(2)"),
            "memory_ratio": measured["step"].growth_ratio("SO(2)", "e3nn"),
            "forward_memory_ratio": measured["forward"].growth_ratio("SO(2)", "e3nn"),
        } | {action: measurement.to_dict() for action, measurement in measured.items()}
    return results


def compare_phonon(options: Options, peer_python: Path | None, say: Say) -> dict[str, Any]:
    """Phonon net against mace-torch on the same edges, for every setting; no ratios without mace-torch."""
    results = {}
    for name in options.phonon:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            spec = options.spec(PHONON[name] | {"relations": "homo"}, options.atoms)
            specs = {"ours": (PHONON_MODULE, spec, sys.executable)}
            if peer_python is not None:
                case = _write_case(Path(folder), options.atoms, PHONON[name]["cutoff_intra"])
                specs["mace-torch"] = (PEER_MODULE, spec | {"case": str(case)}, str(peer_python))
            hetero = PHONON[name] | {"relations": "hetero", "fusion": "layerwise"}
            specs["ours, hetero"] = (PHONON_MODULE, options.spec(hetero, options.atoms), sys.executable)
            workers = start(stack, specs, options.threads)
            measured = {action: in_turns(workers, action, options.rounds) for action in ACTIONS}
            info = {label: worker.info for label, worker in workers.items()}
        _check_equal_edges(info)
        title = f"Phonon net, {name}: {options.atoms} atoms, {options.dtype}, {options.threads} threads"
        say(comparison_table(title, measured, info, reference="mace-torch", ours="ours"))
        results[name] = {"architecture": PHONON[name], "info": info} | _mace_ratios(measured)
        results[name] |= {action: measurement.to_dict() for action, measurement in measured.items()}
    return results


def _mace_ratios(measured: Mapping[str, Measurement]) -> dict[str, float | None]:
    if "mace-torch" not in measured["step"].seconds:
        return dict.fromkeys(("forward_ratio", "step_ratio", "step_cpu_ratio", "memory_ratio"))
    return {
        "forward_ratio": measured["forward"].ratio("mace-torch", "ours"),
        "step_ratio": measured["step"].ratio("mace-torch", "ours"),
        "step_cpu_ratio": measured["step"].cpu_ratio("mace-torch", "ours"),
        "memory_ratio": measured["step"].growth_ratio("ours", "mace-torch"),
    }


def _write_case(folder: Path, n_atoms: int, cutoff: float) -> Path:
    """File with positions, edges (sender, receiver), their translations and the cell, as MACE wants them."""
    atoms = bilayer(n_atoms)
    i, j, images = neighbour_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    path = folder / "case.npz"
    np.savez(
        path,
        positions=atoms.positions,
        edge_index=np.stack([j, i]),
        shifts=-(images @ atoms.cell.array),
        cell=atoms.cell.array,
    )
    return path


def _check_equal_edges(info: Mapping[str, Mapping[str, Any]]) -> None:
    numbers = {label: sum(about["edges"].values()) for label, about in info.items()}
    if len(set(numbers.values())) != 1:
        raise InputError("benchmark", f"the sides have different numbers of edges: {numbers}")


def cost_against_size(options: Options, say: Say) -> dict[str, Any]:
    """Training step of the electron net and energies with forces of the phonon net at every size.

    All sizes of a net run in turns, so that the exponents do not depend on what else the machine does.
    """
    curves = {}
    for net, module, architecture, action in (
        ("electron", ELECTRON_MODULE, ELECTRON["quick run"], "step"),
        ("phonon", PHONON_MODULE, SCALING_PHONON, "forward"),
    ):
        specs = {
            str(size): (module, options.spec(architecture, size), sys.executable) for size in options.sizes
        }
        with ExitStack() as stack:
            workers = start(stack, specs, options.threads)
            measured = in_turns(workers, action, options.rounds, warm_up=1)
            info = {label: worker.info for label, worker in workers.items()}
        seconds = [measured.median(str(size)) for size in options.sizes]
        cpu_seconds = [statistics.median(measured.cpu_seconds[str(size)]) for size in options.sizes]
        memory = [measured.memory[str(size)]["growth"] for size in options.sizes]
        curves[net] = {
            "architecture": architecture,
            "action": action,
            "info": info,
            "seconds": seconds,
            "peak_growth_bytes": memory,
            "exponent": growth_exponent(options.sizes, seconds),
            "cpu_exponent": growth_exponent(options.sizes, cpu_seconds),
            "memory_exponent": growth_exponent(options.sizes, memory),
            "measured": measured.to_dict(),
        }
    say(size_table(options.sizes, curves))
    return curves


def predict_twisted(options: Options, say: Say) -> dict[str, Any] | None:
    """H and S of a twisted bilayer from positions alone, float64, by the electron net of the quick run."""
    if options.twist_index is None:
        return None
    spec = options.spec(ELECTRON["quick run"], 0, prediction=True, twist_index=options.twist_index)
    with ExitStack() as stack:
        specs = {"prediction": (ELECTRON_MODULE, spec | {"dtype": "float64"}, sys.executable)}
        worker = start(stack, specs, options.threads)["prediction"]
        once = worker.memory("predict")
        n_atoms = worker.info["n_atoms"]
    say(
        f"H and S of {n_atoms} atoms (twisted bilayer), float64: {once['seconds']:.1f} s, "
        f"{once['growth'] / 2**30:.2f} GiB above the start, {once['peak'] / 2**30:.2f} GiB in all\n"
    )
    return {
        "atoms": n_atoms,
        "seconds": once["seconds"],
        "cpu_seconds": once["cpu_seconds"],
        "peak_growth_bytes": once["growth"],
        "process_peak_bytes": once["peak"],
    }


def smallest(results: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    """The least favourable of the settings' ratios, where larger is better; None if there are none."""
    values = [setting[key] for setting in results.values() if setting[key] is not None]
    return min(values) if values else None


def largest(results: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    """The least favourable ratio where smaller is better."""
    values = [setting[key] for setting in results.values() if setting[key] is not None]
    return max(values) if values else None


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse sizes without a cell before anything runs."""
    for size in sizes:
        bilayer(size)
