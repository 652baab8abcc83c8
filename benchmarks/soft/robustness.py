r"""One, two and four bad members of five: is the result as good as the best honest member, and are
the bad members' gates exactly 0?

    python benchmarks/soft/robustness.py smallcnn --members members \
        --out benchmarks/results/soft/robustness-smallcnn.json

Gates are learned from 500 labelled held-out images. Beside them: mean, coordinate-wise median and
trimmed mean of the weights as federated learning uses them (Yin et al. 2018, arXiv 1803.01498; not
aligned, norms re-estimated), and the greedy soup (Wortsman et al. 2022, arXiv 2203.05482), which
adds a member where the same 500 images say that the average does not get worse. Gates at model
level see outputs alone, so every distinct member is run once for all rows; --live does not, and its
seconds are those of the whole job.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from attacks import ATTACKS, TRAINED, attacked
from common import GROUPS, MEMBERS, NETWORKS, accuracy, honest, numbered, parts, recorded
from torch import Tensor, nn

import onefold
from onefold.batchnorm import reestimate

Combine = Callable[[Tensor], Tensor]  # (members, ...) -> (...)


def combined(members: Sequence[nn.Module], combine: Combine, data: Any) -> nn.Module:
    """The members' weights combined coordinate by coordinate, batch norms re-estimated."""
    model = copy.deepcopy(members[0])
    states = [m.state_dict() for m in members]
    model.load_state_dict(
        {
            k: combine(torch.stack([s[k] for s in states])) if v.is_floating_point() else v
            for k, v in states[0].items()
        }
    )
    reestimate(model, data)
    return model


def trimmed(stack: Tensor) -> Tensor:
    """The mean without the least and the greatest value of every coordinate."""
    return stack.sort(0).values[1:-1].mean(0)


def greedy_soup(members: Sequence[nn.Module], data: Any) -> nn.Module:
    """Members in the order of their accuracy, each kept if the average with it is at least as
    accurate.
    """
    scores = [accuracy(m, data) for m in members]
    order = sorted(range(len(members)), key=lambda k: -scores[k])
    kept, best = [order[0]], scores[order[0]]
    for k in order[1:]:
        score = accuracy(
            combined([members[j] for j in [*kept, k]], lambda s: s.mean(0), data), data
        )
        if score >= best:
            kept, best = [*kept, k], score
    return (
        combined([members[j] for j in kept], lambda s: s.mean(0), data)
        if len(kept) > 1
        else members[kept[0]]
    )


def one(
    members: list[nn.Module],
    bad: int,
    level: str,
    labelled: Any,
    test: Any,
    known: dict[int, float],
) -> dict[str, Any]:
    """Learn gates over members of which the first `bad` are bad."""
    start = time.perf_counter()
    soft = onefold.SoftMerge(members, level, seed=bad)
    result = onefold.fit_gates(soft, labelled)
    seconds = time.perf_counter() - start
    best_honest = max(known[k] for k in range(bad, MEMBERS))
    found = accuracy(result.model, test)
    worst = float(result.gates.values[:, :bad].abs().max())
    return {
        "level": level,
        "choice": result.choice,
        "accuracy": round(found, 2),
        "above best honest": round(found - best_honest, 2),
        "gated": round(found if result.choice == "gated" else accuracy(soft.harden(), test), 2),
        "largest gate of a bad member": worst,
        "screened": len(result.soft.dropped),
        "honest screened": len([k for k in result.soft.dropped if k >= bad]),
        "seconds": round(seconds, 2),
        "seconds of gates": round(result.seconds["learn gates"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--groups", type=int, nargs="+", default=list(range(GROUPS)))
    parser.add_argument("--levels", nargs="+", default=["model"])
    parser.add_argument(
        "--baselines", type=int, default=GROUPS, help="run the baselines on so many groups"
    )
    parser.add_argument("--test", type=int, help="use so many test images (default: all)")
    parser.add_argument(
        "--live",
        action="store_true",
        help="run the members anew for every row at model level, and time that too",
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    labelled, _, test = parts(arguments.network, arguments.test)
    rows: list[dict[str, Any]] = []
    for group in arguments.groups:
        members = honest(arguments.members, arguments.network, group)
        known = {k: accuracy(m, test) for k, m in enumerate(members)}
        outputs: dict[Any, nn.Module] = {
            k: recorded(m, labelled, test) for k, m in enumerate(members)
        }
        numbers, test_numbers = numbered(labelled, test)
        for attack in (*ATTACKS, TRAINED):
            for bad in (1, 2, 4):
                spoilt = attacked(members, attack, bad, arguments.members, arguments.network)
                row: dict[str, Any] = {
                    "group": group,
                    "attack": attack,
                    "bad": bad,
                    "best honest": round(max(known[k] for k in range(bad, 5)), 2),
                }
                row["soft"] = []
                for level in arguments.levels:
                    if level != "model" or arguments.live:
                        row["soft"].append(one(spoilt, bad, level, labelled, test, known))
                        continue
                    for k in range(bad):
                        if (attack, k) not in outputs:
                            outputs[attack, k] = recorded(spoilt[k], labelled, test)
                    tables = [outputs[attack, k] if k < bad else outputs[k] for k in range(MEMBERS)]
                    row["soft"].append(one(tables, bad, level, numbers, test_numbers, known))
                if group < arguments.baselines:
                    for name, combine in (
                        ("mean", lambda s: s.mean(0)),
                        ("median", lambda s: s.median(0).values),
                        ("trimmed mean", trimmed),
                    ):
                        row[name] = round(accuracy(combined(spoilt, combine, labelled), test), 2)
                    row["greedy soup"] = round(accuracy(greedy_soup(spoilt, labelled), test), 2)
                rows.append(row)
                print(json.dumps(row), flush=True)
                arguments.out.write_text(
                    json.dumps(
                        {
                            "network": arguments.network,
                            "test images": arguments.test or 10000,
                            "rows": rows,
                        },
                        indent=1,
                    )
                    + "\n"
                )


if __name__ == "__main__":
    main()
