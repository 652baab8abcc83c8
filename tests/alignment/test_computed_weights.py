"""Members whose weights are computed are aligned: each keeps its function, and copies in another
order fold into what they are copies of.
"""

from __future__ import annotations

import pytest
import torch
from computed_weight_networks import NETWORKS

import onefold
from onefold.symmetry import apply_maps, find_symmetries
from onefold.symmetry.drawing import random_maps

ALIGNED = (
    "weight norm",
    "spectral norm of convolutions",
    "frozen norms",
    "messages by index_add",
    "a Fourier layer, padded",
    "bags, mean",
)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permutation", "weights"])
@pytest.mark.parametrize("name", ALIGNED)
def test_copies_in_another_order_fold_into_the_original(name: str, method: str) -> None:
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    network, twin = make().eval(), make().eval()
    with torch.no_grad():  # what is alike or zero has no order to find
        for value in (*network.parameters(), *network.buffers()):
            value.add_(0.3 * torch.rand_like(value)) if value.is_floating_point() else None
    batches = [inputs() for _ in range(6)]
    data = [(args, None) if len(args) > 1 else args[0] for args in batches]
    spec = find_symmetries(network, data[0])
    maps = random_maps(spec, spec.groups, "permutation", torch.Generator().manual_seed(1))
    twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
    with torch.no_grad():
        torch.testing.assert_close(twin(*batches[0]), network(*batches[0]), atol=1e-4, rtol=1e-4)
    result = onefold.merge(
        [network, twin], data, align=method, repair="none", seed=0, fold="average"
    )
    assert result.alignment is not None
    mapped = result.alignment.apply([network, twin])[1]
    with torch.no_grad():
        torch.testing.assert_close(mapped(*batches[0]), network(*batches[0]), atol=1e-4, rtol=1e-4)
    if method == "permutation":
        for key, value in network.state_dict().items():
            torch.testing.assert_close(
                mapped.state_dict()[key], value, atol=1e-4, rtol=1e-4, msg=key
            )
