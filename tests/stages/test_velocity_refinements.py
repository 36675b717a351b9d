"""Control variates and reweighting of velocities: samples of real phonons, tight-binding Hamiltonians."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlepi_core.artefacts import InputError
from mlepi_core.stages.predict import sources
from mlepi_core.stages.sample import sample
from mlepi_core.stages.velocity import velocity
from tests.stages.thermal import write_dft_phonons, write_snapshots

PAIRS = 24
pytestmark = pytest.mark.filterwarnings("ignore:q points of the")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Phonons, and snapshots of two uncoupled layers at some temperatures."""
    path = tmp_path_factory.mktemp("refinements")
    reference = write_dft_phonons(path / "phonons")
    write_snapshots(path / "static.h5", [("cell", reference, {})])
    for kelvin in (300, 280):
        snapshots(path, kelvin)
    snapshots(path, 300, scheme="signs")
    return path


def snapshots(path: Path, kelvin: float, scheme: str = "antithetic") -> Path:
    drawn = path / f"{scheme}-{kelvin}.samples.h5"
    sample(path / "phonons", (3, 3, 1), kelvin, PAIRS, 3, drawn, scheme=scheme)
    tasks = [(task.name, task.atoms, task.attrs) for task in sources(drawn)]
    return write_snapshots(path / f"{scheme}-{kelvin}.h5", tasks)


def run(folder: Path, store: str = "antithetic-300.h5", **options):
    if options:
        options["phonons"] = folder / "phonons"
    return velocity(folder / store, folder / "static.h5", "operator", **options)


def test_control_variates_take_out_scatter(folder):
    plain, better = run(folder), run(folder, control_variates=True)
    assert better["ratio_se"] < 0.75 * plain["ratio_se"]
    assert better["ratio"] == pytest.approx(plain["ratio"], abs=3 * plain["ratio_se"])
    assert better["n_pairs"] == plain["n_pairs"] == PAIRS
    # Signs have no scatter in what the control variates see.
    signs = run(folder, "signs-300.h5")
    assert run(folder, "signs-300.h5", control_variates=True)["ratio_se"] == signs["ratio_se"]


def test_reweighted_samples_have_the_mean_of_the_other_temperature(folder):
    hot, cold = run(folder), run(folder, "antithetic-280.h5")
    moved = run(folder, temperature=280.0)
    assert (moved["temperature_K"], moved["sampled_temperature_K"]) == (280.0, 300.0)
    assert 0.8 * PAIRS < moved["effective_pairs"] < PAIRS
    # Common random numbers: the direct means differ by much less than their errors.
    assert moved["ratio"] == pytest.approx(cold["ratio"], abs=2 * cold["ratio_se"])
    same = run(folder, temperature=300.0)
    assert same["ratio"] == pytest.approx(hot["ratio"], rel=1e-12)
    assert same["ratio_se"] == pytest.approx(hot["ratio_se"], rel=1e-9)


def test_what_cannot_be_refined_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"24 samples of 300 K are worth .* at 20 K"):
        run(folder, temperature=20.0)
    with pytest.raises(InputError, match="scheme signs have no density"):
        run(folder, "signs-300.h5", temperature=280.0)
    with pytest.raises(InputError, match="leave one of them out"):
        run(folder, temperature=280.0, control_variates=True)
    with pytest.raises(InputError, match="name the phonon folder"):
        velocity(folder / "antithetic-300.h5", folder / "static.h5", "operator", control_variates=True)
    with pytest.raises(InputError, match="do not say their seed"):
        run(folder, "static.h5", control_variates=True)
    write_dft_phonons(tmp_path / "other", scale=1.01)
    with pytest.raises(InputError, match="other phonons than the samples were drawn from"):
        velocity(
            folder / "antithetic-300.h5",
            folder / "static.h5",
            "operator",
            phonons=tmp_path / "other",
            control_variates=True,
        )
