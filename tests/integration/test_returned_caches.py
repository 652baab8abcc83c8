"""Networks that return keys, values or states for a next call beside their outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.inference import Output

pytestmark = pytest.mark.filterwarnings("ignore")
TOKENS = 40


class StateCache:
    """Keys of every layer, as an object that torch knows nothing of."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []


@dataclass
class Returned:
    """What a network returns, as an object."""

    scores: Tensor
    memory: Any


class Recurrent(nn.Module):
    """Returns scores (n, 3) and the states that lead to them."""

    def __init__(self, form: Callable[[Tensor, Any, list[Tensor]], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.form = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3), form

    def forward(self, x: Tensor) -> Any:
        kept = [torch.relu(self.a(x))]
        kept.append(torch.relu(self.b(kept[0])))
        cache = StateCache()
        cache.keys += kept
        return self.form(self.c(kept[1]), cache, kept)


FORMS: dict[str, Callable[[Tensor, Any, list[Tensor]], Any]] = {
    "an object in a tuple": lambda y, cache, kept: (y, cache),
    "an object in a dict": lambda y, cache, kept: {"scores": y, "memory": cache},
    "an object in a list": lambda y, cache, kept: [y, [cache, cache]],
    "an object in an object": lambda y, cache, kept: Returned(y, cache),
    "tensors under its name": lambda y, cache, kept: {"scores": y, "past_key_values": tuple(kept)},
    "memories": lambda y, cache, kept: {"scores": y, "mems": kept},
}


def labelled() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(12, 4), torch.arange(12) % 3) for _ in range(3)]


@pytest.mark.parametrize("form", FORMS)
def test_a_cache_is_no_output(form: str) -> None:
    torch.manual_seed(1)
    models = [Recurrent(FORMS[form]).eval() for _ in range(2)]
    plain = Recurrent(lambda y, cache, kept: y).eval()
    plain.load_state_dict(models[0].state_dict())
    assert onefold.evaluate(models[0], labelled()) == onefold.evaluate(plain, labelled())
    assert onefold.polish(models[0], models, labelled(), 1).model is not None
    x = labelled()[0][0]
    assert onefold.Ensemble(models)(x).shape == (12, 3)
    with pytest.raises(onefold.OnefoldError, match="no output named 'nothing'"):
        Output("nothing").of(models[0](x))


@pytest.mark.parametrize("form", list(FORMS)[:3])
def test_objects_leave_all_features_free(form: str) -> None:
    torch.manual_seed(1)
    models = [Recurrent(FORMS[form]).eval() for _ in range(2)]
    spec = onefold.find_symmetries(models[0], labelled()[0])
    assert len(spec.groups) == 2
    assert onefold.verify_symmetries(spec, models[0], labelled()[0]).passed
    result = onefold.merge(models, labelled(), align="permutation", fold="average")
    assert type(result.model(labelled()[0][0])) is type(models[0](labelled()[0][0]))


def test_outputs_in_an_object_that_torch_does_not_know_are_no_cache() -> None:
    model = Recurrent(FORMS["an object in an object"]).eval()
    with pytest.raises(onefold.OnefoldError, match="cannot trace Recurrent"):
        onefold.find_symmetries(model, labelled()[0])


def network(kind: str, **options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    small = {"vocab_size": TOKENS, **options}
    made: dict[str, Callable[[], Any]] = {
        "GPT2LMHeadModel": lambda: transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, **small),
        "GPT2Model": lambda: transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, **small),
        "T5ForConditionalGeneration": lambda: transformers.T5Config(
            d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, **small
        ),
        "MambaForCausalLM": lambda: transformers.MambaConfig(
            hidden_size=16, state_size=4, num_hidden_layers=2, intermediate_size=32, **small
        ),
    }
    return getattr(transformers, kind)(made[kind]()).eval()


def tokens(kind: str) -> list[dict[str, Tensor]]:
    torch.manual_seed(2)
    draw = lambda: torch.randint(1, TOKENS, (6, 8))  # noqa: E731
    batches = [{"input_ids": draw(), "labels": draw()} for _ in range(2)]
    if "T5" in kind:
        batches = [{**batch, "decoder_input_ids": draw()} for batch in batches]
    return batches


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["GPT2LMHeadModel", "T5ForConditionalGeneration", "MambaForCausalLM"]
)
def test_a_language_model_with_its_defaults(kind: str) -> None:
    torch.manual_seed(3)
    models = [network(kind) for _ in range(2)]
    assert models[0].config.use_cache
    spec = onefold.find_symmetries(models[0], tokens(kind)[0])
    without = onefold.find_symmetries(network(kind, use_cache=False), tokens(kind)[0])
    assert [str(group) for group in spec.groups] == [str(group) for group in without.groups]
    assert spec.groups
    assert onefold.verify_symmetries(spec, models[0], tokens(kind)[0], trials=1).passed
    result = onefold.merge(models, tokens(kind), align="permutation", polish=1, fold="average")
    assert result.model.config.use_cache
    assert all(model.config.use_cache for model in models)
    assert onefold.evaluate(result.model, tokens(kind)).n == 2 * 6


@pytest.mark.parametrize(
    "options", [{}, {"use_cache": True}, {"use_cache": True, "return_dict": 0}]
)
def test_a_cache_that_is_asked_for_is_no_output(options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    model = network("GPT2Model")
    batch = {"input_ids": tokens("")[0]["input_ids"], **options}
    returned = model(**batch)
    assert Output().of(returned, model).shape == (6, 8, 16)
    assert onefold.find_symmetries(model, batch).groups
