"""The candidates of a soft merge: the gated network, the aligned average and the members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from onefold.distributed import from_first_rank, several_ranks
from onefold.fold.merge import merge
from onefold.fold.soft.answered import answer, at_best_temperature
from onefold.fold.soft.choice import Choice, choose
from onefold.fold.soft.copies import own_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.soft_merge import SoftMerge
from onefold.progress import track
from onefold.tasks import Scores
from onefold.tasks.reading import tempered

GATED = "gated"


@dataclass(frozen=True)
class Judged:
    """The network that was chosen, and what it was chosen by.

    Attributes:
        model: the network, with weights of its own.
        scores: of every candidate on the held-out examples.
        losses: of every candidate there, at the best temperature if there is one.
        choice: the decision.
    """

    model: nn.Module
    scores: dict[str, Scores]
    losses: dict[str, float]
    choice: Choice


def judge(soft: SoftMerge, gated: nn.Module, examples: Examples, held_out: Examples) -> Judged:
    """Choose among the gated network, the aligned average and the members.

    Args:
        soft: the learned gates.
        gated: the network that they make.
        examples: the examples that the gates were learned from.
        held_out: the examples to choose on.
    """
    candidates: dict[str, nn.Module] = {GATED: gated}
    average = aligned_average(soft, examples)
    if average is not None:
        candidates["aligned average"] = average
    candidates |= {f"member {k}": soft.members[k] for k in soft.survivors}
    scores: dict[str, Scores] = {}
    fitted: dict[str, Scores] = {}
    for name, candidate in track(candidates.items(), "Choosing on held-out examples"):
        found = answer(candidate, held_out, soft.reading, scored=True, name=f"The {name}")
        assert found.scores is not None
        scores[name] = found.scores
        fitted[name] = at_best_temperature(found, found.scores, soft.reading)
    losses = {name: of_one.loss for name, of_one in fitted.items()}
    learned: Mapping[str, float] = {}
    if soft.scores:
        learned = {f"member {k}": soft.scores[k].fitted_loss for k in soft.survivors}
    scaled = tempered(soft.reading.told)
    chosen = choose(scores, fitted, learned, len(examples), tempered=scaled)
    decided = (scores, losses, chosen)
    scores, losses, choice = from_first_rank(decided)
    model = candidates[choice.name]
    if choice.name.startswith("member"):
        model = own_copy(model).eval()
    return Judged(model, scores, losses, choice)


def aligned_average(soft: SoftMerge, examples: Examples) -> nn.Module | None:
    """The plain average of the survivors in the gates' basis, repaired.

    None at model level, or if a survivor is masked somewhere or only one is left.
    """
    if (
        soft.basis is None
        or len(soft.survivors) < 2
        or any(k in soft.survivors for _, k in soft.masked)
    ):
        return None
    alignment, data = soft.basis.alignment, list(examples)
    if alignment is None:
        members = [soft.members[k] for k in soft.survivors]
        average = merge(members, data, align="none", fold="average", repair="batchnorm").model
    else:
        members = [soft.members[k] for k in soft.basis.aligned]
        average = merge(
            members,
            data,
            align=alignment,
            fold="average",
            repair="batchnorm",
            weights=[float(k in soft.survivors) for k in soft.basis.aligned],
        ).model
    if several_ranks():  # every rank repaired it on data of its own
        state = from_first_rank({name: value.cpu() for name, value in average.state_dict().items()})
        average.load_state_dict(state)
    return average


__all__ = ["GATED", "Judged", "aligned_average", "judge"]
