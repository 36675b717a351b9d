"""Stage `benchmark`: time and memory of both networks, against their peers and against size."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from mlepi_core.artefacts import write_json

ROUNDS, QUICK_ROUNDS = 7, 3


def benchmark_networks(
    out: str | os.PathLike[str] | None = None,
    *,
    sizes: Sequence[int] | None = None,
    atoms: int = 64,
    threads: int | None = None,
    rounds: int | None = None,
    quick: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    peers: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure both networks.

    Parameters
    ----------
    out
        JSON file to write; None for none.
    sizes
        Atoms of the cells of the cost curve, each 4 n².
    atoms
        Size of the cell of the comparisons, 4 n².
    threads
        Of every process; None: all processors that this process may use.
    rounds
        Timed turns.
    quick
        Smaller sizes, fewer rounds, one setting of each net, no twisted bilayer.
    device
        ``auto``, ``cpu`` or ``cuda``.
    dtype
        ``float32`` or ``float64``.
    peers
        Environment with mace-torch (`make peers`); None: ``.venv-peers`` if it is there.
    say
        Takes the tables as they come.

    Returns
    -------
    dict
        What the JSON file holds.

    Raises
    ------
    InputError
        For a size without a cell, an environment without mace-torch or a subject that cannot be built.
    """
    from mlepi_core.benchmark import machine, networks, settings
    from mlepi_core.nn.model_file import resolve_device

    names = {"electron": tuple(settings.ELECTRON), "phonon": tuple(settings.PHONON)}
    options = networks.Options(
        atoms=atoms,
        sizes=tuple(sizes or (settings.QUICK_SIZES if quick else settings.SIZES)),
        twist_index=None if quick else settings.TWIST_INDEX,
        electron=names["electron"][:1] if quick else names["electron"],
        phonon=names["phonon"][:1] if quick else names["phonon"],
        threads=threads or machine.usable_processors(),
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        dtype=dtype,
        device=str(resolve_device(device)),
    )
    networks.check_sizes([options.atoms, *options.sizes])
    python = machine.peer_python(peers)
    record = machine.hardware(options.device)
    say(f"{record['processor']}, {record['processors']} processors; {record['device']}\n")
    if python is None:
        say("mace-torch is not compared: there is no .venv-peers; `make peers` makes it\n")
    electron = networks.compare_electron(options, say)
    phonon = networks.compare_phonon(options, python, say)
    curves = networks.cost_against_size(options, say)
    result = {
        "electron_forward_ratio": networks.smallest(electron, "forward_ratio"),
        "electron_step_ratio": networks.smallest(electron, "step_ratio"),
        "electron_memory_ratio": networks.largest(electron, "memory_ratio"),
        "phonon_step_ratio_to_mace": networks.smallest(phonon, "step_ratio"),
        "sizes": list(options.sizes),
        "electron_seconds": curves["electron"]["seconds"],
        "phonon_seconds": curves["phonon"]["seconds"],
        "electron_exponent": curves["electron"]["exponent"],
        "phonon_exponent": curves["phonon"]["exponent"],
        "electron_peak_bytes": curves["electron"]["peak_growth_bytes"],
        "phonon_peak_bytes": curves["phonon"]["peak_growth_bytes"],
        "prediction": networks.predict_twisted(options, say),
        "hardware": record,
        "settings": options.to_dict(),
        "electron": electron,
        "phonon": phonon,
        "scaling": curves,
    }
    say(_summary(result))
    if out is not None:
        write_json(out, result)
    return result


def _summary(result: dict[str, Any]) -> str:
    """Last lines: the least favourable ratios over the settings, and the exponents."""
    mace = result["phonon_step_ratio_to_mace"]
    exponents = [result[f"{net}_exponent"] for net in ("electron", "phonon")]
    forward, step, memory = (result[f"electron_{key}_ratio"] for key in ("forward", "step", "memory"))
    lines = [
        "Least favourable over the settings",
        f"  electron net, e3nn / SO(2): forward {forward:.2f}, forward + backward {step:.2f}",
        f"  electron net, memory of SO(2) / e3nn: {memory:.3f}",
        f"  phonon net, mace-torch / ours: {'not measured' if mace is None else f'{mace:.2f}'}",
    ]
    if None not in exponents:
        lines.append(f"  exponents: electron net {exponents[0]:.3f}, phonon net {exponents[1]:.3f}")
    return "\n".join(lines)
