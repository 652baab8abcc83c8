"""Specs in a folder: proved on first use, then read; every reason to find them anew."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest
import torch
from refuted_specs import deep, swapped
from torch import nn

import onefold.symmetry.cache as cache_module
from onefold.errors import OutputError, SymmetryError
from onefold.symmetry import find_symmetries, trace
from onefold.symmetry.cache import cached, key
from onefold.symmetry.rules import operator_rules


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
        operator_rules.unregister("a new rule")


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
