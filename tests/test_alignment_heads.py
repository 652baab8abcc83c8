"""Attention heads and other fibres: each takes a map of its own, heads are matched together, rotations undo rotations."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.alignment import Alignment, align, gather, solve_gathered
from onefold.alignment.layout import layouts
from onefold.alignment.matchers import Matcher, matchers
from onefold.alignment.matchers.cca import CCA
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, find_symmetries, fold_scales
from onefold.symmetry.axes import Group
from onefold.symmetry.drawing import random_map
from onefold.symmetry.maps import fibre_shape

HEADS, WIDTH = 4, 16


class Attention(nn.Module):
    """A block before whose parts the stream is normalised; queries, keys and values apart or fused; fewer heads of keys if `shared`."""

    def __init__(self, fused: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.fused, self.kv = fused, HEADS // 2 if shared else HEADS
        self.into, self.first, self.second = nn.Linear(5, WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        size = WIDTH // HEADS
        if fused:
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, heads * size) for heads in (HEADS, self.kv, self.kv))
        self.out, self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.last, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        y, (b, s) = self.first(x), x.shape[:2]
        size = WIDTH // HEADS
        if self.fused:
            q, k, v = self.qkv(y).view(b, s, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        else:
            q = self.q(y).view(b, s, HEADS, size).transpose(1, 2)
            k, v = (part(y).view(b, s, self.kv, size).transpose(1, 2) for part in (self.k, self.v))
        z = F.scaled_dot_product_attention(q, k, v, enable_gqa=True) if self.kv < HEADS else F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(z.transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.second(x))))
        return self.head(self.last(x).mean(1))


class Grouped(nn.Module):
    """A grouped convolution between ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1, groups=4), nn.Conv2d(24, 6, 3)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))).mean((2, 3)))


def built(network: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with scales, biases and weights large enough for attention to matter."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(1.5 if name[0] in "qk" else 0.7) * parameter[0].numel() ** -0.5)
        elif "first" in name or "second" in name or "last" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=0.2)
    return network.double().eval()


def inputs(network: nn.Module) -> list[Tensor]:
    shape = (64, 1, 8, 8) if isinstance(network, Grouped) else (64, 9, 5)
    return [torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(4)]


def moved(network: nn.Module, spec: SymmetrySpec, kind_of: dict[str, str], fold: bool, seed: int = 3) -> nn.Module:
    """The same function with every group moved by a random map, another one in each fibre, of the class that `kind_of` names."""
    generator = torch.Generator().manual_seed(seed)
    maps = {g.name: random_map(g.size, fibre_shape(spec, g), kind_of[g.name], generator) for g in spec.groups}
    twin = copy.deepcopy(network)
    state = fold_scales(network.state_dict(), spec) if fold else network.state_dict()
    twin.load_state_dict(apply_maps(state, spec, maps))
    return twin


def average(alignment: Alignment, networks: list[nn.Module]) -> nn.Module:
    first, second = (network.state_dict() for network in alignment.apply(networks))
    middle = copy.deepcopy(networks[0])
    middle.load_state_dict({name: (value + second[name]) / 2 for name, value in first.items()})
    return middle


def gap(a: nn.Module, b: nn.Module) -> float:
    x = inputs(a)[-1]
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / b(x).std())


def widest(group: Group) -> str:
    """The widest class that a dense matcher finds exactly."""
    allowed = group.maps | group.folded
    for kind in ("invertible", "orthogonal", "orthogonal_mean"):
        if kind in allowed:
            return kind
    return "permutation"


NETWORKS = {"apart": lambda: Attention(), "fused": lambda: Attention(fused=True), "shared": lambda: Attention(shared=True), "grouped": Grouped}


@pytest.mark.parametrize("name", ["apart", "fused", "grouped"])
def test_permutations_of_heads_and_within_them_are_undone(name: str) -> None:
    network = built(NETWORKS[name]())
    spec = find_symmetries(network, inputs(network)[0])
    twin = moved(network, spec, dict.fromkeys([g.name for g in spec.groups], "permutation"), fold=False)
    assert gap(twin, network) < 1e-12
    found = align([network, twin], inputs(network), method="permutation", spec=spec)
    assert gap(average(found, [network, twin]), network) < 1e-10
    over = [g for g in spec.groups if g.over]
    assert over
    for group in over:
        assert found.maps[group.name][1].forward.shape == (HEADS, group.size)
        assert len({tuple(row.tolist()) for row in found.maps[group.name][1].forward}) > 1  # one map for all heads could not do it


@pytest.mark.parametrize("name", ["apart", "fused"])
def test_dense_maps_undo_rotations_of_the_stream_and_any_map_within_heads(name: str) -> None:
    network = built(NETWORKS[name]())
    spec = find_symmetries(network, inputs(network)[0])
    kinds = {g.name: "permutation" if any(g.name in other.over for other in spec.groups) else widest(g) for g in spec.groups}
    assert "orthogonal_mean" in kinds.values()
    assert {"apart": "invertible", "fused": "orthogonal"}[name] in kinds.values()
    twin = moved(network, spec, kinds, fold=True)
    assert gap(twin, network) < 1e-10
    found = align([network, twin], inputs(network), method=CCA(regularisation=1e-9, prior=0.0), spec=spec)
    assert found.folds_scales
    assert gap(average(found, [network, twin]), network) < 1e-6
    # the negative control: permutations alone cannot undo it
    assert gap(average(align([network, twin], inputs(network), method="permutation", spec=spec), [network, twin]), network) > 0.1


@pytest.mark.parametrize("name", list(NETWORKS))
def test_permuted_members_keep_their_function(name: str) -> None:
    networks = [built(NETWORKS[name](), seed) for seed in range(3)]
    found = align(networks, inputs(networks[0]), method="permutation")
    for network, twin in zip(networks, found.apply(networks), strict=True):
        assert gap(twin, network) < 1e-12


@pytest.mark.parametrize("method", ["cca", "procrustes"])
@pytest.mark.parametrize("name", ["apart", "fused", "shared"])
def test_dense_maps_outside_the_nonlinearity_keep_each_members_function(name: str, method: str) -> None:
    networks = [built(NETWORKS[name](), seed) for seed in range(2)]
    spec = find_symmetries(networks[0], inputs(networks[0])[0])
    found = align(networks, inputs(networks[0]), method=method, spec=spec)
    hidden = next(g.name for g in spec.groups if g.size == 24)  # a dense map of what gelu reads is approximate
    kept = Alignment(**{f: getattr(found, f) for f in found.__dataclass_fields__} | {"maps": {**found.maps, hidden: (GroupMap.identity(24),) * 2}})
    assert any(m[1].kind == "dense" for m in kept.maps.values())
    for network, twin in zip(networks, kept.apply(networks), strict=True):
        assert gap(twin, network) < 1e-8


def test_heads_are_matched_by_queries_keys_and_values_together() -> None:
    network = built(Attention())
    spec = find_symmetries(network, inputs(network)[0])
    index = next(g.name for g in spec.groups if any(g.name in other.over for other in spec.groups))
    order = torch.tensor([2, 0, 3, 1])
    twin = copy.deepcopy(network)
    twin.load_state_dict(apply_maps(network.state_dict(), spec, {index: GroupMap("permutation", order)}))
    for method in ("permutation", "procrustes", "cca"):
        found = align([network, twin], inputs(network), method=method, spec=spec)
        assert torch.equal(order[found.maps[index][1].forward], torch.arange(HEADS))
        assert float(found.scores[index][1].min()) > 0.99
        assert "agree best" in found.fallbacks[index]


def test_a_user_matcher_serves_heads_too_and_settings_reach_it() -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(matchers.get("permutation")):  # type: ignore[misc]
        def match(self, moments, member):  # type: ignore[no-untyped-def]
            seen.append(tuple(moments.correlation(member).shape))
            return super().match(moments, member)

    networks = [built(Attention(), seed) for seed in range(2)]
    gathered = gather(networks, inputs(networks[0]), full=False)
    matcher: Matcher = Watching()
    solve_gathered(gathered, matcher)
    size = WIDTH // HEADS
    assert seen.count((size, size)) == 2 * HEADS**2  # queries with keys, and values: every head with every other


def test_an_alignment_with_heads_is_saved_and_loaded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    networks = [built(Attention(), seed) for seed in range(2)]
    found = align(networks, inputs(networks[0]), method="procrustes")
    found.save(tmp_path / "a.safetensors")
    assert Alignment.load(tmp_path / "a.safetensors") == found
    assert "per" not in str(found.table()[0]["note"])


def test_wide_fibres_share_one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    network = built(Attention())
    spec = find_symmetries(network, inputs(network)[0])
    assert any(layout.apart for layout in layouts(spec).values())
    monkeypatch.setattr("onefold.alignment.layout.WIDEST", 8)
    assert not any(layout.apart for layout in layouts(spec).values())
    twin = built(Attention(), 1)
    found = align([network, twin], inputs(network), method="permutation", spec=spec)
    assert gap(found.apply([network, twin])[1], twin) < 1e-12
