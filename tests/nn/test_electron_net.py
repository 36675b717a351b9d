"""Properties of HedgeNet-Electron, in float64 on untrained weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3

from mlepi_core.basis.rotations import permuted_rotation, wigner_matrices
from mlepi_core.formats.blocks import is_canonical, reversed_pairs
from mlepi_core.graph import atoms_pairs
from mlepi_core.nn.electron import ElectronArchitecture, ElectronNet
from mlepi_core.nn.electron_graph import ElectronTopology, electron_topology, join_graphs
from mlepi_core.structures import build_aa, build_ab, build_supercell
from tests.nn.electron_cases import copy_network_weights

SUPPORT = 6.36


def architecture(**changes) -> ElectronArchitecture:
    small = {
        "shells": {"C": [0, 0, 1, 1]},
        "support": SUPPORT,
        "channels": [8, 6, 4],
        "edge_channels": [6, 4, 3],
        "head_channels": [8, 6, 4],
        "head_unnatural": [0, 4],
        "radial_hidden": [12],
        "n_radial": 10,
        "message_cutoff": 4.0,
    }
    return ElectronArchitecture(**(small | changes))


def network(**changes) -> ElectronNet:
    torch.manual_seed(7)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return ElectronNet(architecture(**changes))
    finally:
        torch.set_default_dtype(default)


def block_pairs(atoms: Atoms) -> np.ndarray:
    i, j, cells = atoms_pairs(atoms, SUPPORT)
    atom = np.arange(len(atoms))
    onsite = np.column_stack([atom, atom, np.zeros((len(atoms), 3), dtype=int)])
    pairs = np.concatenate([onsite, np.column_stack([i, j, cells])])
    return pairs[is_canonical(pairs)]


def topology_of(net: ElectronNet, atoms: Atoms, pairs: np.ndarray | None = None) -> ElectronTopology:
    chosen = block_pairs(atoms) if pairs is None else pairs
    species = net.orbital_basis.species
    return electron_topology(atoms, chosen, species, net.relations, net.arch.message_cutoff)


def graph_of(net: ElectronNet, atoms: Atoms, pairs: np.ndarray | None = None):
    positions = torch.from_numpy(atoms.positions)
    return topology_of(net, atoms, pairs).graph(positions, net.lmax, torch.float64)


def coefficients(net: ElectronNet, atoms: Atoms, pairs: np.ndarray | None = None) -> np.ndarray:
    """Coefficients in the order of the list of blocks (one element): (P, 64)."""
    topology = topology_of(net, atoms, pairs)
    with torch.no_grad():
        out = net(graph_of(net, atoms, pairs))
    flat = np.zeros((topology.n_blocks, 64))
    for key, places in topology.places.items():
        flat[places] = out[key].numpy()
    return flat


@pytest.fixture(scope="module")
def rattled() -> Atoms:
    atoms = build_supercell(build_ab(), (2, 1))
    rng = np.random.default_rng(3)
    atoms.positions += 0.08 * rng.standard_normal(atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("relations", ["hetero", "homo"])
@pytest.mark.parametrize("fusion", ["late", "layerwise"])
@pytest.mark.parametrize("improper", [False, True])
def test_equivariance(rattled, relations, fusion, improper):
    net = network(relations=relations, fusion=fusion)
    torch.manual_seed(1)
    rotation = o3.rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    turned = rattled.copy()
    turned.set_cell(rattled.cell.array @ rotation.numpy().T)
    turned.positions = rattled.positions @ rotation.numpy().T
    wigner = wigner_matrices(permuted_rotation(rotation[None]), 2)
    before, pairs = coefficients(net, rattled), block_pairs(rattled)
    expected = net.block_irreps[0, 0].wigner(wigner, torch.from_numpy(before)).numpy()
    after = coefficients(net, turned, pairs)
    assert np.abs(after - expected).max() <= 1e-8 * np.abs(before).max()
    assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()


def test_hermitian_and_onsite_parity(rattled):
    net = network()
    irreps, pairs = net.block_irreps[0, 0], block_pairs(rattled)
    values = torch.from_numpy(coefficients(net, rattled))
    turned = torch.from_numpy(coefficients(net, rattled, reversed_pairs(pairs)))
    assert torch.allclose(turned, irreps.transpose(values), rtol=0, atol=1e-12)
    onsite = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 2:] == 0).all(axis=1)
    assert np.abs(values.numpy()[onsite][:, ~irreps.natural]).max() == 0
    assert np.abs(values.numpy()[~onsite][:, ~irreps.natural]).max() > 1e-3


def test_permutation_and_choice_of_image(rattled):
    net = network()
    order = np.random.default_rng(5).permutation(len(rattled))
    place = np.argsort(order)
    pairs = block_pairs(rattled)
    permuted_pairs = np.column_stack([place[pairs[:, 0]], place[pairs[:, 1]], pairs[:, 2:]])
    reference = coefficients(net, rattled, pairs)
    assert np.allclose(coefficients(net, rattled[order], permuted_pairs), reference, atol=1e-11)

    moved = rattled.copy()
    moved.positions[2] += moved.cell.array[0] - moved.cell.array[1]
    shift = np.zeros((len(rattled), 3), dtype=int)
    shift[2] = [1, -1, 0]
    moved_pairs = np.column_stack([pairs[:, :2], pairs[:, 2:] - shift[pairs[:, 1]] + shift[pairs[:, 0]]])
    assert np.allclose(coefficients(net, moved, moved_pairs), reference, atol=1e-11)


def test_monolayer_is_intra_only(rattled):
    """Layers out of reach of each other: the inter stack gives exactly nothing, whatever its weights."""
    net = network()
    apart = rattled.copy()
    apart.positions[apart.arrays["layer"] == 1, 2] += 4.0
    apart.cell[2, 2] += 4.0
    assert len(graph_of(net, apart).blocks["inter"]) == 0
    reference = coefficients(net, apart)
    lower = apart[apart.arrays["layer"] == 0]
    pairs, both = block_pairs(lower), block_pairs(apart)
    names = np.flatnonzero(apart.arrays["layer"] == 0)
    place = {tuple(pair): k for k, pair in enumerate(both.tolist())}
    rows = [place[(names[i], names[j], a, b, c)] for i, j, a, b, c in pairs.tolist()]
    assert np.allclose(coefficients(net, lower, pairs), reference[rows], atol=1e-12)
    with torch.no_grad():
        for parameter in net.stacks["inter"].parameters():
            parameter.add_(1.0)
    assert np.array_equal(coefficients(net, apart), reference)


def test_batch_equals_singles(rattled):
    net = network()
    other = build_aa()
    single = [net(graph_of(net, atoms)) for atoms in (rattled, other)]
    both = net(join_graphs([graph_of(net, atoms) for atoms in (rattled, other)]))
    for key, value in both.items():
        assert torch.allclose(value, torch.cat([part[key] for part in single]), rtol=0, atol=1e-11)


def test_supercell_repeats_the_blocks():
    net = network()
    cell = build_ab()
    big = build_supercell(cell, (2, 2))
    big_pairs = block_pairs(big)
    vectors = {
        (int(i), (np.round(v, 6) + 0.0).tobytes()): row
        for pairs in (block_pairs(cell), reversed_pairs(block_pairs(cell)))
        for i, v, row in zip(pairs[:, 0], _vectors(cell, pairs), coefficients(net, cell, pairs), strict=True)
    }
    kappa = _sublattice(cell, big)
    for i, v, row in zip(
        kappa[big_pairs[:, 0]], _vectors(big, big_pairs) + 0.0, coefficients(net, big), strict=True
    ):
        assert np.allclose(row, vectors[int(i), (np.round(v, 6) + 0.0).tobytes()], atol=1e-10)


def far_influence(net: ElectronNet, atoms: Atoms) -> float:
    """Change of the blocks of an atom with itself when an atom beyond the receptive field moves."""
    big = build_supercell(atoms, (6, 1))
    target = 0
    distance = big.get_distances(target, range(len(big)), mic=True)
    far = int(np.argmax(distance))
    assert distance[far] > 3 * net.arch.message_cutoff
    pairs = block_pairs(big)
    rows = np.flatnonzero((pairs[:, 0] == target) & (pairs[:, 1] == target))
    before = coefficients(net, big, pairs)[rows]
    big.positions[far] += [0.1, -0.05, 0.07]
    return float(np.abs(coefficients(net, big, pairs)[rows] - before).max())


def test_far_parts_do_not_influence_each_other(rattled):
    assert far_influence(network(), rattled) <= 1e-13


def test_curvature_is_continuous_where_a_message_ends():
    """The second derivative of the features falls linearly to zero at the message cutoff."""
    net = network()
    cell = [[20.0, 0, 0], [0, 20.0, 0], [0, 0, 20.0]]
    edge, step = net.arch.message_cutoff, 2e-4

    def onsite(distance: float) -> np.ndarray:
        atoms = Atoms("C2", [[0, 0, 0], [distance, 0, 0]], cell=cell, pbc=False)
        atoms.set_array("layer", np.zeros(2, dtype=int))
        return coefficients(net, atoms)[0]

    def curvature(distance: float) -> float:
        difference = onsite(distance + step) - 2 * onsite(distance) + onsite(distance - step)
        return float(np.abs(difference).max()) / step**2

    inside = curvature(edge - 0.02)
    assert inside > 0.01
    assert curvature(edge - 0.001) < 0.1 * inside
    assert curvature(edge + 0.01) == 0.0


def test_derivative_at_the_symmetric_structure():
    """dH/du by steps of 1e-3 and 1e-2 Å agrees within 1 %: no norm divides a degree by its own size."""
    net = network()
    atoms = build_supercell(build_ab(), (2, 2))
    pairs = block_pairs(atoms)

    def slope(step: float) -> np.ndarray:
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[0, 0] += sign * step
            values.append(coefficients(net, moved, pairs))
        return (values[0] - values[1]) / (2 * step)

    small, large = slope(1e-3), slope(1e-2)
    assert np.linalg.norm(small - large) < 0.01 * np.linalg.norm(small)


def test_unknown_species_is_refused(rattled):
    net = network()
    rattled = rattled.copy()
    rattled.numbers[0] = 7
    with pytest.raises(Exception, match="species N is not in the model"):
        graph_of(net, rattled)


def test_two_species_with_different_shells():
    net = network(shells={"B": [0, 1], "N": [0, 0, 1]})
    atoms = build_ab(elements=("B", "N"))
    rng = np.random.default_rng(2)
    atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    out = net(graph_of(net, atoms))
    assert {key: value.shape[1] for key, value in out.items() if key.startswith("intra")} == {
        "intra_0_0": 16,
        "intra_0_1": 20,
        "intra_1_1": 25,
    }
    turned = net(graph_of(net, atoms, reversed_pairs(block_pairs(atoms))))
    assert torch.allclose(turned["intra_0_1"], out["intra_0_1"], rtol=0, atol=1e-12)


def test_either_direction_of_a_pair_may_be_listed(rattled):
    """Some of the pairs turned round: their blocks come out transposed, nothing else changes."""
    net, pairs = network(), block_pairs(rattled)
    turned = np.random.default_rng(1).random(len(pairs)) < 0.5
    values = torch.from_numpy(coefficients(net, rattled))
    mixed = coefficients(net, rattled, np.where(turned[:, None], reversed_pairs(pairs), pairs))
    expected = torch.where(
        torch.from_numpy(turned)[:, None], net.block_irreps[0, 0].transpose(values), values
    )
    assert np.abs(mixed - expected.numpy()).max() <= 1e-12
    assert np.abs((expected - values).numpy()).max() > 1e-3


def test_e3nn_gives_the_same_network(rattled):
    slow, fast = network(convolution="e3nn"), network()
    copy_network_weights(slow, fast)
    expected = coefficients(slow, rattled)
    assert np.abs(coefficients(fast, rattled) - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("relations", ["hetero", "homo"])
def test_chunks_change_nothing(rattled, relations):
    net = network(relations=relations, blocks=3)
    positions = torch.from_numpy(rattled.positions)
    graph = topology_of(net, rattled).graph(positions, net.lmax, torch.float64, keep_frames=False)
    whole, chunked = net(graph), net(graph, chunk=11)
    assert min(len(edges) for edges in graph.messages.values()) > 2 * 11
    for key, value in whole.items():
        assert torch.allclose(chunked[key], value, rtol=0, atol=1e-12)


def test_chunks_of_two_species():
    net = network(shells={"B": [0, 1], "N": [0, 0, 1]})
    atoms = build_supercell(build_ab(elements=("B", "N")), (2, 1))
    graph = graph_of(net, atoms)
    whole, chunked = net(graph), net(graph, chunk=50)
    assert list(whole) == list(chunked)
    for key, value in whole.items():
        assert torch.allclose(chunked[key], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 60])
def test_forgotten_activations_give_the_same_gradients(rattled, chunk):
    gradients = []
    for forget in (False, True):
        net = network(checkpoint_activations=forget)
        sum(value.square().sum() for value in net(graph_of(net, rattled), chunk).values()).backward()
        gradients.append([p.grad for p in net.parameters() if p.grad is not None])
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(expected, found, rtol=1e-10, atol=1e-12)


def test_derivative_in_forward_mode(rattled):
    net = network()
    topology = topology_of(net, rattled)
    positions = torch.from_numpy(rattled.positions)
    move = torch.from_numpy(np.random.default_rng(4).standard_normal(rattled.positions.shape))

    def values(moved: torch.Tensor) -> torch.Tensor:
        out = net(topology.graph(moved, net.lmax, torch.float64))
        return torch.cat([out[key].flatten() for key in sorted(out)])

    with torch.no_grad():
        _, slope = torch.func.jvp(values, (positions,), (move,))
        expected = (values(positions + 1e-5 * move) - values(positions - 1e-5 * move)) / 2e-5
    assert torch.linalg.norm(slope - expected) <= 1e-7 * torch.linalg.norm(expected)


def test_global_norm_of_deeph_e3(rattled):
    """Its statistics are those of one structure of a batch; it is not local and refuses chunks."""
    net, other = network(norm="e3"), build_aa()
    graphs = [graph_of(net, atoms) for atoms in (rattled, other)]
    both, single = net(join_graphs(graphs)), [net(graph) for graph in graphs]
    for key, value in both.items():
        assert torch.allclose(value, torch.cat([part[key] for part in single]), rtol=0, atol=1e-11)
    assert far_influence(net, rattled) > 1e-6
    with pytest.raises(ValueError, match="all pairs"):
        net(graphs[0], chunk=10)


def test_global_norm_is_equivariant(rattled):
    net = network(norm="e3")
    torch.manual_seed(1)
    rotation = -o3.rand_matrix(dtype=torch.float64)
    turned = rattled.copy()
    turned.set_cell(rattled.cell.array @ rotation.numpy().T)
    turned.positions = rattled.positions @ rotation.numpy().T
    wigner = wigner_matrices(permuted_rotation(rotation[None]), 2)
    before, pairs = coefficients(net, rattled), block_pairs(rattled)
    expected = net.block_irreps[0, 0].wigner(wigner, torch.from_numpy(before)).numpy()
    assert np.abs(coefficients(net, turned, pairs) - expected).max() <= 1e-8 * np.abs(before).max()


def _vectors(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    x = atoms.positions
    return x[pairs[:, 1]] + pairs[:, 2:] @ atoms.cell.array - x[pairs[:, 0]]


def _sublattice(cell: Atoms, big: Atoms) -> np.ndarray:
    inverse = np.linalg.inv(cell.cell.array)
    result = []
    for x in big.positions:
        fractional = (x - cell.positions) @ inverse
        result.append(int(np.argmin(np.abs(fractional - np.round(fractional)).sum(axis=1))))
    return np.array(result)
