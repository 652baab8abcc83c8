"""What can be told of members without labels, beside what is known of them.

    python benchmarks/default/features.py --out benchmarks/results/default/features.json
    python benchmarks/default/features.py --table benchmarks/results/default/features.json

Every group of `small_groups()` with every draw of unlabelled images; the table shows, for each
group, the least and the greatest value over repeats and draws. "members" and "ensemble" are
accuracies on labelled images for choices: what a rule cannot see. All others are features, p_k(x)
the probabilities of member k and w_k its weights:

- variation: total variation |mean_x p_a - mean_x p_b|_1 / 2, the most over pairs (where one member
  is bad, the least is that of good ones); hard: of argmax;
- chance: the "variation" to be expected of so many images if the two means were equal,
  sum_c s_c / sqrt(2 pi n), s_c the deviation of p_ac - p_bc over images, the most over pairs;
- seen: the same distance of `class_pool`'s estimates of what the members saw;
- agree: the share of images on which two members give one answer, over pairs;
- sure: mean top probability; alone: the same where no other member gives the answer, the most over
  members; ratio: of the two, the least over members;
- follow: the share of images on which a member gives the ensemble's answer, the least over members;
- distance: |w_a - w_b| / sqrt(|w_a| |w_b|) of all matrices, the most over pairs: sqrt(2) if they
  are unrelated;
- line: the share of images on which the network at the middle between two members gives the answer
  of the two's ensemble, over the mean of the members' own shares, the least over pairs; mean: of
  the average of all. Batch norms are re-estimated.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

import onefold
from benchmarks.default.groups import SmallGroup, small_groups
from benchmarks.default.record import keep, kept

DRAWS = 3
SHOWN = (
    "variation",
    "variation least",
    "hard",
    "chance",
    "seen",
    "agree least",
    "agree mean",
    "agree most",
    "sure",
    "alone",
    "ratio",
    "follow",
    "distance",
    "line",
    "mean",
)


@torch.no_grad()
def probabilities(model: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """(n, classes) of one network."""
    return torch.cat([model(x).softmax(1) for x in batches])


def average(models: Sequence[nn.Module], batches: Sequence[Tensor]) -> nn.Module:
    """The mean of networks as they are, its batch norms re-estimated."""
    found = copy.deepcopy(models[0])
    states = [model.state_dict() for model in models]
    mean = {
        name: sum(state[name] for state in states) / len(states)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    found.load_state_dict(mean)
    if any(isinstance(module, nn.BatchNorm2d) for module in found.modules()):
        onefold.recalibrate(found, list(batches))
    return found.eval()


def variations(shares: Tensor) -> list[float]:
    """The total variation of each pair of rows of (members, classes)."""
    return [float((a - b).abs().sum()) / 2 for a, b in itertools.combinations(shares, 2)]


def of_predictions(p: Tensor) -> dict[str, float]:
    """Features of probabilities (members, n, classes)."""
    answers = p.argmax(2)
    top = p.amax(2)
    pooled = p.mean(0)
    pairs = list(itertools.combinations(range(len(p)), 2))
    equal = [float((answers[a] == answers[b]).float().mean()) for a, b in pairs]
    lonely = torch.stack(
        [(answers[k] != answers[torch.arange(len(p)) != k]).all(0) for k in range(len(p))]
    )
    alone = [
        float(top[k][lonely[k]].mean()) if lonely[k].any() else math.nan for k in range(len(p))
    ]
    sure = [float(top[k].mean()) for k in range(len(p))]
    hard = torch.stack([row.bincount(minlength=p.shape[2]) / p.shape[1] for row in answers])
    deviations = [(p[a] - p[b]).std(0).sum() for a, b in pairs]
    chance = [float(d) / math.sqrt(2 * math.pi * p.shape[1]) for d in deviations]
    return {
        "variation": max(variations(p.mean(1))),
        "variation least": min(variations(p.mean(1))),
        "hard": max(variations(hard)),
        "chance": max(chance),
        "agree least": min(equal),
        "agree mean": sum(equal) / len(equal),
        "agree most": max(equal),
        "sure": min(sure),
        "alone": max(alone),
        "ratio": min(a / s for a, s in zip(alone, sure, strict=True)),
        "follow": min(float((row == pooled.argmax(1)).float().mean()) for row in answers),
    }


def of_weights(
    models: Sequence[nn.Module], batches: Sequence[Tensor], p: Tensor
) -> dict[str, float]:
    """Features of the weights, and of the networks between the members."""
    flat = [
        torch.cat([w.detach().flatten() for w in m.parameters() if w.dim() > 1]).double()
        for m in models
    ]
    pairs = list(itertools.combinations(range(len(models)), 2))
    distances = [
        float((flat[a] - flat[b]).norm() / (flat[a].norm() * flat[b].norm()).sqrt())
        for a, b in pairs
    ]

    def kept_agreement(members: Sequence[int]) -> float:
        target = p[list(members)].mean(0).argmax(1)
        middle = probabilities(average([models[k] for k in members], batches), batches)
        own = sum(float((p[k].argmax(1) == target).float().mean()) for k in members) / len(members)
        return float((middle.argmax(1) == target).float().mean()) / own

    return {
        "distance": max(distances),
        "line": min(kept_agreement(pair) for pair in pairs),
        "mean": kept_agreement(range(len(models))),
    }


def features(group: SmallGroup, number: int) -> dict[str, Any]:
    """All features of a group on one draw of unlabelled images, and what labels say."""
    models, images = group.models(), group.draw(number).unlabelled
    p = torch.stack([probabilities(model, images) for model in models])
    found: dict[str, Any] = of_predictions(p) | of_weights(models, images, p)
    found["seen"] = max(variations(onefold.class_pool(models, images).seen))
    labelled = group.draw(number).labelled
    judged = onefold.evaluate(models, labelled).accuracy
    found["members"] = [round(100 * onefold.evaluate(m, labelled).accuracy, 2) for m in models]
    found["ensemble"] = round(100 * judged, 2)
    return {name: plain(value) for name, value in found.items()}


def plain(value: Any) -> Any:
    """A number of four digits, or None for what is undefined."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def table(record: dict[str, Any]) -> None:
    """One row for each group: the least and the greatest value of each feature."""
    print("| group | kind | members | ensemble | " + " | ".join(SHOWN) + " |")
    print("|---" * (4 + len(SHOWN)) + "|")
    names = dict.fromkeys(name.split("/")[0] for name in record)
    for name in names:
        rows = [row for key, row in record.items() if key.split("/")[0] == name]
        draws = [draw for row in rows for draw in row["draws"]]
        best = [max(draw["members"]) for draw in draws]
        cells = [span(best, 1), span([draw["ensemble"] for draw in draws], 1)]
        cells += [
            span([draw[feature] for draw in draws], 3 if feature == "chance" else 2)
            for feature in SHOWN
        ]
        print(f"| {name} | {rows[0]['kind']} | " + " | ".join(cells) + " |")


def span(values: Sequence[float | None], digits: int) -> str:
    """ "least..greatest" of values that are numbers."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return low if low == high else f"{low}..{high}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("features.json"))
    parser.add_argument("--groups", nargs="*", help="names without the repeat; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", type=Path, help="print the table of such a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        table(json.loads(arguments.table.read_text()))
        return
    record = kept(arguments.out)
    for name, group in small_groups(repeats=arguments.repeats).items():
        wanted = not arguments.groups or name.split("/")[0] in arguments.groups
        if name in record or group.kind == "broken" or not wanted:
            continue
        record[name] = {
            "kind": group.kind,
            "draws": [features(group, number) for number in range(DRAWS)],
        }
        keep(record, arguments.out)
        print(name, record[name]["draws"][0], flush=True)


if __name__ == "__main__":
    main()
