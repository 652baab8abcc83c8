"""Filters compared with the names of tensors."""

from __future__ import annotations

import pytest

from onefold.checkpoints.document import Document, Place, Reference, check_filters, parse_documents
from onefold.errors import RecipeError

A, B = Reference(Place("a")), Reference(Place("b"))
START = "merge_method: linear\nmodels:\n  - model: a\n"
NAMES = ["layers.0.self_attn.q_proj.weight", "layers.0.mlp.up_proj.weight", "norm.weight"]


def read(text: str, as_mergekit: bool = False) -> Document:
    return parse_documents(text, "The document c.yml", as_mergekit)[0]


def test_a_filter_that_fits_no_tensor_is_refused_with_the_nearest_name() -> None:
    text = START + "parameters: {weight: [{filter: self_atn, value: 1}, {value: 2}]}\n"
    with pytest.raises(RecipeError) as caught:
        check_filters(read(text), NAMES, {A: NAMES})
    assert str(caught.value) == (
        "The document c.yml, line 4, key 'parameters.weight.0.filter': no tensor has 'self_atn' in"
        " its name; did you mean 'self_attn'?"
    )
    (told,) = check_filters(read(text, as_mergekit=True), NAMES, {A: NAMES})
    assert "ignored, as in mergekit: no tensor has 'self_atn' in its name" in told


def test_filters_are_compared_with_the_names_that_they_are_meant_for() -> None:
    text = """
merge_method: linear
models:
  - {model: a, parameters: {weight: [{filter: norm, value: 1}, {value: 1}]}}
  - {model: b, parameters: {weight: 2}}
parameters: {normalize: [{filter: mlp, value: false}]}
"""
    document = read(text)
    assert check_filters(document, ["mlp"], {A: ["norm"], B: ["x"]}) == []
    for output, inputs in (
        (["mlp"], {A: ["mlp"], B: ["norm"]}),
        (["norm"], {A: ["norm", "mlp"], B: ["mlp"]}),
    ):
        with pytest.raises(RecipeError, match="no tensor has"):
            check_filters(document, output, inputs)
