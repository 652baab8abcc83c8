"""What is in doubt of a merge that can be carried out: sentences, each with its kind of warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from onefold.checkpoints.document import Document, Located, Reference
from onefold.checkpoints.engine.config_doubts import ConfigWarning, config_doubts
from onefold.checkpoints.plan.architectures import hardly_merged
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.tokens import VocabularyWarning
from onefold.errors import RepeatedMembers

UNSHARDED = (
    "The greatest size of a file has no effect, as {} is a single file; name a folder for files of"
    " a bounded size."
)
UNSEEDED = "The seed has no effect, as {} draws nothing."


class DoubtfulSetting(UserWarning):
    """A value can be carried out and most likely is a mistake, or a setting has no effect."""


def doubts_of(plan: Plan, located: Mapping[Reference, Located]) -> dict[str, type[UserWarning]]:
    """What is in doubt of a plan.

    Args:
        plan: the plan.
        located: where the models of its document are.
    """
    vocabulary = plan.vocabulary
    return {
        **dict.fromkeys(plan.document.doubts, DoubtfulSetting),
        **dict.fromkeys(_repeated(plan.document, located), RepeatedMembers),
        **dict.fromkeys(hardly_merged(plan), ConfigWarning),
        **dict.fromkeys(config_doubts(plan.layouts, plan.donor), ConfigWarning),
        **dict.fromkeys(vocabulary.warnings if vocabulary else (), VocabularyWarning),
    }


def _repeated(document: Document, located: Mapping[Reference, Located]) -> Iterator[str]:
    """A sentence on each model that is another one under another name."""
    known: dict[Path, Reference] = {}
    for model in document.models():
        other = known.setdefault(located[model].path.resolve(), model)
        if other != model:
            yield f"{model} and {other} are one and the same, which counts twice; list it once."
