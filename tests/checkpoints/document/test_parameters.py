"""Values of parameters: scalars, gradients over layers, filters, and which level counts."""

from __future__ import annotations

import pytest

from onefold.checkpoints.document.content import Entry, Place, Reference
from onefold.checkpoints.document.parameters import Values, position, read_at, scalar_of
from onefold.checkpoints.document.reading import parse_documents
from onefold.checkpoints.document.slices import parts_of, slices_of, with_base
from onefold.errors import RecipeError

A, B, BASE = (Reference(Place(name)) for name in ("a", "b", "base"))


def values_of(text: str, slice_index: int = 0) -> Values:
    (document,) = parse_documents(text, "The document c.yml")
    module = document.modules[0]
    return Values(document, module, with_base(document, parts_of(module)[slice_index]))


def test_layers_are_spread_from_0_to_1_and_a_single_one_is_at_1() -> None:
    assert [position(i, 5) for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert position(0, 1) == 1


@pytest.mark.parametrize(
    ("points", "place", "expected"),
    [
        ((0, 0.5, 0.3, 0.7, 1), 0.0, 0.0),
        ((0, 0.5, 0.3, 0.7, 1), 1.0, 1.0),
        ((0, 0.5, 0.3, 0.7, 1), 0.25, 0.5),
        ((0, 0.5, 0.3, 0.7, 1), 0.125, 0.25),
        ((0, 0.5, 0.3, 0.7, 1), 0.375, 0.4),
        ((2,), 0.5, 2.0),
        (("1e-5", "3e-5"), 0.5, 2e-5),
    ],
)
def test_a_gradient_is_linear_between_its_points(
    points: tuple[float, ...], place: float, expected: float
) -> None:
    assert read_at(Entry(points), float, place) == pytest.approx(expected)


def test_truth_values_are_chosen_and_never_interpolated() -> None:
    entry = Entry((True, False, True))
    assert [read_at(entry, bool, place) for place in (0, 0.49, 0.5, 0.99, 1)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_scalar_is_taken_for_what_it_says() -> None:
    assert scalar_of("1e-5", float) == 1e-5
    assert scalar_of("half", float) == "half"
    assert scalar_of(1, bool) is True
    assert scalar_of("No", bool) is False
    assert scalar_of(2, bool) == 2
    assert scalar_of(10.0, int) == 10
    assert isinstance(scalar_of(10.0, int), int)
    assert scalar_of(True, float) is True


LEVELS = """
merge_method: linear
modules:
  text:
    slices:
      - sources:
          - model: a
            layer_range: [0, 4]
            parameters: {weight: [{filter: mlp, value: 1}, {filter: attn, value: [2, 4]}]}
          - {model: b, layer_range: [4, 8]}
        parameters: {weight: {filter: attn, value: 5}}
      - sources:
          - {model: a, layer_range: [0, 2]}
          - {model: b, layer_range: [0, 2]}
    parameters: {weight: [{filter: attn, value: 6}, {filter: norm, value: 7}]}
parameters:
  weight: 8
  normalize: [{filter: mlp, value: false}]
"""


@pytest.mark.parametrize(
    ("tensor", "place", "of_a", "of_b", "second"),
    [
        ("l.0.mlp.w", 0.0, 1, 8, 8),
        ("l.0.attn.w", 0.0, 2, 5, 6),
        ("l.3.attn.w", 1.0, 4, 5, 6),
        ("l.3.norm.w", 1.0, 7, 7, 7),
        ("embed.w", 0.0, 8, 8, 8),
    ],
)
def test_the_nearest_level_that_fits_counts(
    tensor: str, place: float, of_a: float, of_b: float, second: float
) -> None:
    first = values_of(LEVELS)
    assert first.of(A, tensor, place) == {"weight": of_a}
    assert first.of(B, tensor, place) == {"weight": of_b}
    assert values_of(LEVELS, 1).of(A, tensor, place) == {"weight": second}
    assert first.method_at(tensor, place).normalize is ("mlp" not in tensor)  # type: ignore[attr-defined]


def test_parameters_of_models_are_found_by_the_names_in_the_models() -> None:
    text = """
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 1], parameters: {weight: {filter: layers.0, value: 2}}}
      - {model: b, layer_range: [4, 5], parameters: {weight: {filter: layers.4, value: 3}}}
parameters: {weight: 1}
"""
    values = values_of(text)
    _, given = values.merge_at("layers.0.w", {A: "layers.0.w", B: "layers.4.w"}, 1.0)
    assert given == {A: {"weight": 2}, B: {"weight": 3}}


BASED = """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: [0, 1]}}
parameters: {lambda: 0.3}
"""


def test_a_base_that_others_are_compared_with_has_no_parameters() -> None:
    values = values_of(BASED)
    assert [one.model for one in values.part.inputs] == [A, B, BASE]
    method, given = values.merge_at("w", {A: "w", B: "w", BASE: "w"}, 0.5)
    assert given == {A: {"weight": 0.5, "density": 1}, B: {"weight": 0.5, "density": 1}, BASE: {}}
    assert method.lambda_ == 0.3  # type: ignore[attr-defined]


def test_a_base_of_a_method_without_one_is_one_more_model() -> None:
    text = "{merge_method: linear, base_model: base, models: [{model: a}], parameters: {weight: 2}}"
    values = values_of(text)
    assert values.of(BASE, "w") == {"weight": 2}
    assert "one more of the models" in values.document.notes[0]


def test_a_value_that_no_level_has_for_a_tensor_is_missing() -> None:
    text = (
        "{merge_method: linear, models: [{model: a}], parameters: {weight: {filter: x, value: 1}}}"
    )
    values = values_of(text)
    assert values.of(A, "x.w") == {"weight": 1}
    with pytest.raises(RecipeError, match=r"line 1.*at 'y.w', 'weight' of a has no value"):
        values.of(A, "y.w")


def test_weights_that_sum_to_0_at_one_tensor_are_refused_with_its_name() -> None:
    text = """
merge_method: linear
models:
  - {model: a, parameters: {weight: [{filter: mlp, value: 1}, {value: 2}]}}
  - {model: b, parameters: {weight: -1}}
"""
    values = values_of(text)
    values.merge_at("attn", {A: "attn", B: "attn"})
    with pytest.raises(RecipeError, match=r"line 3, key 'models': at 'mlp', the weights of linear"):
        values.merge_at("mlp", {A: "mlp", B: "mlp"})


def test_ranges_of_layers_are_compared_with_the_models() -> None:
    (document,) = parse_documents(LEVELS, "The document c.yml")
    module = document.modules[0]
    parts = slices_of(document, module, {A: 4, B: 8})
    assert [one.layers for one in parts[0].inputs] == [(0, 4), (4, 8)]
    with pytest.raises(RecipeError, match=r"line 10.*\[4, 8\] ends behind the last layer of b"):
        slices_of(document, module, {A: 4, B: 7})


def test_listed_models_have_all_of_their_layers_and_equally_many() -> None:
    (document,) = parse_documents(BASED, "The document c.yml")
    (part,) = slices_of(document, document.modules[0], {A: 3, B: 3, BASE: 3})
    assert [one.layers for one in part.inputs] == [(0, 3)] * 3
    with pytest.raises(RecipeError, match=r"line 6.*b has 4 layers, and a has 3; choose layers"):
        slices_of(document, document.modules[0], {A: 3, B: 4, BASE: 3})
    with pytest.raises(RecipeError, match=r"line 3.*base has 2 layers, and a has 3"):
        slices_of(document, document.modules[0], {A: 3, B: 3, BASE: 2})
