"""Weights of SO(2) maps from those of tensor products, for tests of equality."""

from __future__ import annotations

import torch

from mlepi_core.basis.rotations import edge_frames, wigner_matrices
from mlepi_core.nn.electron import ElectronNet
from mlepi_core.nn.so2 import EdgeFrames, PairEdges, PairLinear, joined_channels
from mlepi_core.nn.tensor_product import DirectedTensorProduct


@torch.no_grad()
def copy_weights(product: DirectedTensorProduct, fast: PairLinear) -> None:
    """Read the SO(2) matrices off the tensor product on one pair.

    A basis vector of h_i or e_ij goes in, columns of both directions come out.
    """
    one = torch.ones(1, 1, dtype=torch.float64)
    rotations = edge_frames(torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    frames = EdgeFrames(wigner_matrices(rotations, product.edge_lmax))
    pairs = PairEdges(torch.tensor([0]), torch.tensor([1]), frames, one, one[0])
    nodes, edges = product.nodes, product.edges
    inputs = joined_channels(nodes, edges)
    outputs = product.outputs
    for m in range(inputs.lmax + 1):
        row = 0
        for l in range(m, inputs.lmax + 1):
            for channels, is_node in ((nodes, True), (edges, False)):
                for channel in range(channels.counts[l] if l <= channels.lmax else 0):
                    h, e = one.new_zeros(2, nodes.dim), one.new_zeros(1, 2, edges.dim)
                    target = h[0] if is_node else e[0, 0]
                    target[sum(channels.sizes[:l]) + (l + m) * channels.counts[l] + channel] = 1.0
                    natural, unnatural = product(h, e, pairs)
                    for sector, sign in enumerate((1, -1)):
                        columns = [
                            part[0, k + m] + sign * (-1) ** k * part[1, k + m]
                            for k, part in enumerate(natural)
                            if k >= m
                        ]
                        columns += [
                            part[0, k - m] - sign * (-1) ** k * part[1, k - m]
                            for k, part in enumerate(unnatural)
                            if k >= m > 0
                        ]
                        weights = fast.maps[sector].weights
                        if m < len(weights):
                            found = torch.cat(columns)
                            # Sector B of the head has no gates, which stand behind the scalars.
                            spare = len(found) - weights[m].shape[1]
                            kept = torch.ones(len(found), dtype=torch.bool)
                            kept[outputs.counts[0] - spare : outputs.counts[0]] = False
                            weights[m][row] = found[kept]
                    row += 1


@torch.no_grad()
def copy_network_weights(slow: ElectronNet, fast: ElectronNet) -> None:
    """Make a network of SO(2) maps equal to one of tensor products."""
    fast.load_state_dict(
        {k: v for k, v in slow.state_dict().items() if ".convolution.linear." not in k}, strict=False
    )
    products = dict(slow.named_modules())
    for name, module in fast.named_modules():
        if isinstance(module, PairLinear):
            copy_weights(products[name], module)
