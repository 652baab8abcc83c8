"""Values compared with the methods that they are for: ranges, numbers of models, sums, bases."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.checkpoints.document import Document, Place, Reference, Values, parse_documents
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.checkpoints.methods import methods
from onefold.errors import RecipeError

A, B = Reference(Place("a")), Reference(Place("b"))


def text(method: str, models: str, base: str = "", parameters: str = "") -> str:
    listed = "".join(f"  - {{model: {one}}}\n" for one in models)
    given = f"base_model: {base}\n" if base else ""
    return f"merge_method: {method}\n{given}models:\n{listed}parameters: {{{parameters}}}\n"


def read(document: str, as_mergekit: bool = False) -> Document:
    return parse_documents(document, "It", as_mergekit)[0]


def trusted(document: str) -> Document:
    (found,) = parse_documents(document, "The document", trust=True)
    return found


REFUSED = {
    "slerp of three": (text("slerp", "abc", "a", "t: 0.5"), "slerp takes exactly 1 model beside"),
    "slerp without t": (text("slerp", "ab", "a"), "slerp needs a value for 't'; give it under"),
    "nuslerp of one": (text("nuslerp", "a", "", "weight: 1"), "nuslerp takes exactly 2 models,"),
    "passthrough of two": (text("passthrough", "ab"), "passthrough takes exactly 1 model,"),
    "passthrough with a base": (
        text("passthrough", "a", "b"),
        "passthrough takes exactly 1 model, and 2 are given, the base among them.",
    ),
    "model_stock of one": (text("model_stock", "a", "b"), "at least 2 models beside the base"),
    "a density above 1": (
        text("ties", "ab", "c", "weight: 1, density: 1.5"),
        "key 'parameters.density': it is 1.5; it must be between 0 and 1",
    ),
    "a gradient of densities": (
        text("ties", "ab", "c", "weight: 1, density: [0.5, -0.5]"),
        "key 'parameters.density.1': it is -0.5; it must be between 0 and 1",
    ),
    "DELLA's range": (
        text("della", "ab", "c", "weight: 1, density: 0.9, epsilon: 0.15"),
        "key 'models': the density 0.9 and the epsilon 0.15 of della give probabilities from 0.75",
    ),
    "DELLA's range in the last layer": (
        text("della_linear", "ab", "c", "weight: 1, density: [0.5, 0.1], epsilon: 0.1"),
        "the density 0.1 and the epsilon 0.1 of della_linear give probabilities from 0 to 0.2",
    ),
    "a weight for sce": (
        text("sce", "ab", "c", "weight: 0.5"),
        "sce has no such parameter; it has int8_mask, select_topk.",
    ),
    "a normalize for multislerp": (
        text("multislerp", "ab", "", "weight: 0.5, normalize: true"),
        "multislerp has no such parameter; did you mean 'normalize_weights'?",
    ),
    "a parameter for arcee_fusion": (
        text("arcee_fusion", "a", "b", "weight: 0.5"),
        "arcee_fusion has no parameters; leave it out.",
    ),
    "a number of iterations": (
        text("karcher", "ab", "", "max_iter: 1.5"),
        "key 'parameters.max_iter': it is 1.5, not a whole number.",
    ),
    "a truth value": (
        text("ties", "ab", "c", "weight: 1, normalize: 2"),
        "key 'parameters.normalize': it is 2 (int), not true or false.",
    ),
    "weights of nuslerp": (
        "merge_method: nuslerp\nmodels:\n  - {model: a, parameters: {weight: 1}}\n"
        "  - {model: b, parameters: {weight: -1}}\n",
        "the weights of nuslerp sum to 0, by which nothing can be divided; change one.",
    ),
    "weights of task_arithmetic": (
        "merge_method: task_arithmetic\nbase_model: c\nmodels:\n"
        "  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: -1}}\n"
        "parameters: {normalize: true}\n",
        "the weights of task_arithmetic sum to 0, by which nothing can be divided; change one.",
    ),
    "an unknown step": (
        text("ties", "a", "b", "weight: 1") + "finish: scv\n",
        "key 'finish': there is no such step; did you mean 'svc'? (found: 'scv').",
    ),
    "a step without a base": (
        text("linear", "ab", "", "weight: 1") + "finish: svc\n",
        "key 'finish': svc needs a base, and linear has none.",
    ),
    "a setting of a step": (
        text("ties", "a", "b", "weight: 1") + "finish: {name: svc, alpha: 0}\n",
        "key 'finish.alpha': it is 0; it must be at least 1e-06.",
    ),
    "no step": (
        text("ties", "a", "b", "weight: 1") + "finish: {alpha: 0}\n",
        "lacks the key 'finish.name'; add it.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_a_method_cannot_take_are_refused(name: str) -> None:
    document, sentence = REFUSED[name]
    with pytest.raises(RecipeError) as caught:
        read(document)
    assert sentence in str(caught.value)
    assert str(caught.value)[-1] in ".?"


PUBLIC = {  # settings without an effect that published documents hold
    "select_topk at the top": (text("sce", "ab", "c") + "select_topk: 0.1\n", "under 'parameters'"),
    "int8_mask at the top": (
        text("ties", "a", "c", "weight: 1") + "int8_mask: true\n",
        "under 'par",
    ),
    "a density beside a model": (
        "merge_method: ties\nbase_model: c\nmodels:\n  - model: a\n    density: 0.5\n"
        "parameters: {weight: 1}\n",
        "write it under 'parameters'.",
    ),
    "a weight for model_stock": (text("model_stock", "ab", "c", "weight: 1"), "no such parameter"),
    "a weight for passthrough": (text("passthrough", "a", "", "weight: 1"), "no such parameter"),
    "t of one model": (
        "merge_method: slerp\nbase_model: a\nmodels:\n  - model: a\n"
        "  - {model: b, parameters: {t: 0.3}}\nparameters: {t: 0.5}\n",
        "it is one value for the whole merge; write it under 'parameters' of the document.",
    ),
    "dare_pruning_rate": (
        text("dare_ties", "a", "c", "weight: 1, dare_pruning_rate: 0.1"),
        "dare_ties has no such parameter; it has density, int8_mask, lambda, normalize, rescale,",
    ),
    "int_space": (text("ties", "a", "c", "weight: 1, int_space: 1"), "ties has no such parameter"),
    "smooth": (text("slerp", "ab", "a", "t: 0.5, smooth: true"), "slerp has no such parameter"),
    "allow_negative_weights": (
        text("ties", "a", "c", "weight: 1") + "allow_negative_weights: true\n",
        "has an unknown key 'allow_negative_weights'; known: base_model, chat_template,",
    ),
    "filter_wise for sce": (
        text("sce", "ab", "c", "filter_wise: true"),
        "sce has no such parameter",
    ),
    "lambda for sce": (text("sce", "ab", "c", "lambda: 1"), "sce has no such parameter"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_published_documents_hold_without_an_effect_is_told(name: str) -> None:
    document, sentence = PUBLIC[name]
    with pytest.raises(RecipeError) as caught:
        read(document)
    assert sentence in str(caught.value)
    (told,) = read(document, as_mergekit=True).ignored
    assert ": ignored, as in mergekit" in told


def test_a_model_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"line 4, key 'models.1.model': it is listed twice"):
        read(text("karcher", "aa"))


def test_as_mergekit_a_density_outside_is_the_nearest_and_sums_of_0_are_told() -> None:
    document = read(text("ties", "ab", "c", "weight: 1, density: [2, -1]"), as_mergekit=True)
    assert [one.split(": ")[0] for one in document.ignored] == [
        "It, line 6, key 'parameters.density.0'",
        "It, line 6, key 'parameters.density.1'",
    ]
    module = document.modules[0]
    values = Values(document, module, with_base(document, parts_of(module)[0]))
    assert [values.of(A, "x", t)["density"] for t in (0, 0.5, 1)] == [1, 0.5, 0]
    weights = REFUSED["weights of nuslerp"][0]
    assert "sum to 0" in read(weights, as_mergekit=True).ignored[0]


def test_a_value_that_nearer_ones_hide_everywhere_is_noted() -> None:
    document = read("""
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 1, density: [{filter: mlp, value: 0.1}]}}
  - {model: b, parameters: {weight: 2}}
parameters: {weight: 3, density: 0.5}
""")
    assert document.notes == (
        "It, line 7, key 'parameters.weight': it is never used, as nearer ones are for all"
        " tensors.",
    )


def test_a_method_in_a_file_is_used_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("""
from dataclasses import dataclass
from onefold.checkpoints.methods import Method, methods
from onefold.checkpoints.methods.parameters import setting

@methods.register("halfway")
@dataclass(frozen=True)
class Halfway(Method):
    share: float = setting(0.5, low=0.0, high=1.0)

    def block(self, prepared, plan, start, stop):
        return prepared.inputs.read(0, start, stop) * self.share
""")
    try:
        with pytest.raises(
            RecipeError, match=r"runs the code of .*mine\.py; read it, and give --tr"
        ):
            read(text("mine.py:halfway", "a", "", "share: 0.25"))
        assert "halfway" not in methods
        document = trusted(text("mine.py:halfway", "a", "", "share: 0.25"))
        module = document.modules[0]
        values = Values(document, module, parts_of(module)[0])
        assert values.method_at("x").share == 0.25  # type: ignore[attr-defined]
        with pytest.raises(RecipeError, match=r"key 'parameters.share': it is 2; it must be"):
            trusted(text("mine.py:halfway", "a", "", "share: 2"))
        with pytest.raises(RecipeError, match=r"mine.py registers no checkpoint method 'other'"):
            trusted(text("mine.py:other", "a"))
        with pytest.raises(RecipeError, match=r"none.py cannot be read: No such file"):
            trusted(text("none.py:other", "a"))
    finally:
        methods.unregister("halfway")
