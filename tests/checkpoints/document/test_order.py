"""Documents that refer to one another: their order, and circles."""

from __future__ import annotations

import pytest

from onefold.checkpoints.document import Place, Reference, needed_by, parse_documents, stands_for
from onefold.errors import RecipeError


def several(*documents: str) -> str:
    return "---\n".join(documents)


def one(model: str, name: str = "") -> str:
    first = f"name: {name}\n" if name else ""
    return f"{first}merge_method: linear\nmodels:\n  - model: {model}\nparameters: {{weight: 1}}\n"


def test_documents_come_after_those_that_they_refer_to() -> None:
    text = several(one("m2"), one("m1@v", "m3").replace("@v", ""), one("m1", "m2"), one("a", "m1"))
    found = parse_documents(text, "It")
    assert [document.name for document in found] == ["m1", "m3", "m2", None]
    assert needed_by(found[-1], ["m1", "m2"]) == {"m2": ("models", 0, "model")}
    assert stands_for(Reference(Place("m2")), found) is found[2]
    assert stands_for(Reference(Place("a")), found) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (several(one("m2", "m1"), one("m1", "m2")), "'m1' is made from itself: m1 -> m2 -> m1;"),
        (several(one("m1", "m1"), one("m1")), "'m1' is made from itself: m1 -> m1; give one of"),
        (several(one("a"), one("b")), "of several documents all but one need a 'name'"),
        (several(one("a", "x"), one("b", "x")), "another document has the name 'x' too."),
        (several(one("a", "x"), one("x@v")), "'x' is the result of another document, which has"),
        (several(one("a", "../x"), one("b")), "it names a folder of its own: letters without '/'"),
        (several(one("a", "x"), one("b") + "dype: 1\n"), "line 11, has an unknown key 'dype';"),
    ],
)
def test_documents_that_do_not_go_together_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_documents(text, "The document c.yml")
    assert sentence in str(caught.value)
