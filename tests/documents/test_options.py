"""The options that the keys of a document make, and the document that they make again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from onefold.documents import Flag, InputFile, OneOf, Part, checked
from onefold.documents.options import (
    Option,
    needed,
    nested,
    options_of,
    options_of_dataclass,
    source_of,
)
from onefold.errors import RecipeError
from onefold.registry import FAMILIES, Registry

tools: Registry[Any] = Registry("tool of a test")
del FAMILIES["tool of a test"]


@tools.register("saw")
@dataclass(frozen=True)
class Saw:
    """Cuts.

    Attributes:
        teeth: How many teeth.
    """

    teeth: int = 8


class Place(Part):
    source: str = Field(description="A place.")
    skip: int = Field(default=0, ge=0, description="Leave out so many.")


class Work(Part):
    files: Annotated[tuple[InputFile, ...], Flag(metavar="FILES...")] = Field(
        default=(), description="The files."
    )
    place: Place = Field(description="Where.")
    trial: Annotated[Place | None, Flag(prefix="trial-", panel="Trying")] = None
    tool: Annotated[Any, OneOf(tools), Flag(panel="Tools")] = Field(
        default="saw", description="A tool."
    )
    shares: tuple[float, ...] | None = Field(default=None, description="Numbers.")
    kind: Literal["a", "b"] = Field(default="a", description="A kind.")
    max_size: Annotated[int | None, Flag(short="-m")] = Field(default=None, description="A size.")
    quick: bool = Field(default=False, description="Hurry.")
    hidden: Annotated[int, Flag(hidden=True)] = 3


OPTIONS = {option.name: option for option in options_of(Work)}


def test_every_key_has_its_option_and_no_other_has() -> None:
    assert list(OPTIONS) == [
        "files",
        "source",
        "skip",
        "trial-source",
        "trial-skip",
        "tool",
        "shares",
        "kind",
        "max-size",
        "quick",
        "teeth",
    ]


@pytest.mark.parametrize(
    ("name", "keys", "text"),
    [
        ("source", ("place", "source"), "Where. A place."),
        ("trial-skip", ("trial", "skip"), "Leave out so many (default 0)."),
        ("tool", ("tool", "name"), "A tool. One of: saw (default saw)."),
        ("teeth", ("tool", "teeth"), "How many teeth. For saw (default 8)."),
        ("kind", ("kind",), "A kind (default a)."),
        ("max-size", ("max_size",), "A size."),
    ],
)
def test_an_option_says_its_key_and_its_default(
    name: str, keys: tuple[str, ...], text: str
) -> None:
    assert OPTIONS[name].keys == keys
    assert OPTIONS[name].help == text


def test_panels_and_letters_are_those_of_the_flags() -> None:
    panels = {name: option.flag.panel for name, option in OPTIONS.items() if option.flag.panel}
    assert panels == {
        "trial-source": "Trying",
        "trial-skip": "Trying",
        "tool": "Tools",
        "teeth": "Tools",
    }
    assert OPTIONS["max-size"].flag.short == "-m"
    assert OPTIONS["max-size"].variable == "max_size"


def test_what_is_given_becomes_the_document() -> None:
    given = {
        "files": ["x", "y"],
        "source": "here",
        "skip": None,
        "trial_source": "there",
        "teeth": 3,
        "tool": "saw",
        "shares": "0.5,1",
        "max_size": 7,
        "quick": True,
    }
    content = nested(list(OPTIONS.values()), given)
    assert content["place"] == {"source": "here"}  # what was not given is not there
    work = checked(Work, content, source_of("The work", list(OPTIONS.values())))
    assert [file.path for file in work.files] == ["x", "y"]
    assert (work.tool, work.shares, work.max_size, work.quick) == (Saw(3), (0.5, 1.0), 7, True)
    assert work.trial is not None
    assert work.trial.source == "there"


@pytest.mark.parametrize("text", ["a,b", "", "0.5;1", "1,,2"])
def test_malformed_numbers_are_refused_by_the_option(text: str) -> None:
    with pytest.raises(RecipeError, match="--shares takes numbers separated by commas"):
        OPTIONS["shares"].value(text)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({}, ["source"]),
        ({"place": {"skip": 2}}, ["source"]),
        ({"place": "here"}, ["source"]),
        ({"place": {"source": "here"}}, []),
    ],
)
def test_what_is_needed_and_left_out_is_known(content: dict[str, Any], names: list[str]) -> None:
    assert [option.name for option in needed(list(OPTIONS.values()), content)] == names


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"place": {"source": "x", "skip": -1}}, "--skip"),
        ({"place": {"source": "x"}, "trial": {"source": "x", "skip": -1}}, "--trial-skip"),
        ({"place": {"source": "x"}, "tool": {"name": "axe"}}, "--tool"),
        ({"place": {"source": "x"}, "tool": {"name": "saw", "teeth": "many"}}, "--teeth"),
        ({"place": {"source": "x"}, "files": 3}, "FILES"),
    ],
)
def test_errors_name_the_option(content: dict[str, Any], named: str) -> None:
    with pytest.raises(RecipeError, match=rf"^The work, {named}: "):
        checked(Work, content, source_of("The work", list(OPTIONS.values())))


def test_fields_of_a_dataclass_are_options_too() -> None:
    (option,) = options_of_dataclass(Saw)
    assert isinstance(option, Option)
    assert (option.name, option.keys, option.help) == ("teeth", ("teeth",), "How many teeth.")
    assert option.flag.always
