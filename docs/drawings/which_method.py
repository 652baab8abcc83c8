"""The decision tree of the page "Which method?".

Its questions are those of the default and of `onefold.compare_networks`
(`src/onefold/comparison/rule.py`), behind three that a user alone can answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import svg

# Lengths in units of the drawing.
WIDTH, ROW, TOP = 760, 96, 16
LEFT, QUESTION = 16, 282
RIGHT, ANSWER = 376, 368
HEIGHT = 68


@dataclass(frozen=True)
class Step:
    """A question, and what to do if it is answered by `word`.

    Attributes:
        question: one or two lines.
        word: the answer that leads to the right; the other one leads down.
        answer: what to do, in a few words.
        code: the one line.
        relation: the value of `onefold.comparison.Relation` that the answer belongs to, if the
            default asks the question by itself.
    """

    question: tuple[str, ...]
    word: str
    answer: str
    code: str
    relation: str = ""


STEPS = (
    Step(
        ("Are the networks", "trained already?"),
        "no",
        "One run that gives many networks",
        'onefold.Subspace(model, shape="simplex")',
    ),
    Step(
        ("Do their layers differ", "in width?"),
        "yes",
        "Fold into the width of the first",
        'merge(..., align="transport", fold="average")',
    ),
    Step(
        ("May some be bad, and have you", "a few hundred labels?"),
        "yes",
        "Gates find the bad ones",
        "fit_gates(SoftMerge(models), labelled)",
    ),
    Step(
        ("Did they go on from", "one network?"),
        "yes",
        "Average them as they are",
        'merge(models, data, align="none", fold="average")',
        "one origin",
    ),
    Step(
        ("Do they put out", "scores of classes?"),
        "no",
        "The member nearest to their mean",
        "merge(models, data)",
        "no classes",
    ),
    Step(
        ("Do they know", "different classes?"),
        "yes",
        "Least squares",
        'merge(models, data, fold="least_squares")',
        "different knowledge",
    ),
    Step(
        ("Did they see other examples of", "these classes, and are there labels?"),
        "yes",
        "Let the labels choose",
        "merge(models, data, validation=labelled)",
    ),
)
LAST = ("Keep the best one", "merge(models, data)", "the same knowledge")


def draw() -> str:
    """The tree from top to bottom: a column of questions, and an answer beside each."""
    parts = []
    first = next(i for i, step in enumerate(STEPS) if step.relation)
    end = len(STEPS)
    top = TOP + first * ROW - 12
    parts.append(
        svg.box(4, top, WIDTH - 8, (end - first + 1) * ROW + 22, fill="none", stroke=svg.BLUE)
    )
    parts.append(
        svg.text(
            WIDTH - 16,
            top + (end - first + 1) * ROW + 14,
            "onefold.merge and onefold.compare_networks find this out by themselves",
            size=13,
            fill=svg.BLUE,
            anchor="end",
        )
    )
    for number, step in enumerate(STEPS):
        y = TOP + number * ROW
        parts += _question(y, step)
        parts += _answer(y, step.answer, step.code)
        middle, centre = y + HEIGHT / 2, LEFT + QUESTION / 2
        parts.append(svg.arrow([(LEFT + QUESTION, middle), (RIGHT, middle)]))
        parts.append(
            svg.text((LEFT + QUESTION + RIGHT) / 2 - 4, middle - 8, step.word, size=14, bold=True)
        )
        below = TOP + (number + 1) * ROW
        other = "no" if step.word == "yes" else "yes"
        way = [(centre, y + HEIGHT), (centre, below)]
        if number + 1 == end:
            way = [way[0], (centre, below + HEIGHT / 2), (RIGHT, below + HEIGHT / 2)]
        parts.append(svg.arrow(way))
        parts.append(svg.text(centre + 22, y + HEIGHT + 19, other, size=14, bold=True))
    parts += _answer(TOP + end * ROW, LAST[0], LAST[1])
    return svg.drawing(WIDTH, TOP + (end + 1) * ROW + 18, parts)


def _question(y: float, step: Step) -> list[str]:
    middle = LEFT + QUESTION / 2
    lines = [svg.box(LEFT, y, QUESTION, HEIGHT, radius=HEIGHT / 2)]
    start = y + HEIGHT / 2 + 5 - 10 * (len(step.question) - 1)
    for number, words in enumerate(step.question):
        lines.append(svg.text(middle, start + 20 * number, words, size=14.5))
    return lines


def _answer(y: float, words: str, code: str) -> list[str]:
    return [
        svg.box(RIGHT, y, ANSWER, HEIGHT, fill=svg.GREEN_PAPER, stroke=svg.GREEN),
        svg.text(RIGHT + 14, y + 28, words, size=16, anchor="start", bold=True),
        svg.text(RIGHT + 14, y + 51, code, size=11.5, anchor="start", mono=True),
    ]
