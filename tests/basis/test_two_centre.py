"""Two-centre tables on exactly known functions: form, symmetry, coverage, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from ase import Atoms

from mlepi_core.artefacts import InputError
from mlepi_core.basis.radial_table import RadialTable, radial_functions
from mlepi_core.basis.rotations import PERMUTATION, wigner_matrices_numpy
from mlepi_core.basis.two_centre import TwoCentreTables, overlap_blocks
from mlepi_core.basis.two_centre_fit import (
    PairSample,
    _smallest_radii,
    fit_hamiltonian,
    fit_overlap,
    residual_errors,
)
from mlepi_core.formats.blocks import BlockMatrix, block_offsets
from mlepi_core.orbitals import Basis
from mlepi_core.structures.neighbours import pair_vectors

BASIS = Basis({"B": (0, 1, 2), "N": (0, 0, 1)})
B, N = 5, 7
LOWER, SUPPORT, SPACING = 1.0, 5.0, 0.25


def random_tables(smoothed: bool = False, relations: tuple[str, ...] = ("all",)) -> TwoCentreTables:
    """Tables with arbitrary smooth functions that vanish at 5 Å and every interval covered."""
    generator = np.random.default_rng(2)
    n_intervals = round((SUPPORT - LOWER) / SPACING)
    tables = {}
    for relation in relations:
        for first, second in ((B, B), (B, N), (N, N)):
            functions = radial_functions(BASIS.shells_of(first), BASIS.shells_of(second), first == second)
            coefficients = generator.normal(size=(n_intervals + 3, len(functions))) * 0.2
            coefficients[-3:] = 0.0
            counts = np.full(n_intervals, 9)
            tables[relation, first, second] = RadialTable(LOWER, SPACING, coefficients, counts, smoothed)
    onsite = {B: np.eye(9), N: np.eye(5)}
    return TwoCentreTables("overlap", BASIS, tables, onsite, {"source": "random"})


def random_vectors(n: int, longest: float = 4.9) -> np.ndarray:
    generator = np.random.default_rng(8)
    vectors = generator.normal(size=(n, 3))
    lengths = generator.uniform(LOWER + 0.01, longest, size=n)
    return vectors / np.linalg.norm(vectors, axis=1)[:, None] * lengths[:, None]


def random_cell(n_atoms: int, seed: int, shortest: float = 1.3) -> Atoms:
    """Random B and N atoms that keep a distance, in a periodic box."""
    generator = np.random.default_rng(seed)
    cell = np.array([[6.0, 0, 0], [1.0, 6.5, 0], [0, 0.5, 7.0]])
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < n_atoms:
        trial = atoms + Atoms([B if len(atoms) % 2 else N], positions=[generator.uniform(size=3) @ cell])
        if len(trial) == 1 or trial.get_all_distances(mic=True)[-1, :-1].min() > shortest:
            atoms = Atoms(trial, cell=cell, pbc=True)
    return atoms


def sample_from(tables: TwoCentreTables, atoms: Atoms, name: str = "cell") -> PairSample:
    matrix = overlap_blocks(atoms, tables)
    pairs = matrix.pairs
    vectors = pair_vectors(atoms.positions, atoms.cell.array, pairs[:, 0], pairs[:, 1], pairs[:, 2:])
    return PairSample(name, matrix, vectors)


def orbital_rotation(wigner: list[np.ndarray], number: int) -> np.ndarray:
    return scipy.linalg.block_diag(*[wigner[l] for l in BASIS.shells_of(number)])


@pytest.fixture(scope="module")
def exact() -> TwoCentreTables:
    return random_tables()


@pytest.fixture(scope="module")
def many_samples(exact: TwoCentreTables) -> list[PairSample]:
    return [sample_from(exact, random_cell(8, seed), f"cell {seed}") for seed in range(12)]


@pytest.mark.parametrize("improper", [False, True])
def test_blocks_follow_rotations(exact: TwoCentreTables, improper: bool) -> None:
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    if (np.linalg.det(rotation) < 0) != improper:
        rotation = -rotation
    permuted = rotation[np.ix_(PERMUTATION, PERMUTATION)]
    wigner = wigner_matrices_numpy(permuted, 2)
    vectors = random_vectors(30)
    for first, second in ((B, B), (B, N), (N, B), (N, N)):
        left, right = orbital_rotation(wigner, first), orbital_rotation(wigner, second)
        before = exact.evaluate(vectors, first, second)
        after = exact.evaluate(vectors @ rotation.T, first, second)
        np.testing.assert_allclose(after, left @ before @ right.T, atol=1e-13)


def test_blocks_are_hermitian(exact: TwoCentreTables) -> None:
    vectors = random_vectors(30)
    for first, second in ((B, B), (B, N), (N, N)):
        forward = exact.evaluate(vectors, first, second)
        backward = exact.evaluate(-vectors, second, first)
        np.testing.assert_allclose(backward, forward.swapaxes(1, 2), atol=1e-14)


def test_blocks_have_the_slater_koster_form(exact: TwoCentreTables) -> None:
    """p-p = (sigma - pi) u u^T + pi 1, s-p and p-s along u with opposite signs, s-s isotropic."""
    vectors = random_vectors(30)
    distances = np.linalg.norm(vectors, axis=1)
    u = (vectors / distances[:, None])[:, list(PERMUTATION)]
    blocks = exact.evaluate(vectors, N, N)
    values = exact.table(N, N).values(torch.from_numpy(distances)).numpy()
    column = {key: n for n, key in enumerate(radial_functions((0, 0, 1), (0, 0, 1), True))}
    sigma, pi = values[:, column[2, 2, 0]], values[:, column[2, 2, 1]]
    expected = (sigma - pi)[:, None, None] * u[:, :, None] * u[:, None, :] + pi[:, None, None] * np.eye(3)
    np.testing.assert_allclose(blocks[:, 2:, 2:], expected, atol=1e-14)
    sp = values[:, column[0, 2, 0]]
    np.testing.assert_allclose(blocks[:, 0, 2:], sp[:, None] * u, atol=1e-14)
    np.testing.assert_allclose(blocks[:, 2:, 0], -sp[:, None] * u, atol=1e-14)
    np.testing.assert_allclose(blocks[:, 0, 1], values[:, column[0, 1, 0]], atol=1e-14)
    np.testing.assert_allclose(blocks[:, 1, 0], blocks[:, 0, 1], atol=1e-14)


def test_functions_are_twice_continuously_differentiable(exact: TwoCentreTables) -> None:
    table = exact.table(B, N)
    knots = LOWER + SPACING * np.arange(1, 17)
    step = 1e-9
    for knot in knots:  # the last one is the end of support
        left, right = (
            [torch.tensor([knot + side * step], dtype=torch.float64, requires_grad=True)] for side in (-1, 1)
        )
        derivatives = []
        for start in (left, right):
            value = table.values(start[0])[:, 5].sum()
            slope = torch.autograd.grad(value, start[0], create_graph=True)[0]
            curvature = torch.autograd.grad(slope.sum(), start[0], allow_unused=True)[0]
            curvature = torch.zeros(1) if curvature is None else curvature
            derivatives.append([float(value.detach()), float(slope.detach()), float(curvature)])
        np.testing.assert_allclose(*derivatives, atol=1e-6)
    far = table.values(torch.tensor([SUPPORT, SUPPORT + 1.0]).double())
    assert float(far.abs().max()) == 0.0


def test_gradient_with_respect_to_vectors(exact: TwoCentreTables) -> None:
    vectors = torch.from_numpy(random_vectors(3))
    vectors = torch.cat([vectors, torch.tensor([[0.0, 0.0, 3.3]]).double()]).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: exact.evaluate_torch(v, B, N), vectors, eps=1e-6, atol=1e-7)


def test_overlap_blocks_agree_with_single_evaluations(exact: TwoCentreTables) -> None:
    atoms = random_cell(6, 3)
    sample = sample_from(exact, atoms)
    matrix = sample.matrix
    assert np.array_equal(matrix.canonical().pairs, matrix.pairs)
    n_onsite = 0
    for p, (i, j, *image) in enumerate(matrix.pairs.tolist()):
        vector = atoms.positions[j] + image @ atoms.cell.array - atoms.positions[i]
        if not vector.any():
            n_onsite += 1
            np.testing.assert_array_equal(matrix.block(p, "overlap"), np.eye(matrix.counts[i]))
            continue
        numbers = atoms.numbers[i], atoms.numbers[j]
        np.testing.assert_allclose(
            matrix.block(p, "overlap"), exact.evaluate(vector[None], *numbers)[0], atol=1e-13
        )
    assert n_onsite == len(atoms)
    # Nothing within the support is missing.
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    distances = np.linalg.norm(
        atoms.positions[None, :, None]
        + (images @ atoms.cell.array)[None, None]
        - atoms.positions[:, None, None],
        axis=-1,
    )
    assert 2 * len(matrix.pairs) - len(atoms) == (distances < SUPPORT).sum()


def test_overlap_blocks_do_not_depend_on_images_and_order(exact: TwoCentreTables) -> None:
    atoms = random_cell(6, 3)
    moved = atoms.copy()
    moved.positions[2] += atoms.cell.array[0] - 2 * atoms.cell.array[1]
    first, second = overlap_blocks(atoms, exact), overlap_blocks(moved, exact)
    assert len(first.pairs) == len(second.pairs)
    assert np.sort(first.overlap) == pytest.approx(np.sort(second.overlap), abs=1e-13)
    order = np.array([3, 0, 5, 1, 4, 2])
    third = overlap_blocks(atoms[order], exact)
    assert np.sort(np.abs(third.overlap)) == pytest.approx(np.sort(np.abs(first.overlap)), abs=1e-13)


def test_fit_recovers_the_functions(exact: TwoCentreTables, many_samples: list[PairSample]) -> None:
    radii = {"B": SUPPORT / 2, "N": SUPPORT / 2}
    fitted = fit_overlap(many_samples, BASIS, knot_spacing=SPACING, radii=radii)
    assert fitted.record["errors"]["max_offsite"] < 1e-7
    assert fitted.record["largest_non_axial_entry"] < 1e-13
    unseen = sample_from(exact, random_cell(8, 100))
    assert residual_errors(fitted, [unseen])["max_offsite"] < 1e-7
    vectors = random_vectors(50)
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 1.5]
    for pair in ((B, B), (B, N), (N, B), (N, N)):
        np.testing.assert_allclose(fitted.evaluate(vectors, *pair), exact.evaluate(vectors, *pair), atol=1e-7)


def test_both_copies_of_each_pair_give_the_same_fit(many_samples: list[PairSample]) -> None:
    def turned(sample: PairSample) -> PairSample:
        """The other copy of every pair: (j, i, -R)."""
        matrix = sample.matrix
        pairs = np.concatenate([matrix.pairs[:, 1::-1], -matrix.pairs[:, 2:]], axis=1)
        blocks = [matrix.block(p, "overlap").T.ravel() for p in range(len(pairs))]
        other = BlockMatrix(matrix.numbers, matrix.counts, pairs, block_offsets(matrix.counts, pairs))
        return PairSample(
            sample.name, other.with_values(overlap=np.concatenate(blocks)), -sample.vectors, sample.intra
        )

    radii = {"B": SUPPORT / 2, "N": SUPPORT / 2}
    first = fit_overlap(many_samples, BASIS, knot_spacing=SPACING, radii=radii)
    second = fit_overlap([turned(s) for s in many_samples], BASIS, knot_spacing=SPACING, radii=radii)
    for key, table in first.tables.items():
        np.testing.assert_allclose(second.tables[key].coefficients, table.coefficients, atol=1e-10)


def thinned(samples: list[PairSample], low: float, high: float) -> list[PairSample]:
    """Samples without pairs at distances between `low` and `high`."""
    result = []
    for sample in samples:
        distances = np.linalg.norm(sample.vectors, axis=1)
        keep = np.flatnonzero((distances < low) | (distances > high))
        matrix, pairs = sample.matrix, sample.matrix.pairs[keep]
        entries = np.concatenate([matrix.block(p, "overlap").ravel() for p in keep])
        rest = BlockMatrix(matrix.numbers, matrix.counts, pairs, block_offsets(matrix.counts, pairs))
        result.append(PairSample(sample.name, rest.with_values(overlap=entries), sample.vectors[keep]))
    return result


def test_a_gap_raises_and_is_named(exact: TwoCentreTables, many_samples: list[PairSample]) -> None:
    radii = {"B": SUPPORT / 2, "N": SUPPORT / 2}
    fitted = fit_overlap(thinned(many_samples, 2.5, 3.25), BASIS, knot_spacing=SPACING, radii=radii)
    inside, outside = np.array([[0.0, 0.0, 2.9]]), np.array([[0.0, 0.0, 3.4]])
    with pytest.raises(InputError, match=r"B-N.*distance 2\.9000 Å lies in the gap 2\.500-3\.250 Å"):
        fitted.evaluate(inside, B, N)
    np.testing.assert_allclose(fitted.evaluate(outside, B, N), exact.evaluate(outside, B, N), atol=1e-7)
    with pytest.raises(InputError, match=r"0\.6000 Å lies below"):
        fitted.evaluate(np.array([[0.0, 0.6, 0.0]]), B, N)
    assert any(row["samples"] == 0 for row in fitted.coverage())
    assert (2.5, 3.25) in [tuple(np.round(gap, 9)) for gap in fitted.table(B, N).gaps()]


def test_smoothing_bridges_gaps_and_is_recorded(many_samples: list[PairSample]) -> None:
    radii = {"B": SUPPORT / 2, "N": SUPPORT / 2}
    fitted = fit_overlap(
        thinned(many_samples, 2.5, 3.25), BASIS, knot_spacing=SPACING, radii=radii, smoothing=1e-17
    )
    assert fitted.record["bridges_gaps"] is True
    assert fitted.record["penalty_weight"] == 1e-17
    assert np.isfinite(fitted.evaluate(np.array([[0.0, 0.0, 2.9]]), B, N)).all()
    with pytest.raises(InputError, match="below"):
        fitted.evaluate(np.array([[0.0, 0.0, 0.5]]), B, N)


def test_wrong_orbital_order_is_refused(many_samples: list[PairSample]) -> None:
    sample = many_samples[0]
    matrix = sample.matrix
    entries = matrix.overlap.copy()
    for p in range(len(matrix.pairs)):
        block = matrix.block(p, "overlap")
        if block.shape == (5, 5) and sample.vectors[p].any():
            block = block[np.ix_([0, 1, 4, 2, 3], [0, 1, 4, 2, 3])]
        entries[matrix.offsets[p] : matrix.offsets[p + 1]] = block.ravel()
    wrong = PairSample("wrong order", matrix.with_values(overlap=entries), sample.vectors[:, [0, 2, 1]])
    with pytest.raises(InputError, match="wrong order: overlap entries that axial symmetry forbids"):
        fit_overlap([wrong], BASIS, knot_spacing=SPACING)


def test_too_coarse_knots_and_too_small_radii_are_refused(many_samples: list[PairSample]) -> None:
    with pytest.raises(InputError, match="misses an overlap by"):
        fit_overlap(many_samples, BASIS, knot_spacing=1.0, radii={"B": 2.5, "N": 2.5})
    with pytest.raises(InputError, match="beyond the sum of the radii"):
        fit_overlap(many_samples, BASIS, knot_spacing=SPACING, radii={"B": 2.0, "N": 2.0})
    with pytest.raises(InputError, match="no orbital radius for N"):
        fit_overlap(many_samples, BASIS, knot_spacing=SPACING, radii={"B": 2.5})
    with pytest.raises(InputError, match="no structure"):
        fit_overlap([], BASIS)


def test_unknown_pair_is_refused(exact: TwoCentreTables) -> None:
    partial = TwoCentreTables(
        "overlap", BASIS, {("all", B, B): exact.table(B, B)}, {B: np.eye(9), N: np.eye(5)}, {}
    )
    with pytest.raises(InputError, match=r"B-N.*do not hold this pair"):
        partial.evaluate(random_vectors(2), N, B)
    with pytest.raises(InputError, match="do not hold this pair"):
        overlap_blocks(random_cell(4, 1), partial)
    with pytest.raises(InputError, match="C is not in the basis"):
        overlap_blocks(Atoms("C", cell=[5, 5, 5], pbc=True), exact)


def test_dictionary_and_file_round_trip(exact: TwoCentreTables, tmp_path: Path) -> None:
    torch.save(exact.to_dict(), tmp_path / "tables.pt")
    exact.save(tmp_path / "tables.h5")
    vectors = random_vectors(10)
    for copy in (
        TwoCentreTables.from_dict(torch.load(tmp_path / "tables.pt", weights_only=True)),
        TwoCentreTables.load(tmp_path / "tables.h5"),
    ):
        assert copy.basis == BASIS
        assert copy.quantity == "overlap"
        assert dict(copy.record) == dict(exact.record)
        assert np.array_equal(copy.evaluate(vectors, B, N), exact.evaluate(vectors, B, N))
        assert np.array_equal(copy.onsite[N], exact.onsite[N])
        assert np.array_equal(copy.table(N, N).counts, exact.table(N, N).counts)


def test_foreign_and_damaged_files_are_refused(exact: TwoCentreTables, tmp_path: Path) -> None:
    exact.save(tmp_path / "tables.h5")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes((tmp_path / "tables.h5").read_bytes()[:3000])
    for path in (damaged, tmp_path / "absent.h5"):
        with pytest.raises(InputError, match="cannot be read"):
            TwoCentreTables.load(path)


def test_tables_by_relation_need_relations_and_use_them() -> None:
    tables = random_tables(relations=("intra", "inter"))
    atoms = random_cell(6, 3)
    sample = sample_from(random_tables(), atoms)
    intra = sample.vectors[:, 2] < 0.5
    with pytest.raises(InputError, match="need the relation"):
        tables.entries(sample.matrix, sample.vectors)
    entries = tables.entries(sample.matrix, sample.vectors, intra)
    for p, (i, j, *_) in enumerate(sample.matrix.pairs.tolist()):
        if sample.vectors[p].any():
            numbers = atoms.numbers[i], atoms.numbers[j]
            relation = "intra" if intra[p] else "inter"
            expected = tables.evaluate(sample.vectors[p : p + 1], *numbers, relation)[0]
            part = entries[sample.matrix.offsets[p] : sample.matrix.offsets[p + 1]]
            np.testing.assert_allclose(part, expected.ravel(), atol=1e-14)


def test_hamiltonian_fit_needs_relations_only_if_asked(many_samples: list[PairSample]) -> None:
    samples = [
        PairSample(s.name, s.matrix.with_values(hamiltonian=-3.0 * s.matrix.overlap), s.vectors)
        for s in many_samples
    ]
    with pytest.raises(InputError, match="relations of the pairs are missing"):
        fit_hamiltonian(samples, BASIS)
    fitted = fit_hamiltonian(samples, BASIS, by_relation=False)
    assert fitted.onsite[N] == pytest.approx(-3.0 * np.eye(5))
    assert fitted.record["errors"]["rms"] < 0.05 * fitted.record["errors"]["rms_of_data"]


def test_no_edges(exact: TwoCentreTables) -> None:
    assert exact.evaluate(np.zeros((0, 3)), B, N).shape == (0, 9, 5)
    alone = overlap_blocks(Atoms("B", pbc=False), exact)
    assert alone.pairs.tolist() == [[0, 0, 0, 0, 0]]
    assert np.array_equal(alone.block(0, "overlap"), np.eye(9))


def test_radii_of_sparse_crystals_follow_from_pairs_of_two_species():
    """Pairs of the metal of MoS2 end at 6.4 Å although its orbitals reach 7.4 Å: those with sulphur tell."""
    radii = _smallest_radii({(16, 16): 7.38, (16, 42): 7.37, (42, 42): 6.41})
    assert radii == {16: 14, 42: 14}
    assert _smallest_radii({(5, 5): 7.40, (5, 7): 6.85, (7, 7): 6.30}) == {5: 14, 7: 12}
    assert _smallest_radii({(6, 6): 6.33}) == {6: 12}
