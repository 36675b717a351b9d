"""Section `training`: the two networks and how they are optimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mlepi_core.config.base import Section, distinct, setting

PositiveInt = Annotated[int, Field(gt=0)]


class TrainingSection(Section):
    """What both trainings have in common. A training ends by its number of steps, never by wall time."""

    relations: Literal["hetero", "homo"] = setting(
        "hetero", description="separate stacks for intra- and interlayer edges, or one stack for all edges"
    )
    fusion: Literal["late", "layerwise"] = setting(
        "late", description="where the two stacks are summed: at the end, or after every layer"
    )
    seed: int = setting(1, ge=0, description="seed of the initial weights and of the order of the batches")
    dtype: Literal["float32", "float64"] = setting("float32", description="precision during training")
    train_cells: int | None = setting(
        None,
        gt=0,
        description="train on so many of the large structures only (small ones, with fewer than half the "
        "atoms of the largest, all stay); fewer are a part of more; null: all",
    )
    batch_size: int = setting(1, gt=0, description="structures per step, of all processes together")
    steps: int = setting(2000, gt=0, description="largest number of optimiser steps")
    learning_rate: float = setting(3e-3, gt=0, description="largest learning rate")
    schedule: Literal["cosine", "exponential", "constant"] = setting(
        "cosine", description="how the learning rate falls from its largest value after the warm-up"
    )
    final_learning_rate: float = setting(1e-5, gt=0, description="learning rate of the last step")
    warmup_steps: int = setting(20, ge=0, description="steps of linear rise to the largest learning rate")
    weight_decay: float = setting(0.0, ge=0, description="decoupled weight decay")
    clip: float = setting(10.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = setting(
        0.99, ge=0, lt=1, description="decay of the exponential mean of the weights; 0 switches it off"
    )
    validation_every: int = setting(
        100, gt=0, description="steps between validations; the best model is kept"
    )
    patience: int | None = setting(
        None,
        gt=0,
        description="validations in a row without a new best one after which the training ends; null: never",
    )
    checkpoint_every: int = setting(100, gt=0, description="steps between restart files")

    @model_validator(mode="after")
    def _falling_rate(self) -> TrainingSection:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not exceed learning_rate")
        if self.warmup_steps >= self.steps:
            raise ValueError("warmup_steps must be smaller than steps")
        return self


class PhononTraining(TrainingSection):
    """HedgeNet-Phonon: MACE-type stacks for energies and forces."""

    channels: int = setting(32, gt=0, description="channels per irrep")
    lmax_hidden: int = setting(1, ge=0, le=3, description="largest l of the node features")
    max_ell: int = setting(3, ge=1, le=4, description="largest l of the edge harmonics")
    correlation: int = setting(3, ge=1, le=3, description="order of the product basis (body order − 1)")
    layers: int = setting(2, ge=1, description="message-passing layers of each stack")
    cutoff_intra: float = setting(5.0, unit="Å", gt=0, description="cutoff of edges within a layer")
    cutoff_inter: float = setting(6.0, unit="Å", gt=0, description="cutoff of edges between layers")
    n_radial: int = setting(8, gt=0, description="Bessel functions")
    radial_hidden: list[PositiveInt] = setting([64, 64], description="widths of the radial perceptron")
    accelerator: Literal["none", "cuequivariance"] = setting(
        "none", description="GPU kernels of the product basis, in training and afterwards; needs CUDA"
    )
    d2_baseline: bool = setting(
        False,
        description="learn the difference from DFT-D2 of PBE, for labels that hold it, and add it exactly",
    )
    energy_weight: float = setting(
        1.0, ge=0, description="weight of the squared energy error, per (eV/atom)²"
    )
    force_weight: float = setting(100.0, ge=0, description="weight of the squared force error, per (eV/Å)²")
    force_floor: float | None = setting(
        0.2,
        unit="eV/Å",
        gt=0,
        description="force errors count relative to the rms force of a structure, above this floor, so that "
        "weak forces between layers are learned; null: absolutely",
    )
    small_per_step: int = setting(
        4, ge=0, description="structures per step with fewer than half the atoms of the largest"
    )
    batch_size: int = setting(1, gt=0, description="structures per step, of all processes together")
    learning_rate: float = setting(1e-2, gt=0, description="largest learning rate")


class ElectronTraining(TrainingSection):
    """HedgeNet-Electron: DeepH-E3-type stacks for Hamiltonian blocks."""

    blocks: int = setting(2, ge=1, description="interaction blocks (node and edge update) of each stack")
    channels: list[PositiveInt] = setting(
        [64, 32, 16, 8, 8],
        min_length=1,
        max_length=7,
        description="channels of l = 0, 1, 2 … of the nodes",
    )
    edge_channels: list[PositiveInt] = setting(
        [32, 16, 8],
        min_length=1,
        max_length=7,
        description="channels of l = 0, 1, 2 … of the edges between two blocks",
    )
    head_channels: list[PositiveInt] | None = setting(
        None,
        min_length=1,
        max_length=10,
        description="hidden channels of l = 0, 1, 2 … (natural parity) of the last edge update, up to twice "
        "the largest shell; null: 64, 32, 24, 16, 8, as many as the shells need",
    )
    head_unnatural: list[Annotated[int, Field(ge=0)]] | None = setting(
        None,
        max_length=10,
        description="the same of parity −(−1)^l, l = 0, 1 …; the first is 0; up to twice the largest shell "
        "less one, with spin-orbit coupling plus one; null: 0, 24, 16, 8, as many as the shells need",
    )
    message_cutoff: float = setting(
        4.5,
        unit="Å",
        gt=0,
        description="where messages into nodes vanish smoothly; at most the orbital support",
    )
    n_radial: int = setting(24, gt=1, description="Gaussians of the distance")
    radial_hidden: list[PositiveInt] = setting([48, 48], description="widths of the radial perceptron")
    norm: Literal["node", "none", "e3"] = setting(
        "node",
        description="normalisation of features: by the rms of each node or edge; only weights; or DeepH-E3's "
        "over the whole structure (for comparison: not local)",
    )
    convolution: Literal["so2", "e3nn"] = setting(
        "so2",
        description="fast convolution in the frame of the edge, or e3nn's tensor product (reference, slow)",
    )
    edge_lmax: int | None = setting(
        None,
        ge=0,
        description="e3nn: largest degree of the harmonics of the edge; null: all that can contribute",
    )
    edge_updates: bool = setting(True, description="update the edges after every block but the last")
    checkpoint_activations: bool = setting(
        False,
        description="compute intermediate features a second time on the way back instead of storing them: "
        "less memory, more time, the same gradients",
    )
    delta: bool = setting(True, description="learn the difference from the two-centre baseline")
    magnetic: bool = setting(
        False,
        description="with spin-orbit coupling: also learn the parts of H that break time reversal; without "
        "them Hamiltonians have half as many coefficients, and magnetic ones are refused",
    )
    huber: float | None = setting(
        0.02,
        unit="eV",
        gt=0,
        description="where the loss turns from square to absolute error; null: mean square error",
    )
    small_per_step: int = setting(
        2, ge=0, description="structures per step with fewer than half the atoms of the largest"
    )
    clip: float = setting(1.0, gt=0, description="largest norm of the gradient")
    learning_rate: float = setting(5e-3, gt=0, description="largest learning rate")
    warmup_steps: int = setting(50, ge=0, description="steps of linear rise to the largest learning rate")

    @model_validator(mode="after")
    def _no_unnatural_scalars(self) -> ElectronTraining:
        if self.head_unnatural and self.head_unnatural[0]:
            raise ValueError("head_unnatural must begin with 0: no path leads to unnatural scalars")
        return self


class TrainingSections(Section):
    """Both networks; each key belongs to one of them, so changing one never retrains the other."""

    networks: list[Literal["phonon", "electron"]] = setting(
        ["phonon", "electron"],
        min_length=1,
        description="which networks the workflow trains; with one alone the run ends with its errors",
    )
    phonon: PhononTraining = Field(PhononTraining(), description="network of energies and forces")
    electron: ElectronTraining = Field(ElectronTraining(), description="network of Hamiltonians")

    @field_validator("networks")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        return distinct(value, "a network")
