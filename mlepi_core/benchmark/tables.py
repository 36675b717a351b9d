"""Results of the benchmarks as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlepi_core.benchmark.measure import Measurement

MIB = 2**20


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first one flush left."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)]) + "\n"


def comparison_table(
    title: str,
    measured: Mapping[str, Measurement],
    info: Mapping[str, Mapping[str, Any]],
    reference: str,
    ours: str,
) -> str:
    """Times, memory, parameters and edges of every subject; last row: reference over ours."""
    rows = []
    for label, about in info.items():
        cells = [label]
        for measurement in measured.values():
            seconds = measurement.seconds[label]
            cells += [
                _seconds(measurement.median(label)),
                _seconds(min(seconds)),
                _memory(measurement, label),
            ]
        rows.append([*cells, str(about["parameters"]), str(sum(about["edges"].values()))])
    if reference in info:
        cells = [f"{reference} / {ours}"]
        for measurement in measured.values():
            memory = 1 / measurement.growth_ratio(ours, reference)
            cells += [f"{measurement.ratio(reference, ours):.2f}", "", f"{memory:.2f}"]
        rows.append([*cells, "", ""])
    header = [""]
    for action in measured:
        header += [f"{action} s", "least", "MiB"]
    return f"{title}\n{table([*header, 'parameters', 'edges'], rows)}"


def layer_table(layers: Mapping[str, Mapping[str, float]]) -> str:
    """Seconds of the forward pass by layer, one column per subject."""
    names = {name: None for spent in layers.values() for name in spent}
    rows = [
        [name, *(f"{1e3 * spent[name]:.1f}" if name in spent else "" for spent in layers.values())]
        for name in names
    ]
    return table(["forward by layer, ms", *layers], rows)


def size_table(sizes: Sequence[int], curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Seconds and memory of both nets at every size, and the exponents of growth."""
    header, rows = ["atoms"], [[str(size)] for size in sizes]
    exponents = ["exponent"]
    for net, curve in curves.items():
        what = "forward + backward" if curve["action"] == "step" else "energy + forces"
        header += [f"{net}: {what}, s", "MiB"]
        for row, seconds, memory in zip(rows, curve["seconds"], curve["peak_growth_bytes"], strict=True):
            row += [_seconds(seconds), f"{memory / MIB:.0f}"]
        exponents += [_exponent(curve["exponent"]), _exponent(curve["memory_exponent"])]
    return f"Cost against size\n{table(header, [*rows, exponents])}"


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _memory(measurement: Measurement, label: str) -> str:
    return f"{measurement.memory[label]['growth'] / MIB:.0f}"
