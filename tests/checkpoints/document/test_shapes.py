"""Documents of all shapes in use: what is read of them, and that they come back from YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.checkpoints.shapes import OWN, VALID
from onefold.checkpoints.document import (
    Document,
    Place,
    Reference,
    TokenOf,
    Values,
    finish_of,
    mergekit_yaml,
    parse_documents,
    position,
    record_of,
    slices_of,
    yaml_of,
)
from onefold.checkpoints.document.references import Located
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.checkpoints.document.write import MERGEKIT
from onefold.checkpoints.methods.base import methods

ALL = {**VALID, **OWN}


def reference(path: str) -> Reference:
    return Reference(Place(path))


def documents(name: str) -> tuple[Document, ...]:
    return parse_documents(ALL[name], "The document c.yml")


def values(name: str, index: int = 0) -> Values:
    (document,) = documents(name)
    module = document.modules[0]
    return Values(document, module, with_base(document, parts_of(module)[index]))


def test_there_are_documents_of_every_method() -> None:
    used = {document.method for name in VALID for document in documents(name)}
    assert used == set(MERGEKIT)
    assert len(ALL) >= 40
    assert set(MERGEKIT) <= set(methods.names())


@pytest.mark.parametrize("name", ALL)
def test_a_document_is_read_alike_in_both_ways_and_comes_back_from_yaml(name: str) -> None:
    found = documents(name)
    lenient = parse_documents(ALL[name], "It", as_mergekit=True)
    assert found == lenient
    assert not any(document.ignored for document in lenient)
    assert parse_documents(yaml_of(found), "It") == found


@pytest.mark.parametrize("name", ALL)
def test_only_documents_that_mergekit_knows_are_written_for_it(name: str) -> None:
    for document in documents(name):
        text = mergekit_yaml(document)
        assert (text is None) == (name in OWN)


def test_every_key_has_its_line() -> None:
    (document,) = documents("slerp with gradients by filter")
    module = document.modules[0]
    assert document.line(("merge_method",)) == 8
    assert [document.line(one.at) for one in module.slices[0].inputs] == [4, 6]
    assert [document.line(entry.at) for entry in document.parameters["t"]] == [13, 15, 16]
    assert [entry.filter for entry in document.parameters["t"]] == ["self_attn", "mlp", None]


def test_the_gradient_that_slerp_is_mostly_used_with() -> None:
    found = values("slerp with gradients by filter")
    layers = [found.method_at("layers.0.self_attn.q.w", position(i, 32)).t for i in (0, 8, 31)]  # type: ignore[attr-defined]
    assert layers == [0, pytest.approx(0.5 - 0.2 * (8 / 31 * 4 - 1)), 1]
    assert found.method_at("lm_head.weight").t == 0.5  # type: ignore[attr-defined]


def test_gradients_run_within_each_slice() -> None:
    name = "slerp in two slices"
    assert values(name).method_at("x", 1.0).t == 0.2  # type: ignore[attr-defined]
    second = values(name, 1)
    assert [second.method_at("x", place).t for place in (0, 1)] == [0.2, 0.8]  # type: ignore[attr-defined]


def test_layers_may_be_repeated_and_left_out() -> None:
    (document,) = documents("passthrough with the head of another")
    parts = slices_of(document, document.modules[0], {reference("a"): 16, reference("b"): 16})
    assert [part.inputs[0].layers for part in parts] == [(0, 16), (16, 16)]


def test_modules_have_values_of_their_own() -> None:
    (document,) = documents("modules of two towers")
    text, vision = document.modules
    for module, expected in ((text, {"a": 1, "b": 2}), (vision, {"a": 3, "b": 3})):
        found = Values(document, module, parts_of(module)[0])
        assert {path: found.of(reference(path), "x")["weight"] for path in ("a", "b")} == expected


def test_a_slice_may_have_a_base_of_its_own() -> None:
    name = "a base for a slice of its own"
    assert values(name).base == reference("base")
    second = values(name, 1)
    assert second.base == reference("other")
    assert second.of(reference("other"), "x") == {}


def test_references_in_both_forms() -> None:
    (document,) = documents("long references")
    first, second = (one.model for one in document.modules[0].inputs)
    assert first == Reference(Place("org/a", "main"), Place("org/l"), "LlamaForCausalLM")
    assert second == reference("org/b")
    (document,) = documents("adapters on one base")
    assert [str(model) for model in document.models()] == [
        "org/base",
        "org/base+org/first-lora",
        "org/base@v2+org/second-lora@main",
    ]
    assert values("revisions").part.inputs[2].model == reference("./odd+name")


def test_tokens_have_their_sources() -> None:
    (document,) = documents("a tokenizer with tokens")
    assert document.tokenizer is not None
    tokens = document.tokenizer.tokens
    assert document.tokenizer.pad_to_multiple_of == 64
    assert tokens["<|im_start|>"].source == reference("b")
    assert tokens["<|im_end|>"].source == TokenOf(reference("b"), token="<|end|>")
    assert tokens["<|im_end|>"].force
    assert tokens["<pad>"].source == "zero"
    assert tokens["<tool>"].source == TokenOf(reference("a"), token_id=7)
    assert tokens["<new>"].source is None


def test_an_empty_tokenizer_is_a_union() -> None:
    (document,) = documents("modules as a program prints them")
    assert document.tokenizer is not None
    assert document.tokenizer.source == "union"
    assert list(document.models()) == [reference(n) for n in ("base", "a", "b")]


def test_dtypes_lose_their_prefix() -> None:
    (document,) = documents("breadcrumbs_ties")
    assert document.dtype == "bfloat16"


def test_words_and_texts_are_the_numbers_that_they_say() -> None:
    method = values("numbers as YAML 1.1 takes them").method_at("x")
    assert (method.tol, method.max_iter) == (1e-10, 20)  # type: ignore[attr-defined]
    method = values("truth values in many words").method_at("x")
    assert (method.normalize, method.rescale) == (True, False)  # type: ignore[attr-defined]
    found = values("a gradient of truth values")
    assert [found.method_at("x", t).normalize for t in (0, 0.9, 1)] == [True, True, False]  # type: ignore[attr-defined]


def test_anchors_are_what_they_stand_for() -> None:
    found = values("anchors")
    weights = [found.of(reference(path), "x")["weight"] for path in "abc"]
    assert weights == [0.5, 0.5, 0.7]


def test_several_documents_come_in_order() -> None:
    found = documents("several that refer to one another")
    assert [document.name for document in found] == ["talk", "code", None]


def test_for_mergekit_folders_stand_for_other_documents() -> None:
    *_, last = documents("several that refer to one another")
    text = mergekit_yaml(last, {"talk": Path("made/talk"), "code": Path("made/code")})
    assert text is not None
    (read,) = parse_documents(text, "It")
    assert read.models() == (reference("made/talk"), reference("made/code"))
    named = documents("several that refer to one another")[0]
    assert mergekit_yaml(named) == yaml_of(replace(named, name=None))


def test_a_step_behind_the_method_has_its_settings() -> None:
    (document,) = documents("a step with a setting")
    finish = finish_of(document)
    assert finish is not None
    assert finish.alpha == 0.2  # type: ignore[attr-defined]
    (plain,) = documents("magmax")
    assert finish_of(plain) is None


def test_the_record_says_where_models_were_found(tmp_path: Path) -> None:
    (document,) = documents("slerp of two models")
    found = {
        reference("a"): Located(tmp_path / "a"),
        reference("b"): Located(tmp_path / "b", "0123"),
    }
    assert record_of(document, found) == {
        "document": {
            "merge_method": "slerp",
            "models": [{"model": "a"}, {"model": "b"}],
            "base_model": "a",
            "parameters": {"t": 0.25},
            "dtype": "float16",
        },
        "models": {
            "a": {"path": str(tmp_path / "a")},
            "b": {"path": str(tmp_path / "b"), "commit": "0123"},
        },
    }
