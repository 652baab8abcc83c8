"""Families of methods: members are registered, found by name and removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onefold.errors import SettingError
from onefold.registry import FAMILIES, Registry, description, found


@pytest.fixture
def family() -> Iterator[Registry[object]]:
    found: Registry[object] = Registry("trial")
    yield found
    del FAMILIES["trial"]


def test_members_are_found_by_each_name_and_sorted(family: Registry[object]) -> None:
    def second() -> None:
        """Comes second.

        More of it.
        """

    family.register("zeta", "alpha")(second)
    family.register("mid", summary="In between.")("a value")
    assert family.get("zeta") is family.get("alpha") is second
    assert family.names() == ["alpha", "mid", "zeta"]
    assert [(entry.name, entry.summary) for entry in family] == [
        ("alpha", "Comes second."),
        ("mid", "In between."),
        ("zeta", "Comes second."),
    ]
    assert "mid" in family
    assert "other" not in family
    assert FAMILIES["trial"] is family


def test_a_taken_name_and_an_unknown_one_are_refused(family: Registry[object]) -> None:
    family.register("known")(1)
    with pytest.raises(SettingError, match="trial 'known' is registered already"):
        family.register("known")(2)
    assert family.get("known") == 1
    with pytest.raises(SettingError, match="no trial named 'knwon'; did you mean 'known'"):
        family.get("knwon")


def test_a_member_that_was_removed_can_be_registered_again(family: Registry[object]) -> None:
    family.register("known")(1)
    family.unregister("known", "never there")
    assert "known" not in family
    family.register("known")(2)
    assert family.get("known") == 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("zeta", ["zeta"]),
        ("IN BETWEEN", ["mid"]),
        ("m?d", ["mid"]),
        ("between*second", []),
        ("*", ["mid", "zeta"]),
        ("[", []),
    ],
)
def test_members_are_found_by_patterns_of_name_and_summary(
    family: Registry[object], pattern: str, names: list[str]
) -> None:
    family.register("zeta", summary="Comes second.")("a value")
    family.register("mid", summary="In between.")("a value")
    assert [entry.name for entry in found(pattern).get("trial", [])] == names


def test_a_kind_names_all_members_and_kinds_without_any_are_left_out(
    family: Registry[object],
) -> None:
    assert "trial" not in found("trial")
    family.register("mid", summary="In between.")("a value")
    assert [entry.name for entry in found("Trial")["trial"]] == ["mid"]


def test_a_description_ends_before_what_is_raised(family: Registry[object]) -> None:
    @family.register("told")
    def told() -> None:
        """One line.

        And another.

        Raises:
            SettingError: never.
        """

    family.register("bare")(3)
    entries = {entry.name: entry for entry in family}
    assert description(entries["told"]) == "One line.\n\nAnd another."
    assert description(entries["bare"]) == (int.__doc__ or "").split("\nRaises:")[0].rstrip()
