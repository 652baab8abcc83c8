"""Merges from batches of several sizes: networks of text, series and images."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from size_networks import NETWORKS, Deeper, Table, Waves, inputs, pair
from torch import Tensor, nn

import onefold
from onefold.batches import batches
from onefold.errors import TraceError
from onefold.fold.repair import repair

WAYS: list[dict[str, Any]] = [
    {"align": "permutation"},
    {"align": "none"},
    {"align": "procrustes", "repair": "full"},
    {"align": "permutation", "fold": "least_squares"},
]


@pytest.mark.parametrize("name", ["gru", "lstm both ways", "full table first", "segmenter", "odd images first", "patches"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_identical_members_stay_what_they_are(name: str, way: dict[str, Any]) -> None:
    model, data = pair(NETWORKS[name])[0], inputs(name)
    result = onefold.merge([model, model], data, **way)
    assert not [note for note in result.report.warnings if "only batch-norm" in note]
    exact = way["align"] != "procrustes" and "fold" not in way and not _repaired(model)
    for batch in batches(data):
        with torch.no_grad():
            wanted, found = model(*batch.args), result.model.eval()(*batch.args)
        if exact:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert bool(found.isfinite().all())
    assert result.report.examples == sum(batch.size for batch in batches(data)) or way["align"] == "none"


def _repaired(model: nn.Module) -> bool:
    """Whether default repair re-estimates statistics, which are not those of so few examples."""
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_permutations_over_several_sizes_keep_the_function(name: str) -> None:
    models, data = [m.double() for m in pair(NETWORKS[name])], []
    for batch in batches(inputs(name)):
        own = tuple(x.double() if x.is_floating_point() else x for x in batch.args)
        data.append((own if len(own) > 1 else own[0], None))
    found = onefold.align(models, data, method="permutation")
    moved = found.apply(models)
    changed = [k for k, tensor in moved[1].state_dict().items() if not torch.equal(tensor, models[1].state_dict()[k])]
    assert changed
    for batch in batches(data):
        with torch.no_grad():
            torch.testing.assert_close(moved[1](*batch.args), models[1](*batch.args), rtol=1e-9, atol=1e-9)


def test_padding_that_changes_nothing_changes_no_alignment() -> None:
    class Masked(Table):
        """Takes no notice of token 0, with which sentences are filled up."""

        def forward(self, ids: Tensor) -> Tensor:
            own = (ids != 0)[..., None].to(self.places)
            x = torch.relu(self.up(self.norm(self.tokens(ids)))) * own
            return self.head(x.sum(1) / own.sum(1))

    models = [network.double() for network in pair(Masked)]
    torch.manual_seed(3)
    short = [torch.randint(1, 20, (40, n)) for n in (5, 8)]
    long = [torch.nn.functional.pad(ids, (0, 8 - ids.shape[1])) for ids in short]
    ways = [onefold.merge(models, data, align="permutation", repair="none").model for data in (short, long)]
    spread, same = (onefold.merge(models, data, align="none", repair="none").model for data in (short, long))
    for ids in long:
        with torch.no_grad():
            assert torch.equal(spread(ids), same(ids))
            torch.testing.assert_close(ways[0](ids), ways[1](ids), rtol=1e-9, atol=1e-9)


def test_repair_over_several_sizes_pools_all_positions() -> None:
    """As of one batch that holds all positions: images side by side and one by one."""
    models = pair(lambda: nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 1)))
    torch.manual_seed(1)
    one = [torch.randn(4, 2, 6, 6)]
    several = [one[0].reshape(4, 2, 36, 1)[:, :, :20], one[0].reshape(4, 2, 36, 1)[:, :, 20:]]
    for data in (one, several):
        found = onefold.align(models, data, method="permutation")
        twin = pair(lambda: nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 1)))[1]
        repair(twin, data, found.spec, found.targets)
        last = found.targets["conv2d_1"]
        with torch.no_grad():
            out = torch.cat([twin(x).movedim(1, -1).reshape(-1, 3) for x in data]).double()
        if data is one:
            torch.testing.assert_close(out.mean(0), last.mean, rtol=1e-4, atol=1e-4)
            first = last
    torch.testing.assert_close(last.mean, first.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(last.deviation, first.deviation, rtol=1e-6, atol=1e-6)


def test_operators_that_differ_stop_an_alignment_but_not_a_plain_average() -> None:
    models, data = pair(Deeper), [torch.randn(8, t, 3) for t in (2, 4)]
    with pytest.raises(TraceError, match="Deeper runs other operators"):
        onefold.merge(models, data, align="permutation")
    with pytest.raises(TraceError, match="Deeper runs other operators"):
        onefold.merge(models, data, align="none", repair="full")
    result = onefold.merge(models, data, align="none")
    assert result.report.repaired["norms"] == 1
    assert [w for w in result.report.warnings if "only batch-norm statistics can be repaired" in w and "(8, 4, 3)" in w]


def test_soups_take_several_sizes() -> None:
    torch.manual_seed(2)
    data = [(torch.randn(6, 2, t), torch.randint(2, (6,))) for t in (12, 17, 9, 14, 11)]
    result = onefold.merge(pair(Waves), data, align="permutation", fold="greedy_soup")
    assert len(result.report.folded["members"]) == 2


def text(build: Any, sizes: tuple[tuple[int, int], ...]) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    data = []
    for n, longest in sizes:
        lengths = torch.randint(2, longest + 1, (n,))
        lengths[0] = longest
        mask = (torch.arange(longest)[None] < lengths[:, None]).long()
        data.append({"input_ids": torch.where(mask.bool(), torch.randint(3, 30, (n, longest)), 1), "attention_mask": mask})
    return pair(build), data


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_language_models_take_dynamic_padding(kind: str) -> None:
    import transformers as t

    shared = {"vocab_size": 30, "max_position_embeddings": 16}
    common = {**shared, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 10}
    builds = {
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**common)),
        "roberta": lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**common, pad_token_id=1)),
        "distilbert": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(**shared, dim=8, n_layers=1, n_heads=2, hidden_dim=10)
        ),
    }
    torch.manual_seed(0)
    models, data = text(builds[kind], ((6, 7), (6, 11), (4, 9), (1, 5)))
    result = onefold.merge(models, data, align="permutation")
    assert result.report.examples == 17
    moved = result.alignment.apply(models)[1]
    for batch in data:
        with torch.no_grad():
            torch.testing.assert_close(moved(**batch).logits, models[1](**batch).logits, rtol=1e-4, atol=1e-5)
