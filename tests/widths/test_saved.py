"""Files of resized networks: metadata, configs, and refusals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import symmetry_networks as nets
import torch
from torch import nn

import onefold
from onefold.errors import OutputError, WeightsError
from onefold.sources import DiskMembers
from onefold.sources.networks import digits
from onefold.symmetry import find_symmetries
from onefold.weights import read
from onefold.weights.resized import KEY, mark_of


def resized(folder: Path) -> Path:
    model, x = nets.mlp(), torch.randn(3, 10)
    small = onefold.resize(model, find_symmetries(model, x), {"g0": 5, "g1": 30})
    assert mark_of(small)["widths"] == {"g0": 5, "g1": 30}
    assert mark_of(small)["before"] == {"g0": 16, "g1": 24}
    return onefold.save(small, folder / "small.safetensors")


def test_the_metadata_are_plain_text(tmp_path: Path) -> None:
    facts = json.loads(read(resized(tmp_path)).metadata[KEY])
    assert facts["widths"] == {"g0": 5, "g1": 30}
    assert facts["shapes"]["0.weight"] == [16, 10]
    assert facts["sizes"]["2"] == {"in_features": 5, "out_features": 30}


def damaged(facts: dict[str, Any], change: str) -> None:
    match change:
        case "version":
            facts["version"] = 2
        case "shapes":
            facts["shapes"]["0.weight"] = ["16", 10]
        case "sizes":
            facts["sizes"]["2"]["in_features"] = "5"
        case "missing":
            del facts["widths"]
        case "module":
            facts["sizes"]["9"] = {"in_features": 5}
        case "attribute":
            facts["sizes"]["2"]["forward"] = 5
        case "config":
            facts["config"] = {"": {"hidden_size": 5}}
        case "said":
            del facts["said"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("version", "another version of onefold"),
        *((one, "damaged metadata") for one in ("shapes", "sizes", "missing", "said")),
        ("module", "has no size 'in_features'"),
        ("attribute", "has no size 'forward'"),
        ("config", "config has no 'hidden_size'"),
    ],
)
def test_damaged_metadata_are_one_sentence(tmp_path: Path, change: str, match: str) -> None:
    checkpoint = read(resized(tmp_path))
    facts = json.loads(checkpoint.metadata[KEY])
    damaged(facts, change)
    file = onefold.save(
        dict(checkpoint.tensors), tmp_path / "b.safetensors", metadata={KEY: json.dumps(facts)}
    )
    with pytest.raises(WeightsError, match=match):
        onefold.load_resized(nets.mlp, file)


def test_a_factory_must_make_a_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="gives a dict; it must return a network"):
        onefold.load_resized(lambda: {"a": 1}, resized(tmp_path))  # type: ignore[type-var]


def test_a_member_on_disk_is_no_resized_file(tmp_path: Path) -> None:
    model, x = digits(), torch.randn(2, 1, 8, 8)
    plain = onefold.save(model, tmp_path / "plain.safetensors")
    small = onefold.resize(model, find_symmetries(model, x), {"g0": 5})
    file = onefold.save(small, tmp_path / "small.safetensors")
    with pytest.raises(WeightsError, match=r"resized: onefold\.load_resized"):
        DiskMembers("digits", [str(plain), str(file)])


def bert(**sizes: int) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    settings = {
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 16,
    }
    return transformers.BertForSequenceClassification(transformers.BertConfig(**settings | sizes))


def test_a_config_that_can_say_the_widths_does(tmp_path: Path) -> None:
    model = bert().eval()
    tokens = {"input_ids": torch.randint(20, (2, 5))}
    spec = find_symmetries(model, tokens)
    hidden = [g.name for g in spec.groups if g.size == 24]
    both = onefold.resize(model, spec, dict.fromkeys(hidden, 10), example_inputs=tokens)
    assert both.config.intermediate_size == 10
    assert model.config.intermediate_size == 24
    folder = onefold.save(both, tmp_path / "folder")
    again = type(model).from_pretrained(folder)
    assert torch.equal(again(**tokens).logits, both(**tokens).logits)
    file = onefold.save(both, tmp_path / "a.safetensors")
    loaded = onefold.load_resized(bert, file).eval()
    assert loaded.config.intermediate_size == 10
    assert torch.equal(loaded(**tokens).logits, both(**tokens).logits)


def test_a_config_that_cannot_say_the_widths_stays(tmp_path: Path) -> None:
    model = bert().eval()
    tokens = {"input_ids": torch.randint(20, (2, 5))}
    spec = find_symmetries(model, tokens)
    first = next(g.name for g in spec.groups if g.size == 24)
    one = onefold.resize(model, spec, {first: 10}, example_inputs=tokens)
    assert one.config.intermediate_size == 24
    with pytest.raises(OutputError, match="config cannot say the widths"):
        onefold.save(one, tmp_path / "folder")
    again = onefold.load_resized(bert, onefold.save(one, tmp_path / "a.safetensors")).eval()
    assert torch.equal(again(**tokens).logits, one(**tokens).logits)
    heads = next(name for g in spec.groups for name in g.over)
    fewer = onefold.resize(model, spec, {heads: 3}, example_inputs=tokens)
    attention = fewer.bert.encoder.layer[0].attention.self
    assert (attention.num_attention_heads, attention.attention_head_size) == (3, 4)
    assert attention.all_head_size == 12


def test_a_copy_of_a_resized_network_is_saved_alike(tmp_path: Path) -> None:
    model, x = nets.mlp(), torch.randn(3, 10)
    small = onefold.resize(model, find_symmetries(model, x), {"g0": 5})
    file = onefold.save(copy.deepcopy(small), tmp_path / "a.safetensors")
    assert torch.equal(onefold.load_resized(nets.mlp, file)(x), small(x))
    assert not mark_of(model)
    assert KEY not in read(onefold.save(model, tmp_path / "b.safetensors")).metadata
