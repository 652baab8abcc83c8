"""The card of a folded network: what it was made of, how, and what it scored; nothing else.

It is Markdown with a head of YAML, as README.md of a folder of transformers. What onefold does not
know (license, language, intended use) is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from onefold._version import __version__
from onefold.checkpoints.engine.card import head_of
from onefold.fold.merge_report import MergeReport
from onefold.measure import Scores
from onefold.tasks import Score

LIBRARY = "transformers"
HEAD = f"---\nlibrary_name: {LIBRARY}\ntags:\n- onefold\n---\n"


def model_card(
    title: str,
    network: nn.Module,
    report: MergeReport | None,
    members: Sequence[str],
    scores: Mapping[str, Scores],
    copied: Sequence[str],
    beside: Sequence[str] = (),
) -> str:
    """The text of a card.

    Args:
        title: of the card.
        network: the folded network.
        report: of its merge; None if it is not known how the network was made.
        members: their names, in the order of the merge; may be empty.
        scores: by what was scored; may be empty.
        copied: names of the files that were copied from the first member's folder.
        beside: sentences on further files in the folder.
    """
    name = type(network).__name__
    weights = sum(parameter.numel() for parameter in network.parameters())
    count = len(members) if report is None else report.members
    how = (
        f"folded by onefold {__version__} out of {count} networks of its class"
        if count
        else "saved by onefold"
    )
    head = head_of(members, LIBRARY) if members else HEAD
    parts = [
        f"{head}\n# {_plain(title)}",
        f"One `{name}` of {weights:,} parameters, {how}.",
        _loading(name),
        "## Members\n\n" + _members(members, report),
    ]
    if report is not None:
        parts.append("## Method\n\n" + _method(report))
    parts.append("## Scores\n\n" + _scores(scores))
    notes = [] if report is None else [*report.chosen, *report.warnings]
    if notes:
        listed = "\n".join(f"- {_plain(note)}" for note in notes)
        parts.append(f"## What the report says of the result\n\n{listed}")
    parts.append("## Files\n\n" + _files(copied, beside))
    return "\n\n".join(parts) + "\n"


def _loading(name: str) -> str:
    return (
        f"```python\nfrom transformers import {name}\n\n"
        f'network = {name}.from_pretrained("FOLDER")\n```'
    )


def _members(members: Sequence[str], report: MergeReport | None) -> str:
    if not members:
        return "Their names were not given to the card."
    shares = report.weights if report is not None and len(report.weights) == len(members) else ()
    told = [f", share {share:.3g}" for share in shares] or [""] * len(members)
    return "\n".join(
        f"{number}. `{_plain(member)}`{share}"
        for number, (member, share) in enumerate(zip(members, told, strict=True))
    )


def _method(report: MergeReport) -> str:
    reference = "a common basis" if report.reference is None else f"member {report.reference}"
    rows: dict[str, object] = {
        "aligned by": report.align,
        "aligned to": reference if report.align != "none" else "",
        "folded by": report.fold,
        "repaired": report.repair,
        "calibration examples": report.examples,
    }
    for step, settings in report.settings.items():
        if isinstance(settings, Mapping):
            rows |= {f"{step}: {key}": value for key, value in settings.items()}
        else:
            rows[str(step)] = settings
    lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items() if value != ""]
    return "\n".join(["| step or setting | value |", "|---|---|", *lines])


def _scores(scores: Mapping[str, Scores]) -> str:
    if not scores:
        return "No scores were given to the card."
    tables = []
    for task in dict.fromkeys((each.task, each.kinds) for each in scores.values()):
        of_task = {name: own for name, own in scores.items() if (own.task, own.kinds) == task}
        tables.append(_table(of_task))
    return "\n\n".join(tables)


def _table(scores: Mapping[str, Scores]) -> str:
    """The scores of one task; shares are fractions of 1."""
    first = next(iter(scores.values()))
    kinds = [first.kind, *(kind for kind in first.kinds if kind.name != first.by)]
    names = [kind.label if kind.unit == "%" else kind.heading for kind in kinds]
    head = " | ".join(_cell(name) for name in names)
    rows = [
        f"| {_cell(name)} | {' | '.join(f'{own[kind.name]:.4f}' for kind in kinds)} | {own.n} |"
        for name, own in scores.items()
    ]
    told = f"Task: {first.task.replace('_', ' ')}. {_better(kinds)}"
    return "\n".join(
        [told, "", f"| | {head} | examples |", f"|---|{'---|' * len(kinds)}---|", *rows]
    )


def _better(kinds: Sequence[Score]) -> str:
    """In which scores more is better, and in which less."""
    parts = []
    for word, highest in (("Higher", True), ("Lower", False)):
        labels = [kind.label for kind in kinds if kind.highest is highest]
        if labels:
            parts.append(f"{word} is better: {', '.join(labels)}.")
    return " ".join(parts)


def _files(copied: Sequence[str], beside: Sequence[str]) -> str:
    told = []
    if copied:
        names = ", ".join(f"`{name}`" for name in copied)
        told.append(f"Copied unchanged from the folder of member 0: {names}.")
    else:
        told.append("No files of a tokenizer or processor were copied.")
    return " ".join([*told, *beside])


def _plain(text: object) -> str:
    """A text on one line."""
    return re.sub(r"\s+", " ", str(text)).strip()


def _cell(value: object) -> str:
    return _plain(value).replace("|", "\\|")
