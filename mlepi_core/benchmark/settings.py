"""What is compared: hyper-parameters of both sides, by name."""

from __future__ import annotations

from typing import Any

SIZES = (64, 256, 576, 1024, 2304)
TWIST_INDEX = 30
"""4(3m² + 3m + 1) = 11,164 atoms at 1.08 degrees."""
QUICK_SIZES = (16, 64, 144)
SEED = 1

S2P2 = (0, 0, 1, 1)
S2P2D1 = (0, 0, 1, 1, 2)

ELECTRON: dict[str, dict[str, Any]] = {
    "quick run": {
        "shells": {"C": list(S2P2)},
        "blocks": 2,
        "channels": [48, 24, 16, 8, 8],
        "edge_channels": [24, 12, 8],
        "head_channels": [48, 32, 24],
        "head_unnatural": [0, 24],
        "message_cutoff": 4.5,
        "edge_lmax": 4,
    },
    # Irreps, blocks and basis of the bilayer-graphene net of X. Gong et al., Nat. Commun. 14, 2848 (2023).
    "DeepH-E3": {
        "shells": {"C": list(S2P2D1)},
        "blocks": 3,
        "channels": [64, 32, 16, 8, 8, 4],
        "edge_channels": [64, 32, 16, 8, 8, 4],
        "head_channels": [64, 32, 16, 8, 8],
        "head_unnatural": [0, 24, 16, 8],
        "message_cutoff": 6.35,
        "edge_lmax": 5,
    },
}
"""Electron nets; `edge_lmax` is the largest degree of the edge's harmonics in the tensor product."""

_PHONON = {
    "lmax_hidden": 1,
    "max_ell": 3,
    "correlation": 3,
    "layers": 2,
    "n_radial": 8,
    "radial_hidden": [64, 64, 64],
    "readout_hidden": 16,
    "cutoff_intra": 5.0,
    "cutoff_inter": 5.0,
}
PHONON: dict[str, dict[str, Any]] = {
    "16 channels": _PHONON | {"channels": 16},
    "128 channels": _PHONON | {"channels": 128},
}
"""Phonon nets; all but the channels are defaults of mace-torch, as are 128 channels."""

SCALING_PHONON = {
    "relations": "hetero",
    "fusion": "layerwise",
    "channels": 16,
    "lmax_hidden": 1,
    "max_ell": 3,
    "correlation": 3,
    "layers": 2,
    "cutoff_intra": 4.5,
    "cutoff_inter": 6.0,
    "radial_hidden": [32, 32],
}
"""Phonon net of the quick run."""
