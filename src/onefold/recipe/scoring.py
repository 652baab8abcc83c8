"""The keys of the documents that name a task, metrics, and the score that decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from onefold.documents.part import Flag, NamePatterns, Part
from onefold.documents.problems import WrongKey
from onefold.errors import SettingError, nearest
from onefold.result_reports.provenance import Fact
from onefold.tasks import AUTO, Scoring, tasks


class TaskPart(Part):
    """What the networks are asked (onefold.tasks)."""

    main: ClassVar[str | None] = "task"
    task: str = Field(
        default=AUTO,
        description="What the networks are asked, as regression; `onefold methods task` lists all."
        " auto: told from outputs and labels.",
    )

    @model_validator(mode="after")
    def _known_task(self) -> TaskPart:
        told_in("task", lambda: Scoring(self.task))
        return self

    def facts(self) -> dict[str, Fact]:
        """What was asked for, as a report tells it; what was not is left out."""
        return {"task": self.task} if self.task != AUTO else {}


class ScoringPart(TaskPart):
    """The task, and the scores that compare networks."""

    metrics: Annotated[NamePatterns, Flag(name="metric")] = Field(
        default=None,
        description="A further score: a metric of torchmetrics, as"
        " 'MulticlassF1Score(num_classes=10)', or one that a file of --use registers; may be"
        " repeated.",
    )
    by: str | None = Field(
        default=None,
        description="The score that decides wherever networks are compared; left out, the task's"
        " first.",
    )

    @model_validator(mode="after")
    def _known(self) -> ScoringPart:
        told_in("metrics", lambda: Scoring(metrics=self.metrics or ()))
        told_in("by", self.scoring)
        return self

    def scoring(self) -> Scoring:
        """The same for the library.

        Raises:
            SettingError: there is no such task, metric or score to choose by.
        """
        found = Scoring(self.task, self.metrics or (), self.by)
        if found.named is not None:
            found.check(found.named)
        elif self.by is not None:
            known = [kind.name for entry in tasks for kind in found.kinds(entry.value())]
            if self.by not in known:
                raise SettingError(
                    f"There is no score '{self.by}' of any task or metric to choose by;"
                    f" {nearest(self.by, dict.fromkeys(known))}"
                )
        return found

    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the library's functions."""
        found = self.scoring()
        return {"task": found.task, "metrics": found.metrics, "by": found.by}

    def facts(self) -> dict[str, Fact]:
        """What was asked for, as a report tells it; what was not is left out."""
        found = super().facts()
        if self.metrics:
            found["metrics"] = ", ".join(self.metrics)
        return found | ({"chosen by": self.by} if self.by else {})


def told_in(key: str, check: Callable[[], object]) -> None:
    """Call a check, and tell what it refuses as wrong with a key.

    Raises:
        WrongKey: it refuses.
    """
    try:
        check()
    except SettingError as error:
        reason = f"{error}".removesuffix(".")
        raise WrongKey((key,), reason[:1].lower() + reason[1:]) from None
