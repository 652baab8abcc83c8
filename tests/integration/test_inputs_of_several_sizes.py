"""Merges from batches of several sizes: networks of text, series and images."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from size_networks import NETWORKS, Deeper, Waves, inputs, pair
from torch import Tensor, nn

import onefold
from onefold.batches import batches
from onefold.errors import TraceError

WAYS: list[dict[str, Any]] = [
    {"align": "permutation", "repair": "none"},
    {"align": "none", "repair": "none"},
    {"align": "permutation", "repair": "full"},
    {"align": "permutation", "fold": "least_squares"},
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "full table first", "odd images first"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_identical_members_stay_what_they_are(name: str, way: dict[str, Any]) -> None:
    model, data = pair(NETWORKS[name])[0], inputs(name)
    result = onefold.merge([model, model], data, **{"fold": "average", **way})
    assert not [note for note in result.report.warnings if "only batch-norm" in note]
    exact = way.get("repair") == "none" or ("fold" not in way and name == "gru")
    for batch in batches(data):
        with torch.no_grad():
            wanted, found = model(*batch.args), result.model.eval()(*batch.args)
        if exact:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert bool(found.isfinite().all())
    assert (
        result.report.examples == sum(batch.size for batch in batches(data))
        or way["align"] == "none"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_permutations_over_several_sizes_keep_the_function(name: str) -> None:
    models, data = [m.double() for m in pair(NETWORKS[name])], []
    for batch in batches(inputs(name)):
        own = tuple(x.double() if x.is_floating_point() else x for x in batch.args)
        data.append((own if len(own) > 1 else own[0], None))
    found = onefold.align(models, data, method="permutation")
    moved = found.apply(models)
    changed = [
        k
        for k, tensor in moved[1].state_dict().items()
        if not torch.equal(tensor, models[1].state_dict()[k])
    ]
    assert changed
    for batch in batches(data):
        with torch.no_grad():
            torch.testing.assert_close(
                moved[1](*batch.args), models[1](*batch.args), rtol=1e-9, atol=1e-9
            )


@pytest.mark.slow
def test_operators_that_differ_stop_an_alignment_but_not_a_plain_average() -> None:
    models, data = pair(Deeper), [torch.randn(8, t, 3) for t in (2, 4)]
    with pytest.raises(TraceError, match="Deeper runs other operators"):
        onefold.merge(models, data, align="permutation", repair="full", fold="average")
    with pytest.raises(TraceError, match="Deeper runs other operators"):
        onefold.merge(models, data, align="none", repair="full", fold="average")
    result = onefold.merge(models, data, align="none", fold="average")
    assert result.report.repaired["norms"] == 1
    assert [
        w
        for w in result.report.warnings
        if "only batch-norm statistics can be repaired" in w and "(8, 4, 3)" in w
    ]


def test_soups_take_several_sizes() -> None:
    torch.manual_seed(2)
    data = [(torch.randn(6, 2, t), torch.randint(2, (6,))) for t in (12, 17, 9, 14, 11)]
    result = onefold.merge(pair(Waves), data, align="permutation", fold="greedy_soup")
    assert len(result.report.folded["members"]) == 2


def text(
    build: Any, sizes: tuple[tuple[int, int], ...]
) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    data = []
    for n, longest in sizes:
        lengths = torch.randint(2, longest + 1, (n,))
        lengths[0] = longest
        mask = (torch.arange(longest)[None] < lengths[:, None]).long()
        data.append(
            {
                "input_ids": torch.where(mask.bool(), torch.randint(3, 30, (n, longest)), 1),
                "attention_mask": mask,
            }
        )
    return pair(build), data


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_language_models_take_dynamic_padding(kind: str) -> None:
    import transformers as t

    shared = {"vocab_size": 30, "max_position_embeddings": 16}
    common = {
        **shared,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 10,
    }
    builds = {
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**common)),
        "roberta": lambda: t.RobertaForSequenceClassification(
            t.RobertaConfig(**common, pad_token_id=1)
        ),
        "distilbert": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(**shared, dim=8, n_layers=1, n_heads=2, hidden_dim=10)
        ),
    }
    torch.manual_seed(0)
    models, data = text(builds[kind], ((6, 7), (6, 11), (4, 9), (1, 5)))
    result = onefold.merge(models, data, align="permutation", fold="average")
    assert result.report.examples == 17
    moved = result.alignment.apply(models)[1]
    for batch in data:
        with torch.no_grad():
            torch.testing.assert_close(
                moved(**batch).logits, models[1](**batch).logits, rtol=1e-4, atol=1e-5
            )
