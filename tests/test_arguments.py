"""Types of arguments: what is taken, what is refused, and in which words."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import onefold
from onefold.arguments import check_fields, checked
from onefold.errors import DataError, MembersError, OnefoldError, SettingError

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

M = TypeVar("M", bound=nn.Module)


class Shaped(Protocol):
    """A kind that cannot be judged."""

    shape: int


@dataclass(frozen=True)
class Knob:
    """Settings."""

    turns: int = 1
    slack: float | None = None
    kind: ClassVar[str] = "knob"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Screw(Knob):
    """Settings with one more field."""

    thread: Literal["left", "right"] = "right"


@checked
def everything(
    models: Sequence[M],
    data: Iterable[Any] | None = None,
    *,
    network: nn.Module | None = None,
    count: int = 1,
    rate: float = 0.5,
    flag: bool = False,
    name: str = "a",
    path: str | os.PathLike[str] = "a",
    choice: Literal["x", "y"] | None = None,
    shares: Sequence[float] | Tensor | None = None,
    table: Sequence[Sequence[int]] = (),
    pair: tuple[float, float] = (0.0, 1.0),
    knob: str | Knob = "",
    call: Callable[[int], int] | None = None,
    points: Iterable[float] = (),
    texts: Mapping[str, str] | None = None,
    device: torch.device | str | None = None,
    anything: Any = None,
    thing: object = None,
    shaped: Shaped | None = None,
    missing: Missing | None = None,
    **rest: int,
) -> dict[str, Any]:
    """What was given."""
    return {name: value for name, value in locals().items() if name not in ("models", "rest")}


MODELS = [nn.Linear(2, 2), nn.Linear(2, 2)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", []),
        ("data", iter([])),
        ("data", torch.utils.data.DataLoader([1])),
        ("network", nn.Linear(1, 1)),
        ("count", -3),
        ("rate", 3),
        ("rate", float("nan")),
        ("path", Path("a")),
        ("choice", "z"),  # names are checked by the functions
        ("shares", torch.ones(2)),
        ("shares", (1, 2.5)),
        ("table", [[1, 2], (3,)]),
        ("pair", [0, 1.0]),
        ("knob", Knob()),
        ("knob", Screw()),
        ("call", abs),
        ("points", range(3)),
        ("texts", {}),
        ("device", torch.device("cpu")),
        ("anything", dict),
        ("thing", dict),
        ("shaped", 3),
        ("missing", 3),
    ],
)
def test_values_that_fit_pass_as_they_are(name: str, value: Any) -> None:
    assert everything(MODELS, **{name: value})[name] is value


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("count", np.int64(3), 3),
        ("count", torch.tensor(3), 3),
        ("rate", np.float32(0.5), 0.5),
        ("rate", torch.tensor(0.5), 0.5),
        ("rate", Fraction(1, 2), 0.5),
        ("flag", np.bool_(True), True),
        ("pair", np.array([0.5, 1.0]), [0.5, 1.0]),
        ("pair", (np.float32(0.5), 1.0), (0.5, 1.0)),
        ("table", torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    ],
)
def test_numbers_of_numpy_and_torch_become_plain_ones(name: str, value: Any, plain: Any) -> None:
    got = everything(MODELS, **{name: value})[name]
    assert got == plain
    assert type(got) is type(plain)


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("count", "x", SettingError, "count as a whole number, not 'x'."),
        ("count", True, SettingError, "count as a whole number, not True."),
        ("count", 1.0, SettingError, "count as a whole number, not 1.0 (float)."),
        ("count", torch.tensor(True), SettingError, "whole number, not tensor(True) (Tensor)."),
        ("rate", "7", SettingError, "rate as a number, not '7'."),
        ("rate", np.bool_(True), SettingError, "rate as a number, not"),
        ("rate", 1j, SettingError, "rate as a number, not 1j (complex)."),
        ("flag", 1, SettingError, "flag as True or False, not 1 (int)."),
        (
            "name",
            None,
            SettingError,
            "name as a string, not None; leave it out for its default, 'a'.",
        ),
        ("path", 3, SettingError, "path as a string or a path, not 3 (int)."),
        ("choice", 3, SettingError, "choice as 'x', 'y' or None, not 3 (int)."),
        ("shares", "12", SettingError, "shares as a list of numbers, a tensor or None, not '12'."),
        ("shares", [1, "a"], SettingError, "not [1, 'a'] (list)."),
        ("shares", {1: 2}, SettingError, "not {1: 2} (dict)."),
        ("table", [1], SettingError, "table as a list of lists of whole numbers, not [1] (list)."),
        ("pair", 0.5, SettingError, "pair as a list of numbers, not 0.5 (float)."),
        ("knob", Knob, SettingError, "a Knob, not the class Knob; write Knob()."),
        ("knob", dict, SettingError, "a Knob, not the class dict."),
        ("call", dict, SettingError, "call as a function or None, not the class dict."),
        ("points", 0.5, SettingError, "points as a list of numbers, not 0.5 (float)."),
        ("texts", [], SettingError, "texts as a dict or None, not [] (list)."),
        ("device", 0, SettingError, "device as a device, a string or None, not 0 (int)."),
        ("network", "a.pt", MembersError, "not 'a.pt'; load it by network.load_state"),
        ("data", 7, DataError, "data as a list or DataLoader of batches or None, not 7 (int)."),
        ("data", {}, DataError, "not {} (dict)."),
        ("data", nn.Sequential(), DataError, "not Sequential() (Sequential)."),
    ],
)
def test_other_values_get_one_sentence(
    name: str, value: Any, error: type[OnefoldError], sentence: str
) -> None:
    with pytest.raises(error) as raised:
        everything(MODELS, **{name: value})
    assert str(raised.value).startswith(f"everything takes {name} as ")
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (MODELS[0], "1 network was given; pass a list of them."),
        (
            [MODELS[0], {}],
            "Member 1 is a dict, not an nn.Module; load it into its network first, by",
        ),
        (["a.pt"], "Member 0 is the path 'a.pt', not an nn.Module; load it by network.load"),
        ([nn.Linear], "Member 0 is the class Linear, not an nn.Module;"),
        ("a.pt", "everything takes models as a list of networks, not 'a.pt'; load it by"),
        (None, "everything takes models as a list of networks, not None."),
    ],
)
def test_what_is_no_list_of_networks(models: Any, sentence: str) -> None:
    for call in (lambda: everything(models), lambda: everything(models=models)):
        with pytest.raises(MembersError) as raised:
            call()
        assert str(raised.value).startswith(sentence)


def test_none_for_what_has_a_default_is_told_the_default() -> None:
    @checked
    def step(
        data: Iterable[Any],
        align: str = "auto",
        repair: str = "full",
        level: str = "layer",
        passes: int = 0,
        rate: float = 0.5,
        flag: bool = True,
    ) -> None:
        """Has defaults."""

    for name, end in (
        ("data", "not None."),
        ("align", "not None; leave it out for its default, 'auto', or write 'none'."),
        ("repair", "not None; leave it out for its default, 'full', or write 'none'."),
        ("level", "not None; leave it out for its default, 'layer'."),
        ("passes", "not None; leave it out for its default, 0."),
        ("rate", "not None; leave it out for its default, 0.5."),
        ("flag", "not None; leave it out for its default, True."),
    ):
        with pytest.raises(OnefoldError) as raised:
            step(**{"data": [], name: None})
        assert str(raised.value).endswith(end)


def test_a_module_list_and_other_sequences_of_networks_pass() -> None:
    everything(nn.ModuleList(MODELS))
    everything(tuple(MODELS))
    everything(())


def test_missing_and_unknown_arguments_are_left_to_python() -> None:
    with pytest.raises(TypeError, match=r"everything\(\) missing 1 required positional"):
        everything()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes from 1 to 2 positional"):
        everything(MODELS, [], 3)  # type: ignore[call-arg]
    assert everything(MODELS, unknown="no hint is used") is not None  # type: ignore[arg-type]


def test_fields_are_checked_those_of_bases_too_and_become_plain() -> None:
    with pytest.raises(SettingError, match=r"Screw takes turns as a whole number, not '2'\."):
        Screw(turns="2")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"Screw takes thread as 'left' or 'right', not None\."):
        Screw(thread=None)  # type: ignore[arg-type]
    assert type(Knob(np.int64(3)).turns) is int  # type: ignore[arg-type]
    assert Knob(2, 0.5) == Knob(turns=2, slack=0.5)


def test_signature_name_and_docstring_stay() -> None:
    assert everything.__name__ == "everything"
    assert everything.__doc__ == "What was given."
    assert list(inspect.signature(everything).parameters)[:3] == ["models", "data", "network"]


def test_methods_are_named_by_their_class() -> None:
    class Box:
        @checked
        def __init__(self, size: int) -> None:
            self.size = size

    assert Box(3).size == 3
    with pytest.raises(SettingError, match=r"Box takes size as a whole number, not 'a'\."):
        Box("a")  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=5,
)
NAMES = sorted(set(inspect.signature(everything).parameters) - {"models", "rest"})


@given(st.sampled_from(NAMES), VALUES)
def test_any_value_passes_or_gets_one_short_sentence(name: str, value: Any) -> None:
    try:
        everything(MODELS, **{name: value})
    except OnefoldError as error:
        text = str(error)
        assert text.startswith(f"everything takes {name} as ")
        assert text.endswith(".")
        assert "\n" not in text
        assert len(text) <= 300


@pytest.mark.parametrize(
    "made",
    [
        lambda: (network for network in MODELS),
        lambda: map(nn.Module.eval, MODELS),
        lambda: iter(MODELS),
        lambda: nn.ModuleList(MODELS),
    ],
)
def test_networks_that_come_one_by_one_are_a_list(made: Any) -> None:
    data = [torch.randn(4, 2)]
    assert onefold.merge(
        made(), data, align="none", repair="none", fold="average"
    ).report.members == len(MODELS)


def test_a_dict_of_networks_is_told_how_to_be_a_list() -> None:
    networks = {str(k): network for k, network in enumerate(MODELS)}
    for several in (networks, nn.ModuleDict(networks)):
        with pytest.raises(MembersError, match=r"list\(models\.values\(\)\)"):
            onefold.merge(several, None, fold="average")
