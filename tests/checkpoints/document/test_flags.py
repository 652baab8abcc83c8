"""Documents made of flags: what they hold, and that messages name the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onefold.checkpoints.document import Place, Reference, document_of, parse_documents, yaml_of
from onefold.errors import RecipeError, SettingError


def test_flags_stand_for_the_document_that_a_file_could_hold() -> None:
    made = document_of(
        ["a", "b@v1"],
        "task_arithmetic",
        "base",
        {"weight": [0.5, 1], "lambda": 0.3},
        dtype="bfloat16",
        out_dtype="float16",
        tokenizer="union",
        chat_template="auto",
    )
    text = """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b@v1, parameters: {weight: 1}}
parameters: {lambda: 0.3}
dtype: bfloat16
out_dtype: float16
tokenizer_source: union
chat_template: auto
"""
    assert parse_documents(text, "It") == (made,)
    assert parse_documents(yaml_of(made), "It") == (made,)


def test_one_value_is_for_all_models_and_a_weight_that_is_left_out_is_1() -> None:
    made = document_of(["a", "b"], "linear", settings={"normalize": False})
    assert {name: setting[0].value for name, setting in made.parameters.items()} == {
        "normalize": False,
        "weight": 1.0,
    }
    assert made.notes == ("The weight of every model is 1; others are given by --weight.",)


def test_texts_of_a_command_are_numbers_and_gradients() -> None:
    made = document_of(
        ["a", "b"], "ties", "c", {"weight": ("1", "0, 1"), "density": "0.5", "normalize": "no"}
    )
    text = """
merge_method: ties
base_model: c
models:
  - {model: a, parameters: {weight: 1}}
  - {model: b, parameters: {weight: [0, 1]}}
parameters: {density: 0.5, normalize: false}
"""
    assert parse_documents(text, "It") == (made,)


def test_of_two_models_the_first_is_the_base() -> None:
    made = document_of(["a", "b"], "slerp", settings={"t": 0.5})
    assert made.base == Reference(Place("a"))
    assert made.notes == ("The base is a, the first model; another is given by --base.",)
    with pytest.raises(RecipeError, match=r"^onefold merge needs --t\.$"):
        document_of(["a", "b"], "slerp")
    with pytest.raises(RecipeError, match=r"--method: ties needs a base; give --base\."):
        document_of(["a", "b"], "ties")


def test_the_base_may_be_among_the_models() -> None:
    made = document_of(["a", "base", "b"], "ties", "base", {"weight": [1, 2], "density": 0.5})
    weights = [one.parameters.get("weight") for one in made.modules[0].inputs]
    assert [found and found[0].value for found in weights] == [1, None, 2]


def test_a_folder_is_taken_by_its_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v1+2@x").mkdir()
    made = document_of([Path("v1+2@x"), "org/a+lora"], "linear")
    assert made.models() == (Reference(Place("v1+2@x")), Reference(Place("org/a"), Place("lora")))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"settings": {"weight": [1, 2, 3]}},
            "onefold merge, --weight: it is given 3 times for 2 models; give it once, or once for"
            " each model in their order.",
        ),
        (
            {"settings": {"normalize": [True, False]}},
            "onefold merge, --normalize: it is one value for the whole merge; give it once.",
        ),
        (
            {"settings": {"normalise": True}},
            "onefold merge takes no --normalise for linear; did you mean 'normalize'?",
        ),
        ({"settings": {"weight": "much"}}, "onefold merge, --weight: it is 'much', not a number."),
        (
            {"settings": {"weight": [1, -1]}},
            "onefold merge, the models: the weights of linear sum to 0; change one, or set"
            " normalize to false.",
        ),
        (
            {"method": "task_arithmetic"},
            "onefold merge, --method: task_arithmetic needs a base; give --base.",
        ),
        (
            {"method": "linea"},
            "onefold merge, --method: there is no method 'linea'; did you mean 'linear'?",
        ),
        (
            {"dtype": "bf16"},
            "onefold merge, --dtype: there is no such dtype; did you mean 'bfloat16'? (found:"
            " 'bf16').",
        ),
        (
            {"members": ["a", "a"]},
            "onefold merge, the models: it is listed twice; list it once (found: 'a').",
        ),
        ({"members": []}, "onefold merge, the models: linear needs models; name their folders."),
    ],
)
def test_what_is_wrong_is_told_by_its_flag(arguments: dict[str, Any], sentence: str) -> None:
    given = {"members": ["a", "b"], "method": "linear", **arguments}
    with pytest.raises(RecipeError) as caught:
        document_of(**given)
    assert str(caught.value) == sentence


def test_a_list_for_every_model_is_told_to_run_along_the_layers() -> None:
    (note,) = document_of(["a", "b"], "linear", settings={"weight": "0.2,0.8"}).notes
    assert note.startswith("The values of --weight run from the first layer to the last")
    assert document_of(["a", "b"], "linear", settings={"weight": ("0.2", "0.8")}).notes == ()


@pytest.mark.parametrize("members", ["code", Path("code"), None, {"code": 1}, 3])
def test_members_that_are_no_list_are_refused(members: Any) -> None:
    with pytest.raises(SettingError, match="takes `members` as a list of paths or names, not"):
        document_of(members, "linear")


@pytest.mark.parametrize("values", [(1.0, 2.0), (1.0, 2.0, 3.0)])
def test_values_one_by_one_need_a_base_that_is_one_more_model_to_be_listed(
    values: tuple[float, ...],
) -> None:
    with pytest.raises(RecipeError, match="so that base is one more model and needs a value"):
        document_of(["a", "b"], "linear", "base", {"weight": values})
    made = document_of(["base", "a", "b"], "linear", "base", {"weight": (1.0, 2.0, 3.0)})
    assert len(made.modules[0].inputs) == 3
    assert document_of(["a", "b"], "linear", "base", {"weight": 2.0}).base is not None
    assert document_of(["a", "b"], "linear", "base", {"weight": (2.0,)}).base is not None
