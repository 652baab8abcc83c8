"""Names chosen by patterns, by themselves or by a module around them."""

from __future__ import annotations

import pytest

from onefold.errors import SettingError
from onefold.patterns import around, as_list, choose, matches, select

NAMES = ["stem.weight", "stages.0.conv.weight", "stages.1.conv.weight", "head.weight"]


def test_a_name_and_the_modules_around_it() -> None:
    assert list(around("stages.0.conv")) == ["stages.0.conv", "stages.0", "stages"]
    assert list(around("")) == []


def test_one_pattern_several_or_none() -> None:
    assert as_list("a.*") == ["a.*"]
    assert as_list(("a", "b")) == ["a", "b"]
    assert as_list(None) is None


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, [0, 1, 2, 3]),
        ("stages", None, [1, 2]),
        ("stages.?", "stages.1", [1]),
        (["stem", "*.weight"], "stages.*", [0, 3]),
        ("stages.[!0].conv", None, [2]),
    ],
)
def test_patterns_choose_names(include: object, exclude: object, expected: list[int]) -> None:
    found = select(NAMES, include, exclude)  # type: ignore[arg-type]
    assert found == [NAMES[k] for k in expected]


def test_one_of_several_names_of_an_item_is_enough() -> None:
    items = {"a": ["first", "tied"], "b": ["second"]}
    assert choose(list(items), items.__getitem__, "tied", None) == ["a"]
    assert choose(list(items), items.__getitem__, None, "tied") == ["b"]


def test_case_and_parts_of_names_count() -> None:
    assert matches("stages.0.conv", "stages")
    assert not matches("stages.0.conv", "Stages")
    assert not matches("stages.0.conv", "stage")
    assert not matches("stages.0.conv", None)


@pytest.mark.parametrize(
    ("include", "exclude", "sentence"),
    [
        ([], None, "The list `include` is empty"),
        ("hed", None, "'hed' of `include` matches no part.*did you mean 'head'"),
        (None, "tail", "'tail' of `exclude` matches no part"),
        ("stem", "stem", "No part of the network is left"),
    ],
)
def test_patterns_that_choose_nothing_are_refused(
    include: object, exclude: object, sentence: str
) -> None:
    with pytest.raises(SettingError, match=sentence):
        select(["stem", "head"], include, exclude)  # type: ignore[arg-type]
