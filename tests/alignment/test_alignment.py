"""Alignments applied to members, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import Plain, Residual, loader, logits, members
from torch import nn

from onefold.alignment import Alignment, align
from onefold.alignment.matchers import CCA
from onefold.batchnorm import reestimate

KINDS = [Plain, Residual]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_aligned_by_permutation_every_member_keeps_its_function_and_its_weights(
    kind: type[nn.Module],
) -> None:
    networks = [n.double() for n in members(kind)]
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    data = [(x.double(), y) for x, y in loader()]
    aligned = align(networks, data, method="permutation", reference=1).apply(networks)
    for network, state, twin in zip(networks, before, aligned, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
        torch.testing.assert_close(logits(twin), logits(network), rtol=0, atol=1e-10)
        assert type(twin) is kind


@pytest.mark.parametrize("method", ["cca", "procrustes"])
def test_dense_maps_are_inverted_by_the_consumers(method: str) -> None:
    """Without a nonlinearity in between, a dense map leaves the function alone: the producers' T
    meets the consumers' inverse.
    """
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)).double() for _ in range(2)]
    data = [torch.randn(64, 5, dtype=torch.float64) for _ in range(2)]
    aligned = align(networks, data, method=method).apply(networks)
    assert not torch.allclose(aligned[1][0].weight, networks[1][0].weight)
    torch.testing.assert_close(aligned[1](data[0]), networks[1](data[0]), rtol=0, atol=1e-8)


@pytest.mark.slow
def test_a_batch_norm_network_is_folded_before_a_dense_map() -> None:
    networks = members(Residual, 2)
    found = align(networks, loader(), method="cca")
    assert found.folds_norms
    assert set(found.matchers.values()) == {"cca"}
    first = found.apply(networks)[0]
    torch.testing.assert_close(logits(first), logits(networks[0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(first.norm1.weight.square(), first.norm1.running_var + 1e-5)


@pytest.mark.slow
def test_statistics_may_be_re_estimated_after_a_permutation() -> None:
    """Folded norms keep the deviation of their outputs in their scale; with scales of 1 this test
    is far off.
    """
    networks = members(Residual, 2)
    for network in networks:
        for norm in (network.norm0, network.norm1, network.norm2):
            norm.weight.data.mul_(torch.linspace(0.2, 4.0, norm.num_features))
        reestimate(network, loader(512))
    for network, twin in zip(
        networks, align(networks, loader(), method="permutation").apply(networks), strict=True
    ):
        reestimate(twin, loader(512))
        torch.testing.assert_close(logits(twin), logits(network), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_saved_and_loaded_alignments_are_equal(tmp_path: Path) -> None:
    networks = members(Residual, 2)
    found = align(networks, loader(), method="cca")
    found.save(tmp_path / "a.safetensors")
    loaded = Alignment.load(tmp_path / "a.safetensors")
    assert loaded == found
    for a, b in zip(found.apply(networks), loaded.apply(networks), strict=True):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert align(networks, loader(), method=CCA(regularization=5.0)) != found


@pytest.mark.parametrize("method", ["permutation", "cca", "zipit"])
def test_the_same_alignment_twice_gives_the_same_file(tmp_path: Path, method: str) -> None:
    networks = members(Plain)
    for name in ("a", "b"):
        align(networks, loader(), method=method).save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
