"""What every refusal of a command looks like: one sentence of ours on standard error, alone."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a command did: its exit status, and what it printed on standard output and standard
    error.
    """

    status: int
    out: str
    err: str


# What a command says of its steps before one of them fails.
STEPS = re.compile(
    r"Reading (\d+ members|\S.*)"
    r"|(Aligning|Scoring) \d+ (members|networks) .+"
    r"|Scoring the members, .+"
    r"|Folding: .+"
    r"|Learning gates at \w+ level"
    r"|Training .+"
    r"|warning: .+"
)
LONGEST = 1200  # characters; paths of tests are long


def sentence_of(result: Result, before: str = "") -> str:
    """The sentence with which a command refused, once it is sure that it is the only one.

    before: the first word of a step that must not have begun.
    """
    assert result.status in (1, 2), f"it ended with {result.status}: {result.err}"
    assert result.out == "", f"it printed {result.out[:500]!r}"
    *steps, last = result.err.removesuffix("\n").split("\n")
    others = [line for line in steps if not STEPS.fullmatch(line)]
    assert others == [], f"standard error holds more than one sentence: {result.err!r}"
    assert last.startswith("error: "), result.err
    assert not before or not any(step.startswith(before) for step in steps), result.err
    sentence = last.removeprefix("error: ")
    unexpected = sentence.startswith("something unexpected went wrong")
    assert (result.status == 1) == unexpected, result
    assert sentence.isprintable()
    assert len(sentence) <= LONGEST, sentence
    assert "Traceback" not in sentence
    assert sentence.endswith((".", "?")) or "; run: onefold " in sentence, sentence
    return sentence
