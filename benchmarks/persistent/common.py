"""What the benchmarks of persistent training share: swarms of small problems trained at once,
rounds over them, and how ways are compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from table import against, spread
from torch import Tensor, nn

import onefold

Starts = Sequence[Sequence[Tensor]]
Loss = Callable[[list[list[Tensor]], int], Tensor]
Candidates = dict[str, list[dict[str, Any]]]
CONTROL = "control of "


class Layer(nn.Module):
    """The parameters of one layer of one problem: a module of its own, and so a group of its own in
    the penalty.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for k, tensor in enumerate(tensors):
            self.register_parameter(f"p{k}", nn.Parameter(tensor.clone()))


class Swarm(nn.Module):
    """Many problems side by side that share nothing. starts: for every layer its tensors, each
    (problems, ...).
    """

    def __init__(self, starts: Starts) -> None:
        super().__init__()
        self.problems = len(starts[0][0])
        self.layers = nn.ModuleList(
            nn.ModuleList(Layer([tensor[k] for tensor in layer]) for k in range(self.problems))
            for layer in starts
        )
        # columns[l][i][k]: tensor i of layer l of problem k
        self.columns = [
            list(zip(*(list(one.parameters()) for one in layer), strict=True))
            for layer in self.layers
        ]  # type: ignore[arg-type]

    def stacked(self) -> list[list[Tensor]]:
        """The current tensors (problems, ...), layer by layer: leaves that take gradients."""
        return [
            [torch.stack([p.data for p in column]).requires_grad_() for column in layer]
            for layer in self.columns
        ]

    def put(self, values: Starts) -> None:
        """Set the parameters."""
        for layer, tensors in zip(self.columns, values, strict=True):
            for column, tensor in zip(layer, tensors, strict=True):
                torch._foreach_copy_([p.data for p in column], list(tensor.detach().unbind()))


def rounds(
    starts: Callable[[int], Starts],
    loss: Loss,
    steps: int,
    rate: Callable[[int], float],
    clip: float,
    momentum: float = 0.0,
    count: int = 4,
    same_order: bool = True,
    restarts: bool = False,
    **options: Any,
) -> Tensor:
    """Train `count` rounds with gradient descent; the final losses, (rounds, problems).

    starts(r): the initialisation of round r, of which persistent training only takes that of round
    0. loss(tensors, seed + step) -> (problems,): a seed of data order comes with every step, and -1
    asks for the loss over all data. clip: of each problem's gradient norm.
    """
    swarm = Swarm(starts(0))
    run = onefold.PersistentTraining(swarm, steps, **options)
    # the penalty is a mean over all groups of all problems; now each is repelled as if it were
    # alone
    run.strength *= swarm.problems
    found = []
    for number in range(count):
        if restarts and number:
            swarm.put(starts(number))
        order = 0 if same_order else number
        velocity: list[Tensor] | None = None
        for step in range(steps):
            tensors = swarm.stacked()
            flat = [tensor for layer in tensors for tensor in layer]
            gradients = list(torch.autograd.grad(loss(tensors, order * steps + step).sum(), flat))
            if number and not restarts and run.factor:
                swarm.zero_grad()
                run.add_gradient()
                own = [p for layer in swarm.columns for p in layer]
                gradients = [
                    (
                        g
                        if column[0].grad is None
                        else g + torch.stack([p.grad for p in column if p.grad is not None])
                    )
                    for g, column in zip(gradients, own, strict=True)
                ]
            norm = sum(
                (g.flatten(1).square().sum(1) for g in gradients), torch.zeros(swarm.problems)
            ).sqrt()
            scale = (clip / norm.clamp_min(1e-12)).clamp(max=1)
            gradients = [g * scale.view(-1, *[1] * (g.dim() - 1)) for g in gradients]
            velocity = (
                gradients
                if velocity is None
                else [momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
            )
            moved = iter(
                [(p.detach() - rate(step) * v) for p, v in zip(flat, velocity, strict=True)]
            )
            swarm.put([[next(moved) for _ in layer] for layer in tensors])
            run.step()
        with torch.no_grad():
            found.append(loss(swarm.stacked(), -1).detach())
        run.record(-float(found[-1].mean()))
        run.restart()
    return torch.stack(found)


def with_strengths(
    ways: dict[str, dict[str, Any]], strengths: Sequence[float], controls: Sequence[str]
) -> Candidates:
    """What can be chosen from for every way, and for the uninformed controls of some of them: the
    strength.
    """
    all_ways = ways | {CONTROL + name: {**ways[name], "control": True} for name in controls}
    return {
        name: [{**options, "strength": strength} for strength in strengths]
        for name, options in all_ways.items()
    }


def arguments_of(doc: str | None) -> argparse.Namespace:
    """--seeds and --out. doc: the script's."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def compare(
    candidates: Candidates,
    choose: Callable[[dict[str, Any]], float],
    baselines: dict[str, dict[str, Any]],
    tasks: dict[str, Callable[[int, dict[str, Any]], float]],
    seeds: Sequence[int],
    out: Path,
) -> None:
    """Choose the options of every way by `choose`, on problems of its own; score it on the tasks
    with every seed; write and print all of it.

    The best control is the one that `choose` scores highest, and all ways are compared with it.
    """
    tried = {
        name: [[choose(options), options] for options in found]
        for name, found in candidates.items()
    }
    chosen = {name: max(found, key=lambda pair: pair[0])[1] for name, found in tried.items()}
    best = max(
        (name for name in chosen if name.startswith(CONTROL)),
        key=lambda name: max(pair[0] for pair in tried[name]),
    )
    print(
        {
            name: [(round(value, 1), options["strength"]) for value, options in found]
            for name, found in tried.items()
        },
        best,
        flush=True,
    )
    record: dict[str, Any] = {
        "settings": chosen,
        "tried": tried,
        "best control": best,
        "seeds": list(seeds),
        "tasks": {},
    }
    for task, score in tasks.items():
        own = record["tasks"][task] = {
            name: [score(seed, options) for seed in seeds]
            for name, options in (baselines | chosen).items()
        }
        for name, values in own.items():
            print(
                task,
                name,
                spread(values),
                "above the best control",
                against(values, own[best]),
                flush=True,
            )
        out.write_text(json.dumps(record, indent=1) + "\n")
