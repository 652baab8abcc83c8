"""Partial merges written to files and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from partial_chains import chain, chains, rows
from small_networks import Plain, loader

import onefold
from onefold.errors import WeightsError
from onefold.fold import load_partial, save_partial
from onefold.fold.partial.module import PartialMerge

DATA = [(x.double(), y) for x, y in loader()]
IMAGES = DATA[0][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "until"), [("zipit", "0"), ("cca", "0"), ("cca", "3"), ("permutation", "5")]
)
def test_it_is_written_and_read_again(tmp_path: Path, method: str, until: str) -> None:
    models = chains(2)
    made = onefold.partial_merge(
        models, DATA, until=until, align=method, outputs="probabilities", weights=[3, 1]
    ).model
    path = save_partial(made, tmp_path / "partial.safetensors")
    again = load_partial(path, chain().double())
    assert isinstance(again, PartialMerge)
    assert torch.equal(rows(again, IMAGES), rows(made, IMAGES))
    with pytest.raises(WeightsError, match="not one of this architecture"):
        load_partial(path, Plain().double())
    with pytest.raises(WeightsError, match="holds no partial merge"):
        load_partial(onefold.save(models[0], tmp_path / "plain.safetensors"), chain())
    for damage in (
        {"shares": [1.0]},
        {"until": "9"},
        {"inputs": {"args": [], "kwargs": {}}},
        {"unmerge": 3},
        {"outputs": "sum"},
    ):
        facts = json.loads(onefold.fold.partial.saved.describe(made)["onefold.partial"]) | damage
        onefold.save(
            made,
            tmp_path / "damaged.safetensors",
            metadata={"onefold.partial": json.dumps(facts)},
            force=True,
        )
        with pytest.raises(WeightsError, match="not one of this architecture"):
            load_partial(tmp_path / "damaged.safetensors", chain().double())


def test_with_other_numbers_of_labels_it_is_read_with_a_network_for_each(tmp_path: Path) -> None:
    models = [chains(1, classes=4)[0], chains(2, classes=7)[1]]
    made = onefold.partial_merge(
        models, DATA, until="4", align="permutation", outputs="members"
    ).model
    path = save_partial(made, tmp_path / "partial.safetensors")
    again = load_partial(path, [chain(classes=4).double(), chain(classes=7).double()])
    assert all(
        torch.equal(a, b) for a, b in zip(rows(again, IMAGES), rows(made, IMAGES), strict=True)
    )
    with pytest.raises(WeightsError):
        load_partial(path, chain(classes=7).double())
