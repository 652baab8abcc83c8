"""Members of a soft merge in one basis: permuted ones keep their functions, at every level."""

from __future__ import annotations

import pytest
import torch
from small_networks import loader
from soft_networks import TEST, accuracy, bits, keep_only, quick, same_bits, set_gates
from torch import nn
from unequal_batches import Text, members, texts

from onefold.alignment import align
from onefold.fold import SoftMerge


@pytest.mark.slow
@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("how", ["permutation", "cca"])
def test_gates_open_for_the_reference_alone_give_its_function(
    plain: list[nn.Module], residual: list[nn.Module], level: str, how: str
) -> None:
    for networks in (plain, residual) if (level, how) != ("module", "cca") else (plain,):
        soft = SoftMerge(networks, level, align=how, reference=1, data=loader(256)).eval()
        keep_only(soft, 1)
        x = TEST[0][0]
        with torch.no_grad():
            torch.testing.assert_close(soft(x), networks[1](x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(soft.harden()(x), networks[1](x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["layer", "module"])
def test_permuted_members_keep_their_functions(
    plain: list[nn.Module], residual: list[nn.Module], level: str
) -> None:
    for networks in (plain, residual):
        soft = SoftMerge(networks, level, align="permutation", reference=0, data=loader(256)).eval()
        x = TEST[0][0]
        for k, network in enumerate(networks):
            keep_only(soft, k)
            with torch.no_grad():
                torch.testing.assert_close(soft(x), network(x), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def transformers() -> list[nn.Module]:
    return members(Text, texts(), 2)


@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("how", ["rotation", "cca"])
def test_scales_of_norms_move_into_the_weights_behind_them(
    transformers: list[nn.Module], level: str, how: str
) -> None:
    """A dense map of a residual stream goes through norms only so."""
    networks, data = transformers, texts()
    inputs = {key: data[0][key] for key in ("input_ids", "attention_mask")}
    soft = SoftMerge(networks, level, align=how, reference=1, data=data, screen=False).eval()
    for k in (0, 1) if how == "rotation" else (1,):
        keep_only(soft, k)
        with torch.no_grad():
            wanted = networks[k](**inputs)
            torch.testing.assert_close(soft(**inputs), wanted, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(soft.harden()(**inputs), wanted, rtol=1e-4, atol=1e-4)


def test_an_alignment_computed_before_gives_the_same_bits(residual: list[nn.Module]) -> None:
    found = align(residual, loader(256), method="permutation", reference=2)
    given = SoftMerge(residual, "layer", align=found)
    assert given.reference == 2
    computed = SoftMerge(residual, "layer", align="permutation", reference=2, data=loader(256))
    set_gates(given)
    set_gates(computed)
    assert same_bits(bits(given.harden()), bits(computed.harden()))


@pytest.mark.slow
@pytest.mark.parametrize("level", ["layer", "module"])
@pytest.mark.parametrize("include", [None, ["conv2"]], ids=["all", "one"])
def test_the_default_alignment_works_at_every_level(
    residual: list[nn.Module], level: str, include: list[str] | None
) -> None:
    """Also where a dense alignment would be the best, which cannot part a layer from its norm."""
    result = quick(SoftMerge(residual, level, include=include))
    assert accuracy(result.model) > 0.85
