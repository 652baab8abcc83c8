"""YAML as plain data: what is taken, what is refused, and at which line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from onefold.documents.reading import read_yaml
from onefold.documents.yaml_text import DEEPEST, MOST, plain_data, plain_documents, text_from
from onefold.errors import RecipeError

REFUSED = {
    "a key twice": ("seed: 1\nseed: 2\n", "line 2: the key 'seed' is given twice; give it once."),
    "a key twice inside": ("data: {skip: 1, skip: 1}\n", "line 1: the key 'skip' is given twice"),
    "a merged key twice": ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}", "line 2: the key 'd' is given"),
    "a key that is a number": ("5: 1\n", "line 1: the key '5' is no text."),
    "a key that is a list": ("? [a]\n: 1\n", "the key of a mapping is no text."),
    "a tag": ("seed: !!python/name:os.system\n", "line 1: the tag 'python/name:os.system' is not"),
    "a tag of one's own": ("a: 1\nseed: !mine 5\n", "line 2: the tag '!mine' is not taken"),
    "bytes": ("seed: !!binary aGVsbG8=\n", "line 1: the tag 'binary' is not taken"),
    "digits": (f"seed: {'9' * 6000}\n", "line 1: '9999999999999999999999999999999999999999' is no"),
    "no number": ("seed: !!float ''\n", "line 1: '' is no number that can be read."),
    "lists in lists": (f"a: {'[' * 100}{']' * 100}", f"it is nested more than {DEEPEST} levels"),
    "itself": ("a: &a [*a]\n", f"it is nested more than {DEEPEST} levels deep."),
    "an alias of nothing": ("a: *b\n", "no valid YAML at line 1, column 4: found undefined alias"),
    "entries": (f"a: [{'b, ' * MOST}]", f"it is of over {MOST} entries."),
    "aliases": (
        "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
        + "".join(
            f"{c}: &{c} [{', '.join([f'*{b}'] * 8)}]\n"
            for b, c in zip("bcdef", "cdefg", strict=True)
        ),
        "its aliases repeat far more than it holds.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_data_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    path = tmp_path / "it.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_yaml(path, f"The document {path}")
    sentence = str(caught.value)
    assert message in sentence
    assert sentence.startswith(f"The document {path}")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_text_that_looks_like_dates_and_times_stays_text() -> None:
    read = plain_data("{a: 2024-01-01, b: 1:30, c: 1e-4, d: =, e: 10, f: yes, g: ~}")
    assert read.content == {
        "a": "2024-01-01",
        "b": "1:30",
        "c": 1e-4,
        "d": "=",
        "e": 10,
        "f": True,
        "g": None,
    }


def test_keys_of_another_mapping_can_be_taken_over() -> None:
    read = plain_data("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: {c: 4, <<: [*a, {f: 5}]}")
    assert read.content["d"] == {"b": 1, "c": 3}
    assert read.content["e"] == {"b": 1, "c": 4, "f": 5}
    assert read.lines["d", "c"] == 2


@pytest.mark.parametrize("text", ["0E0", "1e5", "-2.5e-3", ".5E1", "1_000", "0x1F", "null", "1:30"])
def test_a_text_that_looks_like_a_number_stays_a_text(text: str) -> None:
    assert plain_data(text_from({"a": text, "b": [text]})).content == {"a": text, "b": [text]}
    assert plain_data(text_from({"a": 1e-4, "b": 3})).content == {"a": 1e-4, "b": 3}


def test_several_documents_have_the_lines_of_the_whole_text() -> None:
    first, second = plain_documents("a: 1\n---\n# nothing\n---\nb: {c: 2}\n")
    assert (first.content, first.lines[("a",)]) == ({"a": 1}, 1)
    assert (second.content, second.lines[("b", "c")]) == ({"b": {"c": 2}}, 5)
    assert plain_documents("") == []


def test_aliases_of_several_documents_are_counted_together() -> None:
    text = "a: &a [xxxxxxxxxxxxxxxx]\nb: [" + "*a, " * 400 + "]\n"
    assert len(plain_documents(text)) == 1
    with pytest.raises(yaml.YAMLError, match="repeat far more"):
        plain_documents(text + "---\n" + text)


def test_the_last_of_two_equal_keys_can_be_let_win() -> None:
    told: list[tuple[str, int]] = []
    (read,) = plain_documents("a: 1\nb: 2\na: 3\n", lambda name, line: told.append((name, line)))
    assert read.content == {"a": 3, "b": 2}
    assert told == [("a", 3)]
