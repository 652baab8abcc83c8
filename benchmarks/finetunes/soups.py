"""Soups: seeds of one task, their mean, a greedy mean, and their ensemble.

    python -m benchmarks.finetunes.soups

Encoder and head are averaged alike; all seeds start from the same weights. The best member and the
greedy soup (Wortsman et al. 2022, arXiv 2203.05482) are chosen on the held-out fifth of the
training sentences: members from the best on, each kept if the mean of all kept ones gets no worse.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.finetunes.network import features, load_encoder, load_head
from benchmarks.finetunes.scoring import packed
from benchmarks.finetunes.texts import load
from benchmarks.finetunes.train import AGAIN, RESULTS, SEEDS, keep
from benchmarks.finetunes.training import state_folder, versions
from benchmarks.tasks.examples import Examples
from onefold.checkpoints import merge_states

State = dict[str, Tensor]


def state_of(folder: Path) -> State:
    """Encoder and head as one state."""
    parts = {"encoder": load_encoder(folder), "head": load_head(folder)}
    return {
        f"{name}.{key}": value for name, p in parts.items() for key, value in p.state_dict().items()
    }


@torch.inference_mode()
def probabilities(shell: nn.ModuleDict, state: State, examples: Examples) -> Tensor:
    """(n, classes) of one network."""
    shell.load_state_dict(state)
    outputs: Tensor = shell["head"](features(shell["encoder"], examples))
    return outputs.softmax(1)


def soups(folders: list[Path], task: str) -> dict[str, Any]:
    """Members, soups and the ensemble."""
    began = time.process_time()
    parts = load(task, folders[0])
    shell = nn.ModuleDict({"encoder": load_encoder(folders[0]), "head": load_head(folders[0])})
    states = {folder.name: state_of(folder) for folder in folders}

    def held(state: State) -> float:
        return _share(probabilities(shell, state, parts.held), parts.held)

    def test(state: State) -> Tensor:
        return probabilities(shell, state, parts.test)

    alone = {name: held(state) for name, state in states.items()}
    order = sorted(states, key=lambda name: -alone[name])
    kept, most = order[:1], alone[order[0]]
    for name in order[1:]:
        share = held(_mean([states[k] for k in (*kept, name)]))
        if share >= most:
            kept, most = [*kept, name], share
    outputs = {name: test(state) for name, state in states.items()}
    mean = _mean(list(states.values()))
    rows = {
        **{f"member {name}": (alone[name], outputs[name]) for name in states},
        "plain mean": (held(mean), test(mean)),
        "greedy": (most, test(_mean([states[k] for k in kept]))),
        "ensemble": (None, torch.stack(list(outputs.values())).mean(0)),
    }
    labels = parts.test.labels
    return {
        "task": task,
        "best": f"member {order[0]}",
        "greedy": kept,
        "versions": versions(),
        "rows": {
            name: {"held": share, "test": packed(found.argmax(1) == labels)}
            for name, (share, found) in rows.items()
        },
        "cpu seconds": round(time.process_time() - began, 1),
    }


def _mean(states: list[State]) -> State:
    return (
        merge_states(states, "linear", parameters={"weight": 1.0}) if len(states) > 1 else states[0]
    )


def _share(outputs: Tensor, examples: Examples) -> float:
    return float((outputs.argmax(1) == examples.labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "soups.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    keep(soups([state_folder() / f"{AGAIN}-{seed}" for seed in (0, *SEEDS)], AGAIN), out)


if __name__ == "__main__":
    main()
