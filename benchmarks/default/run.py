"""What `onefold.merge(models, data)` returns as it comes, on groups of known answer.

    python benchmarks/default/run.py --out benchmarks/results/default/results.json
    python benchmarks/default/run.py --repeats 1 --groups halves-cnn easy-mlp --out part.json
    python benchmarks/default/run.py --fold auto --out auto.json          a fold by its name instead
    python benchmarks/default/run.py --like before.json --out after.json  candidates of another run
    python benchmarks/default/table.py benchmarks/results/default/results.json

Groups: `small_groups()`, every group three times, and those of benchmarks/members whose members are
there, each once. Of each, three draws of the images that the merge
may choose by: 1,500 unlabelled ones (250 digits), and as many merges again with 500 labelled ones
(200 digits) as `validation`. What was chosen is read from the report. The result is compared on all
test images, example by example, with

- without labels: the median member by the test images (of an even number the mean of the middle
  two), which is what one has without knowing better;
- with labels: the member that the same labels choose (by accuracy, on a tie by loss).

The gain is the mean over the draws, its error the paired standard error of that mean over the test
images. Candidates (candidates.py) and ensembles are made from the first draw of unlabelled images;
the best of them is chosen on all labelled choice images (5,000, 300 digits) and shown by the test
images. Groups of kind "broken" are merged only. What was measured is kept; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

import onefold
from benchmarks.default.candidates import Judged, candidates, ensembles, timed
from benchmarks.default.data import small_data
from benchmarks.default.groups import SmallGroup, small_groups
from benchmarks.default.record import keep, kept
from benchmarks.default.trained import TrainedGroup, trained_groups
from onefold.errors import OnefoldError
from onefold.fold.merge_report import MergeReport
from onefold.measure.paired import mean_error
from onefold.measure.scores import Scores

DRAWS = 3
CASES = ("without", "with")  # labels
OTHERS = ("ensembles", "candidates")


def scored(judged: Judged, data: Any) -> Scores:
    """The scores of a network, or of several as one."""
    if isinstance(judged, nn.Module):
        return onefold.evaluate(judged, data)
    models, ensemble = judged
    return onefold.evaluate(list(models), data, ensemble=ensemble)


def hits(scores: Scores) -> Tensor:
    """(n,) float64, 1 where the answer is right."""
    assert scores.answers is not None
    return scores.answers.hits.double()


def median_hits(members: Sequence[Scores]) -> Tensor:
    """The hits of the member in the middle, or the mean of the two in the middle."""
    order = sorted(members, key=lambda scores: scores.accuracy)
    middle = {(len(order) - 1) // 2, len(order) // 2}
    return torch.stack([hits(order[k]) for k in middle]).mean(0)


def best_of(members: Sequence[Scores]) -> int:
    """The index of the most accurate, on a tie of the one of less loss."""
    return max(range(len(members)), key=lambda k: (members[k].accuracy, -members[k].nll))


def chosen(report: MergeReport) -> str:
    """What the merge took, in the report's words."""
    choice = report.folded.get("choice")
    return str(choice) if choice else f"{report.fold}, {report.align}"


class GroupRun:
    """One group: its members scored once, then merges and candidates.

    options: of `onefold.merge`, none for the default.
    """

    def __init__(self, group: SmallGroup | TrainedGroup, options: dict[str, Any]) -> None:
        self.group, self.options = group, options
        self.models = group.models()
        self.test = group.test().batches()
        self.choices = small_data(group.data).choices.batches()
        self.members = [onefold.evaluate(model, self.test) for model in self.models]

    @property
    def accuracies(self) -> list[float]:
        """Each member's accuracy in percent on the test images."""
        return [percent(scores.accuracy) for scores in self.members]

    def merged(self, number: int, case: str) -> tuple[dict[str, Any], Tensor | None]:
        """One merge on a draw: what is kept of it, and its hits less the baseline's (n,)."""
        draw = self.group.draw(number)
        more = {"validation": draw.labelled} if case == "with" else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result, seconds = timed(
                    lambda: onefold.merge(self.models, draw.unlabelled, **more, **self.options)
                )
        except OnefoldError as error:
            return {"error": str(error)}, None
        score = onefold.evaluate(result.model, self.test)
        if case == "with":
            judged = [onefold.evaluate(model, draw.labelled) for model in self.models]
            baseline = hits(self.members[best_of(judged)])
        else:
            baseline = median_hits(self.members)
        step = hits(score) - baseline
        row = {
            "choice": chosen(result.report),
            "fold": result.report.fold,
            "align": result.report.align,
            "notes": [str(note) for note in result.notes][:3],
            "accuracy": percent(score.accuracy),
            "baseline": percent(float(baseline.mean())),
            "gain": percent(float(step.mean())),
            "error": percent(mean_error(step)),
            "seconds": round(seconds, 2),
        }
        return row, step

    def case(self, case: str) -> dict[str, Any]:
        """All draws of the merge with or without labels, and the mean of their gains."""
        found = [self.merged(number, case) for number in range(DRAWS)]
        steps = [step for _, step in found if step is not None]
        rows: dict[str, Any] = {"draws": [row for row, _ in found]}
        if steps:
            mean = torch.stack(steps).mean(0)
            rows |= {"gain": percent(float(mean.mean())), "error": percent(mean_error(mean))}
            done = [row["baseline"] for row, step in found if step is not None]
            rows["baseline"] = round(sum(done) / len(done), 3)
        return rows

    def others(self) -> dict[str, Any]:
        """Members, ensembles and candidates by the test images and by the choice images."""
        images = self.group.draw(0).unlabelled
        held_out = [onefold.evaluate(model, self.choices) for model in self.models]
        best = best_of(held_out)
        rows = {}
        for kind, made in (
            ("ensembles", ensembles(self.models, images)),
            ("candidates", candidates(self.models, images, best)),
        ):
            rows[kind] = {
                one.name: {
                    "test": percent(scored(one.judged, self.test).accuracy),
                    "choices": percent(scored(one.judged, self.choices).accuracy),
                    "seconds": round(one.seconds, 2),
                }
                for one in made
            }
        return rows

    def run(self, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Everything of the group.

        Args:
            like: what another run kept of the same members, for its ensembles and candidates.
        """
        found: dict[str, Any] = {"kind": self.group.kind, "members": self.accuracies}
        if self.group.kind == "broken":
            draws = {case: self.merged(0, case)[0] for case in CASES}
            return found | {case: {"draws": [row]} for case, row in draws.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            others = self.others() if like is None else {name: like[name] for name in OTHERS}
            return found | {case: self.case(case) for case in CASES} | others


def percent(value: float) -> float:
    """A fraction of 1 in percent, of three digits."""
    return round(100 * value, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", nargs="*", help="names without the repeat; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fold", help="a fold by its name instead of the default")
    parser.add_argument("--align", help="a matcher by its name instead of the default")
    parser.add_argument("--like", type=Path, help="another run, whose candidates are taken over")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    named = {"fold": arguments.fold, "align": arguments.align}
    options = {name: value for name, value in named.items() if value}
    record = kept(arguments.out)
    earlier = kept(arguments.like) if arguments.like else {}
    groups = {**small_groups(repeats=arguments.repeats), **trained_groups()}
    for name, group in groups.items():
        wanted = not arguments.groups or name.split("/")[0] in arguments.groups
        if name in record or not wanted:
            continue
        own, like = GroupRun(group, options), earlier.get(name)
        same = like is not None and OTHERS[0] in like and like["members"] == own.accuracies
        record[name] = own.run(like if same else None)
        keep(record, arguments.out)
        told = [
            f"{case}: {row.get('gain', '-')} ({row['draws'][0].get('choice', 'error')})"
            for case, row in ((case, record[name][case]) for case in CASES)
        ]
        print(name, record[name]["members"], *told, flush=True)


if __name__ == "__main__":
    main()
