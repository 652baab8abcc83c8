"""The verdict in one sentence claims no more than two standard errors allow."""

from __future__ import annotations

import pytest
from report_figures import scores

from onefold.report import Candidate, headline
from onefold.report.headline import Tone


@pytest.mark.parametrize(
    ("accuracy", "tone", "words"),
    [
        (0.95, "gain", "The fold is 5.0 points more accurate than the best member"),
        (0.91, "even", "The fold is not clearly different from the best member"),
        (0.80, "loss", "The fold is 10.0 points less accurate than the best member"),
    ],
)
def test_one_sentence(accuracy: float, tone: Tone, words: str) -> None:
    best = Candidate("the best member", scores(0.9), 1, 1.0)
    found = headline(
        Candidate("the fold", scores(accuracy), 1, 1.0),
        best,
        Candidate("the ensemble", scores(0.96), 3, 3.0),
    )
    assert found.tone == tone
    assert found.text == (
        f"{words} ({100 * accuracy:.1f} % against 90.0 %), and the ensemble reaches 96.0 % at three"
        " times the cost."
    )
    alone = headline(Candidate("the fold", scores(accuracy), 1, 1.0), best)
    assert alone.text == f"{words} ({100 * accuracy:.1f} % against 90.0 %)."
