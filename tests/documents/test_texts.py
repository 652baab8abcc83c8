"""Texts of a document are found and changed wherever they are; files have their checksums."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.documents import InputFile, Part
from onefold.documents.texts import texts_of, with_texts
from onefold.errors import RecipeError, WeightsError
from onefold.weights import checksum


class Inner(Part):
    name: str = "inner"
    size: int = 3


class Outer(Part):
    title: str = "outer"
    none: str | None = None
    inner: Inner = Inner()
    files: tuple[InputFile, ...] = ()
    keys: tuple[str, ...] | None = None


WHOLE = Outer(files=(InputFile(path="x"), InputFile(path="y", sha256="z")), keys=("k", "l"))


def test_every_text_is_found_with_its_part_and_key() -> None:
    assert [(type(part), key, text) for part, key, text in texts_of(WHOLE)] == [
        (Outer, "title", "outer"),
        (Inner, "name", "inner"),
        (InputFile, "path", "x"),
        (InputFile, "path", "y"),
        (InputFile, "sha256", "z"),
        (Outer, "keys", "k"),
        (Outer, "keys", "l"),
    ]


def test_texts_are_changed_in_a_copy() -> None:
    before = WHOLE.model_dump()
    changed = with_texts(WHOLE, lambda part, key, text: text + "!" * (key in ("path", "keys")))
    assert [file.path for file in changed.files] == ["x!", "y!"]
    assert (changed.keys, changed.title, changed.inner) == (("k!", "l!"), "outer", Inner())
    assert WHOLE.model_dump() == before
    assert with_texts(WHOLE, lambda part, key, text: text) == WHOLE


@pytest.mark.parametrize("content", ["", "a", "long " * 1000])
def test_a_file_is_held_against_its_checksum(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a"
    path.write_text(content)
    digest = checksum(path)
    assert InputFile(path=str(path)).verify() == digest
    assert InputFile(path=str(path), sha256=digest).verify() == digest
    path.write_text(content + " ")
    with pytest.raises(RecipeError, match=f"recipe says {digest[:12]}; get the original file"):
        InputFile(path=str(path), sha256=digest).verify()
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        InputFile(path=str(path)).verify()
