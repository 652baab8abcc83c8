"""The part of a file that is read: an entry, a prefix, patterns of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from states import plain, same
from torch import nn

import onefold
from onefold import weights
from onefold.errors import SettingError, WeightsError
from onefold.weights.selection import entry_of

Selection = weights.Selection


@pytest.mark.parametrize(
    ("entry", "seed"), [("model_ema", 1), ("ema.module", 2), ("a.b.c", 3), ("x.y", 4), ("model", 5)]
)
def test_entries_by_dotted_paths(tmp_path: Path, entry: str, seed: int) -> None:
    content = {
        "model_ema": plain(1),
        "ema": {"module": plain(2), "decay": 0.9},
        "a": {"b": {"c": plain(3)}},
        "x.y": plain(4),
        "model": plain(5),
    }
    torch.save(content, tmp_path / "a.pt")
    assert same(onefold.load(tmp_path / "a.pt", entry=entry), plain(seed))
    assert weights.read(tmp_path / "a.pt", selection=Selection(entry)).entry == entry


@pytest.mark.parametrize("entry", ["none", "ema.none", "epoch", "ema", ""])
def test_an_entry_that_is_no_state_dict(tmp_path: Path, entry: str) -> None:
    torch.save({"ema": {"module": plain()}, "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=rf"no state dict '{entry}'; it has 'ema\.module'"):
        onefold.load(tmp_path / "a.pt", entry=entry)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": plain(1), "best_acc1": torch.tensor(0.9)},
        {"ema": {"module": plain(1)}, "loss": torch.ones(3)},
        {"generator": plain(1), "step": torch.tensor(3), "optimizer": {"x": torch.ones(9)}},
        {"checkpoint": {"inner": {"weights": plain(1)}}},
        {**plain(1), "layer._extra_state": {"scale": torch.ones(1)}},
    ],
)
def test_the_state_dict_among_other_tensors(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert same(onefold.load(tmp_path / "a.pt"), plain(1))


def test_several_state_dicts_of_no_usual_name(tmp_path: Path) -> None:
    torch.save({"generator": plain(1), "critic": plain(2)}, tmp_path / "a.pt")
    with pytest.raises(
        WeightsError, match=r"'generator', 'critic', and nothing.*entry='generator'"
    ):
        onefold.load(tmp_path / "a.pt")


@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_prefixes_and_patterns(tmp_path: Path, form: str) -> None:
    names = ["m.a.weight", "m.a.bias", "m.b.weight", "loss.weight"]
    state = {name: torch.full((2,), float(k)) for k, name in enumerate(names)}
    path = tmp_path / f"a.{form}"
    {"safetensors": save_file, "pt": torch.save}[form](state, path)

    def found(**asked: Any) -> list[str]:
        return sorted(onefold.load(path, **asked))

    assert found(prefix="m.") == ["a.bias", "a.weight", "b.weight"]
    assert found(prefix="m.a.") == ["bias", "weight"]
    assert found(keys="m.a") == ["m.a.bias", "m.a.weight"]
    assert found(keys=["*.weight"], drop="loss") == ["m.a.weight", "m.b.weight"]
    assert found(prefix="m.", keys=["a.weight", "b"]) == ["a.weight", "b.weight"]
    assert found(drop=["*.bias", "loss"]) == ["m.a.weight", "m.b.weight"]
    assert torch.equal(onefold.load(path, prefix="m.b.")["weight"], torch.full((2,), 2.0))
    notes = weights.read(path, selection=Selection(prefix="m.")).notes
    assert any("Left out 1 of 4 names" in note and "'loss.weight'" in note for note in notes)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"prefix": "modle."},
            "no name that begins with the prefix 'modle.'; did you mean 'model.'",
        ),
        ({"prefix": "model.a.weight"}, "no name that begins"),
        ({"keys": "x*"}, r"no name that the pattern 'x\*' of keys matches"),
        ({"drop": ["model", "z"]}, "no name that the pattern 'z' of drop matches"),
        ({"drop": "model"}, "no name left"),
        ({"keys": "model.a", "drop": "*.weight"}, "no name left"),
    ],
)
def test_what_fits_no_name(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    save_file({"model.a.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=said):
        onefold.load(tmp_path / "a.safetensors", **asked)


def test_a_safetensors_file_has_no_entries(tmp_path: Path) -> None:
    save_file(plain(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"has no entry 'ema'; leave entry out.*prefix="):
        onefold.load(tmp_path / "a.safetensors", entry="ema")


@pytest.mark.parametrize(
    "asked", [{"entry": 3}, {"prefix": ["a"]}, {"keys": 1}, {"drop": {"a": 1}}]
)
def test_types_of_the_settings(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(asked))):
        onefold.load(tmp_path / "a.pt", **asked)


def test_the_model_to_fill_is_a_network(tmp_path: Path) -> None:
    torch.save(plain(), tmp_path / "a.pt")
    for model in ("resnet20", nn.Linear, {}):
        with pytest.raises((SettingError, onefold.OnefoldError)):
            onefold.load(tmp_path / "a.pt", model)


def test_the_longest_key_of_a_path_is_taken_first() -> None:
    assert entry_of({"a.b": {"c": 1}, "a": {"b.c": 2}}, "a.b.c") == 1
    assert entry_of({"a.b": {"x": 1}, "a": {"b": {"c": 2}}}, "a.b.c") == 2
    assert entry_of({"a": 1}, "a.b") is None
