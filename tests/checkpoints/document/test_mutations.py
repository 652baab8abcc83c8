"""Spoiled documents: no traceback, and nothing that is ignored without a word."""

from __future__ import annotations

import pytest

from benchmarks.checkpoints.mutations import spoiled, verdict

FILES = 240


@pytest.mark.parametrize("first", range(0, FILES, 40))
def test_a_spoiled_document_is_refused_in_one_sentence_or_read_in_full(first: int) -> None:
    read = 0
    for number in range(first, first + 40):
        made = spoiled(number)
        found = verdict(made.text)
        assert not found.fault, f"file {number}, {made.how}: {found.fault}"
        read += found.message is None
    assert read > 0


def test_a_key_that_is_ignored_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefold.checkpoints.document import structure

    monkeypatch.setattr(structure, "_template", lambda content, findings: None)
    text = (
        "{merge_method: linear, models: [{model: a}], parameters: {weight: 1}, chat_template: auto}"
    )
    assert verdict(text).fault == "nothing changes with chat_template"
