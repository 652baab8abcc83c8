"""A recipe is checked when it is read, and writes itself the same way every time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onefold.errors import RecipeError
from onefold.fold import Auto
from onefold.recipe import Recipe, check, read, text_of

MINIMAL: dict[str, Any] = {
    "model": "digits",
    "members": ["a.safetensors", "b.safetensors"],
    "data": {"source": "sklearn:digits"},
}


def written(folder: Path, content: object) -> Path:
    path = folder / "it.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_defaults_are_the_documented_ones() -> None:
    recipe = check(MINIMAL)
    assert (recipe.align, recipe.fold, recipe.repair, recipe.seed) == ("auto", Auto(), "auto", 0)
    assert (recipe.data.split, recipe.data.samples, recipe.data.batch_size) == ("train", 4000, 128)


def test_paths_are_relative_to_the_recipes_folder(tmp_path: Path) -> None:
    content = {
        **MINIMAL,
        "model": "nets.py:build?width=2",
        "data": {"source": "parquet:pictures?size=32"},
        "output": "out/x.safetensors",
    }
    recipe = read(written(tmp_path, content), trust=True)
    assert recipe.members[0].path == str(tmp_path / "a.safetensors")
    assert recipe.model == f"{tmp_path}/nets.py:build?width=2"
    assert recipe.data.source == f"parquet:{tmp_path}/pictures?size=32"
    assert recipe.output == str(tmp_path / "out" / "x.safetensors")


def test_a_moved_folder_keeps_its_recipe_valid(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    recipe = check(MINIMAL, folder=tmp_path / "one")
    text = text_of(recipe, tmp_path / "one" / "r.yaml")
    assert str(tmp_path) not in text
    (tmp_path / "two" / "r.yaml").write_text(text)
    assert read(tmp_path / "two" / "r.yaml").members[1].path == str(
        tmp_path / "two" / "b.safetensors"
    )


@given(
    seed=st.integers(0, 2**31),
    samples=st.none() | st.integers(1, 10**6),
    weights=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
    regularization=st.floats(0, 1e6),
    name=st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="~/:?"),
        min_size=1,
        max_size=20,
    ),
)
def test_written_and_read_again_is_equal(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    samples: Any,
    weights: Any,
    regularization: Any,
    name: str,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = {
        **MINIMAL,
        "members": [name, {"path": "b", "sha256": "ab"}],
        "data": {"source": "idx:x", "samples": samples},
        "align": {"name": "cca", "regularization": regularization},
        "weights": weights,
        "seed": seed,
    }
    recipe = check(content, folder=folder)
    path = folder / "round.yaml"
    path.write_text(text_of(recipe, path), encoding="utf-8")
    assert read(path) == recipe
    assert text_of(read(path), path) == path.read_text(encoding="utf-8")


def words_of(content: Any) -> list[str]:
    """All keys of a change."""
    inner = content if isinstance(content, list) else []
    if isinstance(content, dict):
        inner = list(content.values())
    own = list(content) if isinstance(content, dict) else []
    return own + [word for part in inner for word in words_of(part)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "x"}, "has an unknown key 'modle'; did you mean 'model'?"),
        (
            {"data": {"source": "x", "sample": 3}},
            "has an unknown key 'data.sample'; did you mean 'samples'?",
        ),
        (
            {"align": {"name": "cca", "regularisation": 1}},
            "has an unknown key 'align.regularisation'; did you mean 'regularization'?",
        ),
        (
            {"evaluation": {"source": "x", "splitt": 1}},
            "has an unknown key 'evaluation.splitt'; did you mean 'split'?",
        ),
        (
            {"members": ["a", {"path": "b", "sha": "1"}]},
            "has an unknown key 'members.1.sha'; did you mean 'sha256'?",
        ),
        ({"data": 3}, "key 'data.source': it must be a text (found: 3)."),
        ({"data": None}, "the default reads the members' predictions on unlabelled data, so give"),
        (
            {"data": None, "fold": "average"},
            (
                "aligning and repairing need calibration data, so give data, or set align and"
                " repair to none."
            ),
        ),
        (
            {"align": {"name": "cca", "file": "a.safetensors"}},
            "key 'align.name': it cannot stand beside align.file; leave one",
        ),
        (
            {"data": {"source": "x", "samples": "many"}},
            "key 'data.samples': it must be a whole number (found: 'many').",
        ),
        (
            {"data": {"source": "x", "split": "dev"}},
            "key 'data.split': it must be 'train' or 'test' (found: 'dev').",
        ),
        ({"members": ["a"]}, "key 'members': it needs at least 2 entries."),
        ({"reference": 2}, "reference is 2, but there are only 2 members, counted from 0."),
        ({"weights": [1]}, "weights has 1 numbers for 2 members; give one for each."),
        ({"barrier": True}, "barrier needs labelled data, so give evaluation too."),
        (
            {"polish": 2, "data": None, "fold": "average", "align": "none", "repair": "none"},
            "polish needs calibration",
        ),
        ({"fold": {"name": "average", "ridge": 1}}, "takes no ridge; use auto or least_squares"),
        ({"fold": {"name": "least_squares", "ridge": -1}}, "key 'fold.ridge': the fold"),
        ({"seed": -1}, "key 'seed': it must be greater than or equal to 0 (found: -1)."),
    ],
)
def test_a_bad_key_is_named_in_one_sentence(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, {**MINIMAL, **change})
    with pytest.raises(RecipeError) as caught:
        read(path)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    begin, line = re.match(rf"The recipe {re.escape(str(path))}, line (\d+)", text), 0
    assert begin, text
    line = int(begin[1])
    assert any(f"{key}:" in path.read_text().split("\n")[line - 1] for key in words_of(change))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"lacks the key 'members'; add it\.$"):
        read(written(tmp_path, {"model": "x", "data": {"source": "y"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing"),
        ("- a\n", "holds a list"),
        ("a: [1\n", "no valid YAML at line 2"),
        ("!!python/object/apply:os.getcwd []", "line 1: the tag 'python/object"),
    ],
)
def test_no_recipe_at_all(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(written(tmp_path, text))


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "it.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"no text in UTF-8 \(byte 0\)"):
        read(tmp_path / "it.yaml")


def test_recipes_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        check(MINIMAL).seed = 1  # type: ignore[misc]
    assert isinstance(check(MINIMAL), Recipe)


@pytest.mark.parametrize("name", ["parquet:", "idx:", "imagefolder:?size=8", "hf:"])
def test_a_source_without_a_place_gets_none(tmp_path: Path, name: str) -> None:
    assert check({**MINIMAL, "data": name}, folder=tmp_path).data.source == name


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x", "x" * 5000])
@pytest.mark.parametrize("key", ["members", "output", "use"])
def test_what_can_be_no_path_is_refused(tmp_path: Path, key: str, path: str) -> None:
    value = path if key == "output" else [path, "b"]
    with pytest.raises(RecipeError, match="can be no file's path") as caught:
        check({**MINIMAL, key: value}, folder=tmp_path)
    assert str(caught.value).isprintable()
