"""Do two threads that call onefold at once get what each would get alone?

    python benchmarks/reliability/races.py --seconds 60 \
        --out benchmarks/results/reliability/races.json

Pairs of public functions are drawn and called in two threads on the same members. Each result must
have the bits that it has alone, and the members theirs.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import onefold

DATA = [torch.randn(24, 1, 6, 6, generator=torch.Generator().manual_seed(k)) for k in range(3)]
LABELED = [(x, torch.arange(24) % 4) for x in DATA]


def network(seed: int) -> nn.Module:
    """A small convolutional network; called by the main thread alone."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    ).eval()


def merge(**settings: Any) -> Callable[[list[nn.Module]], Any]:
    """A merge with these settings, as a job."""
    return lambda models: onefold.merge(models, DATA, **settings).model


def gates(models: list[nn.Module]) -> nn.Module:
    """A soft merge."""
    soft = onefold.SoftMerge(models, level="layer", screen=False)
    return onefold.fit_gates(soft, LABELED, steps=3).model


JOBS: dict[str, Callable[[list[nn.Module]], Any]] = {
    "find_symmetries": lambda m: onefold.find_symmetries(m[0], DATA[0]).to_json(),
    "align": lambda m: onefold.align(m, DATA, method="cca").apply(m)[1],
    "merge, permutation": merge(align="permutation", fold="average"),
    "merge, least squares": merge(align="none", fold="least_squares"),
    "merge, polish": merge(align="permutation", polish=1, fold="average"),
    "partial_merge": lambda m: onefold.partial_merge(m, DATA, until="3", align="zipit").model,
    "fit_gates": gates,
    "Subspace": lambda m: onefold.Subspace(m[0], shape="line", starts=m).midpoint(DATA),
    "evaluate": lambda m: onefold.evaluate(m, LABELED).nll,
    "barrier": lambda m: onefold.barrier(m[0], m[1], LABELED).losses,
    "compare_networks": lambda m: str(onefold.compare_networks(m, DATA)),
    "merge, default": merge(),
    "measure_pairs": lambda m: str(onefold.measure_pairs(m, LABELED)),
    "class_pool": lambda m: onefold.class_pool(m, DATA).to_dict(),
}


def bits(result: Any) -> str:
    """A digest of a network's tensors, or of a result's text."""
    digest = hashlib.sha256()
    if isinstance(result, nn.Module):
        for name, tensor in sorted(result.state_dict().items()):
            digest.update(name.encode())
            if isinstance(tensor, Tensor):
                digest.update(tensor.detach().numpy().tobytes())
    else:
        digest.update(repr(result).encode())
    return digest.hexdigest()[:12]


def race(pair: tuple[str, str], alone: dict[str, str]) -> list[str]:
    """The faults of one race."""
    models = [network(0), network(1)]
    before, got = [bits(model) for model in models], ["", ""]

    def work(number: int) -> None:
        try:
            got[number] = bits(JOBS[pair[number]](models))
        except Exception as error:  # any error is a fault
            got[number] = f"{type(error).__name__}: {str(error)[:150]}"

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faults = [
        f"{pair[k]} beside {pair[1 - k]}: {got[k]}" for k in range(2) if got[k] != alone[pair[k]]
    ]
    if [bits(model) for model in models] != before:
        faults.append(f"{pair[0]} beside {pair[1]}: the members changed")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    alone = {name: bits(job([network(0), network(1)])) for name, job in JOBS.items()}
    pairs = list(itertools.combinations_with_replacement(JOBS, 2))
    random.Random(arguments.seed).shuffle(pairs)
    faults: list[str] = []
    races, start = 0, time.monotonic()
    for pair in itertools.cycle(pairs):
        if time.monotonic() - start > arguments.seconds:
            break
        faults += race(pair, alone)
        races += 1
    record = {
        "races": races,
        "pairs": min(races, len(pairs)),
        "of pairs": len(pairs),
        "faults": faults,
    }
    print(json.dumps(record, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
