"""`onefold.compare_networks`: before a merge, whether one can pay, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from onefold.alignment import check_networks, in_one_precision
from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.comparison.broken import broken_outputs, broken_weights
from onefold.comparison.rule import Evidence, gather
from onefold.errors import DataError, MembersError
from onefold.inference import OutputChoice, as_output
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.tasks.scoring import AUTO, TaskChoice, as_task
from onefold.weights import repeated


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several networks are to one another.

    Attributes:
        names: of all networks.
        broken: network -> what is wrong with it; it is left out of the comparison.
        evidence: what was measured of the others, in their order; None if fewer than two are sound.
        notes: further sentences: networks that are given twice.
    """

    names: tuple[str, ...]
    broken: Mapping[int, str]
    evidence: Evidence | None
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> list[str]:
        """The names of the networks that were compared."""
        return [name for k, name in enumerate(self.names) if k not in self.broken]

    @property
    def sentences(self) -> list[str]:
        """What was found, and what pays; the same words as of a merge by default."""
        told = [f"{self.names[k]} is broken: {text}." for k, text in self.broken.items()]
        if self.evidence is None:
            left = f"only {self.sound[0]} is sound" if self.sound else "no network is sound"
            return [*told, f"There is nothing to merge, as {left}."]
        sentence = self.evidence.sentence
        return [*told, f"{sentence[0].upper()}{sentence[1:]}.", *self.notes]

    def rows(self) -> list[tuple[str, float | None, float | None, float]]:
        """For every sound network: its name, agreement with the ensemble and with the others, off.

        Agreement is a fraction of 1, None without answers. The last number is how far it is from
        the ensemble, in `unit` (`knowledge.py`).
        """
        if self.evidence is None:
            return []
        seen = self.evidence.knowledge
        found: list[tuple[str, float | None, float | None, float]] = []
        for k, name in enumerate(self.sound):
            agree = others = None
            if seen.with_ensemble is not None and seen.agreement is not None:
                agree = float(seen.with_ensemble[k])
                others = float((seen.agreement[k].sum() - 1) / (len(seen.agreement) - 1))
            found.append((name, agree, others, float(seen.off[k])))
        return found

    @property
    def unit(self) -> str:
        """The unit of distances from the ensemble, as words behind a number."""
        return "" if self.evidence is None else self.evidence.knowledge.unit

    @property
    def answered(self) -> bool:
        """Whether the networks give answers that can be equal; numbers are none."""
        return self.evidence is not None and self.evidence.knowledge.agreement is not None

    def __repr__(self) -> str:
        relation = "none" if self.evidence is None else self.evidence.relation.value
        return f"Comparison({len(self.names)} networks, {len(self.broken)} broken, {relation})"

    def _repr_html_(self) -> str:
        """The short form in a notebook: what pays, and the evidence."""
        rows = [
            (
                name,
                "–" if agree is None else f"{100 * agree:.1f} %",
                "–" if others is None else f"{100 * others:.1f} %",
                f"{off:.3f}",
            )
            for name, agree, others, off in self.rows()
        ]
        columns = ("network", "as the ensemble", "as another", f"from the ensemble ({self.unit})")
        return card(f"{len(self.names)} networks compared", self.sentences, columns, rows)

    def __str__(self) -> str:
        lines = list(self.sentences)
        for name, agree, others, off in self.rows():
            shares = (
                ""
                if agree is None or others is None
                else f"{100 * agree:.1f} % as the ensemble, {100 * others:.1f} % as another, "
            )
            lines.append(f"{name}: {shares}{off:.3f} {self.unit} from the ensemble")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "networks": list(self.names),
            "broken": {self.names[k]: text for k, text in self.broken.items()},
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
            "sentences": self.sentences,
        }


@checked
@isolated
def compare_networks(
    models: Sequence[nn.Module],
    data: Data,
    *,
    task: TaskChoice = AUTO,
    names: Sequence[str] | None = None,
    output: OutputChoice = None,
) -> Comparison:
    """Say before a merge whether one can pay, and which.

    The rule is that of `onefold.merge` without a named fold (`rule.py`), and so are the words. It
    costs one pass of the networks over at most 5,000 examples, and two more of their average if
    their weights are alike. `print(comparison)` tells all.

    Args:
        models: K >= 2 networks of one class and one set of shapes. They are not modified. Networks
            whose weights or outputs are not finite are named, and the others compared.
        data: unlabelled batches; labels are read to tell the task alone.
        task: the name of a task, or a `Task`; "auto" tells it from labels if there are any. Else
            outputs are classes if their shape tells the axis of these, or numbers. Networks of
            classes, also of pixels and tokens, are told apart by the shares of what they answer. Of
            numbers, and of yes and no, nothing tells what they know.
        names: of the networks, for the sentences; None: "member 0" and so on.
        output: which output is compared if the networks return several, and on which axis its
            classes lie (`onefold.inference`).

    Raises:
        MembersError: fewer than two networks, or they differ in class, device, keys or shapes.
        DataError: the data is empty, a network cannot run on it, or its outputs are none of the
            task.
        SettingError: there is no such task.
    """
    named = as_task(task)
    meant, told = as_output(output), _names(names, len(models))
    data = check_reiterable(data, "data to compare on")
    broken = broken_weights(models)
    sound = [k for k in range(len(models)) if k not in broken]
    if not broken or len(sound) > 1:
        check_networks([models[k] for k in sound] if broken else models)
    evidence, left = None, models
    while evidence is None and len(sound) > 1:
        left = [models[k] for k in sound] if broken else models
        try:
            evidence = replace(
                gather(in_one_precision(left, 0), data, meant, task=named),
                names=tuple(told[k] for k in sound),
            )
        except DataError:
            found = {k: broken_outputs(models[k], data) for k in sound}
            if not any(found.values()):
                raise
            broken |= {k: text for k, text in found.items() if text}
            sound = [k for k in sound if k not in broken]
    notes = [f"{text[0].upper()}{text[1:]}." for text in repeated(left)]
    return Comparison(told, broken, evidence, tuple(notes))


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"member {k}" for k in range(count))
    if len(names) != count:
        raise MembersError(f"{count} networks were given {len(names)} names; give one for each.")
    return tuple(names)


__all__ = ["Comparison", "compare_networks"]
