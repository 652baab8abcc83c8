"""Specs in a folder: proved on first use, what is refuted is found by bisection and dropped, then
read; every reason to find them anew.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
from torch import nn

import onefold.symmetry.cache as cache_module
from onefold.errors import OutputError, SymmetryError
from onefold.symmetry import SymmetrySpec, find_symmetries, prune, trace, verify_symmetries
from onefold.symmetry.axes import Group
from onefold.symmetry.cache import cached, key
from onefold.symmetry.pruning import REFUTED, _offenders
from onefold.symmetry.rules import operator_rules


def deep(widths: Sequence[int] = (6, 6, 7, 8, 6)) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((4, *widths), (*widths, 3), strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def swapped(spec: SymmetrySpec, first: str, second: str) -> SymmetrySpec:
    """A wrong spec: the columns that read one group are said to belong to another of the same size."""
    a, b = spec.group(first), spec.group(second)
    reader = next(slot for slot in b.slots if slot.role == "consumer")
    axes = dict(spec.axes)
    own = list(axes[reader.tensor])
    own[reader.axis] = dataclasses.replace(own[reader.axis], group=first)
    axes[reader.tensor] = tuple(own)
    groups = tuple(
        (
            dataclasses.replace(g, slots=(*g.slots, reader))
            if g is a
            else (
                dataclasses.replace(g, slots=tuple(slot for slot in g.slots if slot != reader))
                if g is b
                else g
            )
        )
        for g in spec.groups
    )
    return dataclasses.replace(spec, axes=axes, groups=groups)


def test_sound_specs_are_left_as_they_are() -> None:
    for model, x in ((deep(), torch.randn(5, 4)), (zoo.EinsumAttention(), torch.randn(2, 5, 6))):
        spec = find_symmetries(model, x)
        found = prune(spec, model, x)
        assert found.spec is spec
        assert (found.dropped, found.narrowed, str(found)) == ((), {}, "")


def test_wrong_groups_are_found_and_frozen_and_the_others_stay() -> None:
    model, x = deep(), torch.randn(5, 4)
    right = find_symmetries(model, x)
    wrong = swapped(right, "g0", "g1")
    found = prune(wrong, model, x)
    assert [group.name for group in found.dropped] == ["g0", "g1"]
    assert [group.name for group in found.spec.groups] == ["g2", "g3", "g4"]
    assert verify_symmetries(found.spec, model, x).passed
    assert found.spec.frozen["0.weight"] == found.spec.frozen["0.bias"] == REFUTED
    assert "2.weight" in found.spec.frozen
    assert "4.weight" not in found.spec.frozen  # its rows still move
    lost = 6 * 4 + 6 + 6 * 6 + 6
    assert found.spec.coverage == pytest.approx(right.coverage - lost / right.parameters)
    assert "group g0 (0.weight, 0.bias" in str(found)
    assert SymmetrySpec.from_json(found.spec.to_json()) == found.spec


def test_a_wrong_class_is_taken_away_and_the_group_stays() -> None:
    model, x = deep(), torch.randn(5, 4)
    spec = find_symmetries(model, x)
    claim = tuple(
        dataclasses.replace(g, maps=g.maps | {"sign", "orthogonal"}) if g.name == "g3" else g
        for g in spec.groups
    )
    found = prune(dataclasses.replace(spec, groups=claim), model, x)
    assert found.dropped == ()
    assert found.narrowed == {"g3": {"sign", "orthogonal"}}
    assert found.spec.group("g3").maps == {"permutation", "scale"}
    assert "group g3 no longer takes orthogonal, sign maps" in str(found)


def test_fibres_of_a_frozen_group_are_numbered_by_what_stays() -> None:
    model, x = nets.FlatCNN(), torch.randn(2, 1, 8, 8)
    spec = find_symmetries(model, x)
    index = next(g.over[0] for g in spec.groups if g.over)
    from onefold.symmetry.pruning import _without

    left = _without(spec, {index}, {})
    assert index not in {g.name for g in left.groups}
    assert verify_symmetries(left, model, x).passed


def test_bisection_finds_offenders_alone_and_in_company() -> None:
    groups = [Group(f"g{k}", 4, frozenset(), ()) for k in range(13)]

    def found(wrong: set[str], pairs: Sequence[set[str]] = ()) -> tuple[list[str], int]:
        calls = 0

        def test(own: Sequence[Group]) -> bool:
            nonlocal calls
            calls += 1
            names = {g.name for g in own}
            return bool(names & wrong) or any(pair <= names for pair in pairs)

        return [g.name for g in _offenders(groups, [], test)], calls

    assert found(set()) == ([], 1)
    assert found({"g3", "g11"})[0] == ["g3", "g11"]
    assert found({"g3"})[1] <= 10
    assert found(set(), [{"g2", "g9"}])[0] == ["g9"]
    assert found({"g0"}, [{"g1", "g2"}, {"g5", "g12"}])[0] == ["g0", "g2", "g12"]


def test_a_spec_is_kept_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = deep(), torch.randn(5, 4)
    folder = tmp_path / "specs"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = find_symmetries(model, x, cache=folder)
    (place,) = folder.iterdir()
    monkeypatch.setattr(cache_module, "solve", lambda _: pytest.fail("it must be read"))
    torch.manual_seed(1)
    assert (
        find_symmetries(deep(), torch.randn(9, 4), cache=folder)
        == first
        == find_symmetries(model, x)
    )
    assert json.loads(place.read_text())["is"] == "SymmetrySpec"
    with pytest.raises(pytest.fail.Exception):
        find_symmetries(deep((6, 6)), x, cache=folder)


def test_damaged_and_foreign_entries_are_made_anew(tmp_path: Path) -> None:
    model, x = deep(), torch.randn(5, 4)
    traced = trace(model, (x,))
    first = cached(traced, x, tmp_path)
    place = tmp_path / f"{key(traced, x)}.json"
    assert (first.hit, cached(traced, x, tmp_path).hit) == (False, True)
    for text in (
        "",
        "{",
        '{"is": "Group"}',
        place.read_text()[:100],
        dataclasses.replace(first.spec, fingerprint="another").to_json(),
    ):
        place.write_text(text)
        again = cached(traced, x, tmp_path)
        assert (again.hit, again.spec) == (False, first.spec)
        assert cached(traced, x, tmp_path).hit


def test_the_key_tells_inputs_versions_and_rules_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    small, large = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 9, 9)
    keys = {key(trace(conv, (x,)), x) for x in (small, large, small[:1], torch.randn(7, 1, 8, 8))}
    assert len(keys) == 2
    traced = trace(conv, (small,))
    monkeypatch.setattr(torch, "__version__", "9.9")
    other = key(traced, small)
    monkeypatch.undo()
    operator_rules.register("a new rule", summary="For this test.")(lambda call: [])
    try:
        assert len({key(traced, small), other, *keys}) == 4
    finally:
        operator_rules._entries.pop("a new rule")


def test_what_is_refuted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = deep(), torch.randn(5, 4)
    real = cache_module.solve
    monkeypatch.setattr(cache_module, "solve", lambda traced: swapped(real(traced), "g0", "g1"))
    with pytest.warns(
        UserWarning, match="group g0 .* was refuted by the numeric proof and is frozen"
    ):
        first = find_symmetries(model, x, cache=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_symmetries(model, x, cache=tmp_path) == first


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        hollow = deep()
    with pytest.raises(SymmetryError, match="meta device"):
        find_symmetries(hollow, torch.randn(5, 4, device="meta"), cache=tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        find_symmetries(deep(), torch.randn(5, 4), cache=tmp_path / "missing" / "specs")
    assert list(tmp_path.iterdir()) == []
