"""Groups whose features never vary, in all members or in some: they stay, are named, and the others
are aligned as asked.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.alignment import Alignment

DENSE = ("cca", "procrustes", "rotation")


def network(seed: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).eval()


def switched_off(
    model: nn.Sequential, layer: int, units: slice = slice(None), bias: float = -1.0
) -> nn.Sequential:
    """The same with units of a layer that give one value whatever they read: 0, or `bias` behind a
    ReLU.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[layer].weight[units] = 0.0
        model[layer].bias[units] = bias
    return model


def data(seed: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(40, 5, generator=generator) for _ in range(3)]


def solved(networks: list[nn.Sequential], method: str, **options: object) -> Alignment:
    found = onefold.align(networks, data(), method=method, **options)  # type: ignore[arg-type]
    for maps in found.maps.values():
        assert all(bool(m.forward.isfinite().all()) for m in maps)
    for scores in found.scores.values():
        assert bool(scores.isfinite().all())
    return found


def still(found: Alignment, group: str, member: int) -> bool:
    own = found.maps[group][member]
    return own.kind == "permutation" and torch.equal(own.forward, torch.arange(own.size))


@pytest.mark.slow
@pytest.mark.parametrize("method", [*DENSE, "permutation", "zipit", "transport"])
@pytest.mark.parametrize("bias", [-1.0, 0.7])
def test_a_group_that_is_dead_in_all_members_stays_and_is_named(method: str, bias: float) -> None:
    networks = [switched_off(network(seed), 2, bias=bias) for seed in (0, 1)]
    found = solved(networks, method)
    assert still(found, "g1", 0)
    assert still(found, "g1", 1)
    assert not still(found, "g0", 1)
    assert found.matchers["g1"] == "identity"
    assert found.matchers["g0"] == solved([network(0), network(1)], method).matchers["g0"]
    reason = "its features never vary on the calibration data in members 0, 1"
    assert found.warnings == [f"g1: identity instead of {method} ({reason})"]
    assert reason in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*DENSE, "permutation", "zipit"])
def test_a_member_whose_group_is_dead_stays_and_the_others_are_aligned(method: str) -> None:
    networks = [network(0), switched_off(network(1), 2), network(2)]
    found = solved(networks, method)
    assert still(found, "g1", 1)
    assert not still(found, "g1", 2)
    assert any(note.endswith("in member 1") or "in member 1)" in note for note in found.warnings)
    assert found.matchers["g1"] != "identity"
    warnings = onefold.merge(networks, data(), align=method, fold="average").report.warnings
    assert any(warning.startswith("g1: ") and "in member 1" in warning for warning in warnings)


@pytest.mark.parametrize("method", [*DENSE, "permutation"])
def test_a_dead_reference_leaves_the_group_as_it_is(method: str) -> None:
    found = solved([switched_off(network(0), 2), network(1), network(2)], method)
    assert all(still(found, "g1", k) for k in range(3))
    assert found.matchers["g1"] == "identity"
    assert "in member 0" in found.fallbacks["g1"]
    assert not still(found, "g0", 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", DENSE)
def test_a_common_basis_passes_over_what_is_dead(method: str) -> None:
    found = solved([network(0), switched_off(network(1), 2), network(2)], method, reference=None)
    assert still(found, "g1", 1)
    assert any(not still(found, "g1", k) for k in (0, 2))
    assert "in member 1" in found.fallbacks["g1"]


@pytest.mark.slow
@pytest.mark.parametrize("method", [*DENSE, "permutation", "zipit", "transport", "weights"])
def test_some_dead_units_do_no_harm(method: str) -> None:
    """Of eight units one is left alive; the group is aligned as asked, and members that are copies
    still fold into themselves.
    """
    off = switched_off(network(0), 2, slice(1, None))
    result = onefold.merge(
        [off, copy.deepcopy(off)], data(), align=method, repair="none", fold="average"
    )
    x = torch.randn(50, 5)
    torch.testing.assert_close(result.model(x), off(x), atol=1e-4, rtol=1e-4)
    assert not any("never vary" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("method", ["cca", "procrustes"])
def test_without_ridge_and_prior_too(method: str) -> None:
    kind = {
        "cca": onefold.alignment.feature_matchers.get("cca"),
        "procrustes": onefold.alignment.feature_matchers.get("procrustes"),
    }[method]
    settings = {"regularization": 0.0, "prior": 0.0} if method == "cca" else {"prior": 0.0}
    networks = [
        switched_off(network(0), 2, slice(1, None)),
        switched_off(network(1), 2, slice(0, 7)),
    ]
    solved(networks, kind(**settings))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_function_of_members_that_are_copies_is_kept() -> None:
    off = switched_off(network(0), 2, bias=0.4)
    x = torch.randn(50, 5)
    for method in (*DENSE, "permutation", "zipit", "transport", "weights"):
        folded = onefold.merge(
            [off, copy.deepcopy(off)], data(), align=method, repair="none", fold="average"
        ).model
        torch.testing.assert_close(folded(x), off(x), atol=1e-5, rtol=1e-5)


class Attention(nn.Module):
    """Four heads, of which some may be switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(5, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.read(x)
        return self.head((h + self.attention(h, h, h, need_weights=False)[0]).mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("off", [1, 4])
@pytest.mark.parametrize("method", ["cca", "rotation", "permutation"])
def test_dead_heads_are_matched_with_nothing(method: str, off: int) -> None:
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        own = Attention().eval()
        with torch.no_grad():  # queries, keys and values of the first heads
            for first in (0, 16, 32):
                own.attention.in_proj_weight[first : first + 4 * off] = 0.0
        networks.append(own)
    examples = [torch.randn(20, 6, 5, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    found = onefold.align(networks, examples, method=method)
    assert all(bool(m.forward.isfinite().all()) for maps in found.maps.values() for m in maps)
    note = "; ".join(found.warnings)
    assert ("some of its 4 fibres never vary" if off == 1 else "its features never vary") in note
    mapped = found.apply(networks)[1]
    x = torch.randn(8, 6, 5)
    (
        torch.testing.assert_close(mapped(x), networks[1](x), atol=1e-4, rtol=1e-4)
        if method != "cca"
        else None
    )


def test_constant_but_for_rounding_is_constant() -> None:
    """What differs in its last bits alone gives no directions to match."""
    networks = [network(0), network(1)]
    for own in networks:
        with torch.no_grad():
            own[2].weight.mul_(1e-7)
            own[2].bias.fill_(0.3)
    found = solved(networks, "cca")
    assert found.matchers["g1"] == "identity"


def test_from_disk_the_same_and_kept_too(tmp_path: Path) -> None:
    from onefold.sources import DiskMembers

    networks = [network(0), switched_off(network(1), 2), network(2)]
    paths = []
    for k, own in enumerate(networks):
        paths.append(tmp_path / f"{k}.safetensors")
        onefold.save(own, paths[-1])
    streamed = DiskMembers(lambda: network(9), paths)
    here, there = (
        solved(networks, "cca"),
        onefold.align(streamed, data(), method="cca", resume=tmp_path / "kept"),
    )
    assert here.fallbacks == there.fallbacks
    assert here.matchers == there.matchers
    again = onefold.align(streamed, data(), method="cca", resume=tmp_path / "kept")
    assert again.fallbacks == here.fallbacks


def test_a_dead_member_is_the_only_reason_that_a_joint_matcher_is_given() -> None:
    """Units of the group take matrices and have no fibres, which the note must not tell."""
    networks = [network(0), network(1), switched_off(network(2), 2)]
    found = solved(networks, "zipit")
    assert found.fallbacks["g1"] == "its features never vary on the calibration data in member 2"
