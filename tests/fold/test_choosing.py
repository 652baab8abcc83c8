"""No fold is taken without a gain over the best member, and of equal ones the cheapest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.fold.choosing import Choice, choose
from onefold.measure import Scores, difference, score_logits

EXAMPLES = 400


def scores(right: range | list[int], loss: float = 4.0) -> Scores:
    """Scores of a network that is right on the examples of these numbers alone."""
    labels = torch.arange(EXAMPLES) % 4
    hit = torch.zeros(EXAMPLES, dtype=torch.bool)
    hit[list(right)] = True
    guess = torch.where(hit, labels, (labels + 1) % 4)
    return score_logits(loss * nn.functional.one_hot(guess, 4).double(), labels)


MEMBER = scores(range(300))


def chosen(of_all: dict[str, Scores], baseline: str) -> Choice:
    """The choice by paired differences of scores."""
    return choose(list(of_all), baseline, lambda a, b: difference(of_all[a], of_all[b]))


@pytest.mark.parametrize(
    ("folds", "taken"),
    [
        ({"average": scores(range(200))}, "member 0"),
        ({"average": MEMBER, "least squares": MEMBER}, "member 0"),
        # one answer more of 400, or two: as likely by chance
        ({"average": scores(range(301))}, "member 0"),
        # more gained than lost, but by chance as likely as not
        ({"average": scores([*range(20, 300), *range(300, 324)])}, "member 0"),
        ({"average": scores(range(302))}, "member 0"),
        ({"average": scores(range(303))}, "average"),
        ({"average": scores(range(320))}, "average"),
        # the dearer one is ahead within a standard error of the two
        ({"average": scores(range(320)), "least squares": scores(range(321))}, "average"),
        ({"average": scores(range(320)), "least squares": scores(range(360))}, "least squares"),
        # a cheap one that does not beat the member itself is no rival
        ({"average": scores(range(301)), "least squares": scores(range(303))}, "least squares"),
        ({}, "member 0"),
    ],
)
def test_the_choice(folds: dict[str, Scores], taken: str) -> None:
    found = chosen({"member 0": MEMBER, **folds}, "member 0")
    assert found.name == taken
    assert set(found.gains) == set(folds)
    assert found.baseline == "member 0"


def test_the_reason_names_what_decided() -> None:
    of_all = {
        "member 2": MEMBER,
        "average": scores(range(330)),
        "least squares": scores(range(331)),
    }
    taken = chosen(of_all, "member 2")
    assert taken.reason("400 held-out examples") == (
        "on 400 held-out examples it is above member 2, the best member, by more than a standard"
        f" error ({taken.gains['average']}), as is least squares"
    )
    kept = chosen({"member 2": MEMBER, "average": scores(range(290))}, "member 2")
    assert "on these none of 1 candidates is above it" in kept.reason("these")
    assert "-2.50 percentage points" in kept.reason("these")
    assert chosen({"member 2": MEMBER}, "member 2").reason("these") == (
        "there is no other candidate"
    )
