"""Rough cost of a run, said before it starts: jobs, hours, disk.

The rates are those of the quick run on one core of a 2020s server CPU; the GPU's are estimated from
them. They are good for an order of magnitude: benchmark files tell what a run really took.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlepi_core.config.settings import Settings
from mlepi_core.config.training import ElectronTraining, PhononTraining

ATOMS_PER_CELL = 4  # graphene bilayer; other structures: order of magnitude only
ATOMS_PER_LABEL = 64
EDGES_PER_ATOM = 82  # within the support of C6.0 orbitals, both directions
ORBITALS_PER_ATOM = 8
GPU_SPEED_UP = 20.0

# seconds on one core
_PHONON_STEP = 3e-5  # per atom and channel, with product basis and forces
_ELECTRON_STEP = 6e-11  # per edge, block and squared width of the features
_BACKWARD = 3.0  # a training step over a prediction
_NETWORKS_GB = 0.02
_EIGH = 4e-10  # per cubed orbital number, all states of one k


@dataclass(frozen=True)
class Cost:
    """What a run takes: number of jobs, hours on one core or one GPU, GB on disk."""

    jobs: int
    network_core_hours: float
    other_core_hours: float
    disk_gb: float
    samples: int

    @property
    def gpu_hours(self) -> float:
        """Hours of the networks on one GPU instead of a core."""
        return self.network_core_hours / GPU_SPEED_UP


def estimate(settings: Settings) -> Cost:
    """Cost of everything that the settings ask for, finished parts included."""
    if settings.run.target == "study":
        return _study(settings)
    if settings.networks_only:
        return Cost(
            jobs=4 + 4 * len(settings.training.networks) + _committee_jobs(settings),
            network_core_hours=_training(settings) / 3600,
            other_core_hours=0.0,
            disk_gb=_NETWORKS_GB,
            samples=0,
        )
    if settings.run.target == "statistics":
        return _statistics(settings)
    sampling = settings.sampling
    n_temperatures = len(sampling.temperatures)
    samples = sampling.members * sampling.pairs * n_temperatures
    atoms = ATOMS_PER_CELL * prod(sampling.supercell)
    kept = _kept_pairs(settings) * sampling.members * n_temperatures
    blocks = sampling.n_blocks() * n_temperatures
    kept_jobs = {"all": blocks, "subset": n_temperatures, "none": 0}[settings.hamiltonians.keep]
    k_points = _velocity_points(settings)
    predictions = (samples + kept) * settings.committee
    inference = predictions * atoms * _electron_prediction(settings.training.electron)
    solutions = samples * k_points + kept * _green_solutions(settings)
    eigen = solutions * _EIGH * (atoms * ORBITALS_PER_ATOM) ** 3
    return Cost(
        jobs=25
        + _committee_jobs(settings)
        + len(settings.checks.references)
        + 2 * blocks
        + kept_jobs
        + n_temperatures,
        network_core_hours=(_training(settings) + inference) / 3600,
        other_core_hours=eigen / 3600,
        disk_gb=0.05 + (kept * _store_bytes(atoms) + samples * atoms * 24) / 1e9,
        samples=samples,
    )


def cost_text(settings: Settings) -> str:
    """The estimate in two or three lines."""
    cost = estimate(settings)
    if settings.run.target == "study" or settings.networks_only:
        return (
            f"Run {settings.run.name}: {_networks_made(settings)} in about {cost.jobs} jobs.\n"
            f"Rough cost of a full run: {_hours(cost.network_core_hours)} on one core or "
            f"{_hours(cost.gpu_hours)} on one GPU; disk {_size(cost.disk_gb)}."
        )
    cell = "×".join(map(str, settings.sampling.supercell))
    more = "" if settings.run.target == "statistics" else _growth(settings)
    return (
        f"Run {settings.run.name}: {cost.samples} samples of {cell} cells at "
        f"{len(settings.sampling.temperatures)} temperatures in about {cost.jobs} jobs{more}.\n"
        f"Rough cost of a full run: networks {_hours(cost.network_core_hours)} on one core or "
        f"{_hours(cost.gpu_hours)} on one GPU; eigenvalues {_hours(cost.other_core_hours)} on one core; "
        f"disk {_size(cost.disk_gb)}."
    )


def _statistics(settings: Settings) -> Cost:
    schemes, n_temperatures = settings.statistics.compared, len(settings.sampling.temperatures)
    samples = len(schemes) * n_temperatures * settings.statistics.evaluations
    atoms = ATOMS_PER_CELL * prod(settings.sampling.supercell)
    inference = samples * settings.committee * atoms * _electron_prediction(settings.training.electron)
    eigen = samples * _velocity_points(settings) * _EIGH * (atoms * ORBITALS_PER_ATOM) ** 3
    return Cost(
        jobs=4 + _committee_jobs(settings) + 2 * len(schemes) * n_temperatures,
        network_core_hours=(_training(settings) + inference) / 3600,
        other_core_hours=eigen / 3600,
        disk_gb=_NETWORKS_GB + samples * atoms * 24 / 1e9,
        samples=samples,
    )


def _growth(settings: Settings) -> str:
    """How far a run with a target may grow beyond its first stage, for which costs are."""
    sampling = settings.sampling
    if not sampling.target_error:
        return ""
    factor = sampling.stage_pairs[-1] / sampling.pairs
    return f", up to {factor:g} times as many samples where sampling.target_error needs them"


def _study(settings: Settings) -> Cost:
    variants, n_seeds = settings.study.variants, len(settings.study.seeds)
    trainings = len(variants) * n_seeds
    seconds = sum(_trained(settings.trained_as(variant, 0), variant.network) for variant in variants)
    return Cost(
        # two jobs for each training, one for each variant; labels, table and figures
        jobs=2 * trainings + len(variants) + 8,
        network_core_hours=n_seeds * seconds / 3600,
        other_core_hours=0.0,
        disk_gb=_NETWORKS_GB / 2 * trainings,
        samples=0,
    )


def _networks_made(settings: Settings) -> str:
    if settings.run.target != "study":
        return f"{' and '.join(settings.training.networks)} network"
    variants, n_seeds = len(settings.study.variants), len(settings.study.seeds)
    return f"study of {variants} variants with {n_seeds} seeds, {variants * n_seeds} trainings"


def _kept_pairs(settings: Settings) -> int:
    wanted = {"all": settings.sampling.pairs, "subset": settings.hamiltonians.subset, "none": 0}
    return min(settings.sampling.pairs, wanted[settings.hamiltonians.keep])


def _velocity_points(settings: Settings) -> int:
    velocity = settings.velocity
    windows = len(velocity.windows) + len(velocity.naive_windows)
    return 1 + windows * velocity.directions * velocity.k_points


def _green_solutions(settings: Settings) -> int:
    """Diagonalisations of a kept snapshot for its Green function: of H, all states, and of S at each k."""
    green = settings.quasiparticles
    return 4 * 2 * green.directions * green.k_points if green.estimators else 0


def _training(settings: Settings) -> float:
    """Seconds on one core of the trainings that the run includes, all members."""
    return settings.committee * sum(_trained(settings, kind) for kind in settings.trained_networks)


def _trained(settings: Settings, kind: str) -> float:
    """Seconds on one core of one training."""
    if kind == "phonon":
        return _phonon_training(settings.training.phonon)
    return _electron_training(settings.training.electron)


def _committee_jobs(settings: Settings) -> int:
    """Training of every member, joining, and the calibration of a committee with its table and figure.

    A network that is not trained is taken in one job.
    """
    networks, trained = len(settings.training.networks), len(settings.trained_networks)
    calibration = networks + 2 if settings.committee > 1 else 0
    return networks + trained * settings.committee + calibration


def _phonon_training(section: PhononTraining) -> float:
    atoms = section.steps * section.batch_size * ATOMS_PER_LABEL
    return atoms * section.layers * section.channels * _PHONON_STEP


def _electron_prediction(section: ElectronTraining) -> float:
    """Seconds per atom of one prediction; of a network that is taken `section` is only a guess."""
    width = sum((2 * degree + 1) * channels for degree, channels in enumerate(section.channels))
    return EDGES_PER_ATOM * section.blocks * width**2 * _ELECTRON_STEP


def _electron_training(section: ElectronTraining) -> float:
    atoms = section.steps * section.batch_size * ATOMS_PER_LABEL
    return atoms * _electron_prediction(section) * _BACKWARD


def _store_bytes(atoms: int) -> float:
    """H and S in float64, one of each Hermitian pair."""
    return atoms * EDGES_PER_ATOM / 2 * ORBITALS_PER_ATOM**2 * 2 * 8


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.0f} h" if hours < 100 else f"{float(f'{hours:.2g}'):.0f} h"


def _size(gigabytes: float) -> str:
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:.0f} GB"
