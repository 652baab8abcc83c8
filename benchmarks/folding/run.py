r"""Fold two members by every method, ours and the authors' code, on identical checkpoints and
identical calibration images.

    python benchmarks/folding/run.py --members members --official ../align-n-merge \
        --out benchmarks/results/folding/results.json

Settings (the ridge and the prior of dense maps, the ridge of the official CCA) are chosen on the
last 5,000 training images, which no member has seen; the table is measured on the full test set.
Times are medians of interleaved rounds, ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peer import official_merge, official_reset
from torch import Tensor, nn

import onefold
from onefold.alignment import (
    Alignment,
    Reading,
    align,
    build_problem,
    feature_matchers,
    solve_problem,
)
from onefold.fold import merge
from onefold.sources import build_data
from onefold.sources.networks import resnet20, vgg11
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve, trace

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "vgg11-quarter": lambda: vgg11(0.25),
}
# Candidate settings of our matchers. CCA without the prior is the paper's method; the held-out
# images also decide between the two.
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "permutation": [{}],
    "weights": [{"balanced": balanced} for balanced in (True, False)],
    "transport": [{"entropy": entropy} for entropy in (0.0, 0.03, 0.1)],
    "zipit": [
        {"penalty": penalty, "within": within}
        for penalty in (0.1, 0.3)
        for within in (0.0, 0.125, 0.5)
    ],
    "procrustes": [{"prior": prior} for prior in (0.0, 0.1, 0.3, 1.0)],
    "cca, no prior": [
        {"regularization": ridge, "prior": 0.0} for ridge in (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
    ],
    "cca, prior": [
        {"regularization": ridge, "prior": prior}
        for ridge in (1.0, 10.0)
        for prior in (0.1, 0.3, 1.0)
    ],
}
OFFICIAL_RIDGES = (1e-4, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)
Batches = list[tuple[Tensor, Tensor]]


def load_members(folder: Path, network: str, seeds: Sequence[int]) -> list[nn.Module]:
    """The trained members in evaluation mode."""
    members = []
    for seed in seeds:
        model = NETWORKS[network]()
        model.load_state_dict(onefold.load(folder / f"{network}-seed{seed}.safetensors"))
        members.append(model.eval())
    return members


def accuracy(model: nn.Module | list[nn.Module], data: Batches) -> float:
    """Accuracy in percent, of copies in the memory layout that convolutions are fastest in."""
    models = [
        copy.deepcopy(m).to(memory_format=torch.channels_last)
        for m in (model if isinstance(model, list) else [model])
    ]
    return 100.0 * onefold.evaluate(models if isinstance(model, list) else models[0], data).accuracy


def channels_last(data: Batches) -> Batches:
    """The same batches in that layout."""
    return [(x.contiguous(memory_format=torch.channels_last), y) for x, y in data]


def floor_seconds(
    members: Sequence[nn.Module], data: Batches, rows_and_widths: Sequence[tuple[int, int]]
) -> float:
    """One forward pass of each member, and the (2K - 1) bare matrix products of each probe, on data
    of the same sizes.
    """
    blocks = [torch.randn(rows, width) for rows, width in rows_and_widths]
    products = 2 * len(members) - 1
    start = time.perf_counter()
    with torch.no_grad():
        for images, _ in data:
            for member in members:
                member(images)
            for block in blocks:
                for _ in range(products):
                    _ = block.T @ block
    return time.perf_counter() - start


def sizes(
    spec: SymmetrySpec,
    traced: TracedNetwork,
    alignment: Alignment,
    member: nn.Module,
    images: Tensor,
) -> list[tuple[int, int]]:
    """(samples of one batch, features) of every probe of an alignment."""
    found: list[tuple[int, int]] = []
    by_node: dict[str, list[int]] = {}
    for group, places in alignment.probes.items():
        for place in places:
            by_node.setdefault(place.split(" ")[0], []).append(spec.group(group).size)

    def look(node: str, values: list[Tensor]) -> None:
        found.extend((values[0].numel() // width, width) for width in by_node[node])

    traced.replay([member.state_dict()], (images,), {}, visit=look, nodes=list(by_node))
    return found


def bound(alignment: Alignment, dense: bool) -> int:
    """How many numbers the moments may hold.

    For each group (2K - 1) C^2 (permutations: (K - 1) C^2 + K C) and 2 K C for each of its probes;
    for repair, at each layer's output, K C^2 (permutations: K C) and 2 K C.
    """
    spec, k = alignment.spec, alignment.members
    total = 0
    for group in spec.groups:
        c = group.size
        total += (2 * k - 1) * c * c if dense else (k - 1) * c * c + k * c
        total += 2 * k * c * len(alignment.probes[group.name])
    for layer in spec.layers:
        c = spec.nodes[layer.output][layer.output_axis].size
        total += (k * c * c if dense else k * c) + 2 * k * c
    return total


def peak_memory(arguments: argparse.Namespace, network: str, task: str) -> float:
    """Peak resident memory in MB of a process of its own that does `task` (see memory.py)."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("memory.py")),
        network,
        task,
        "--members",
        str(arguments.members),
    ]
    command += [
        "--data",
        arguments.data,
        "--images",
        str(arguments.images),
        "--batch",
        str(arguments.batch),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def choose(
    candidates: Sequence[Any], score: Callable[[Any], float]
) -> tuple[Any, dict[str, float]]:
    """The candidate with the best held-out score, and all scores."""
    scores = {str(candidate): round(score(candidate), 2) for candidate in candidates}
    best = max(candidates, key=lambda c: scores[str(c)])
    print("   held-out:", scores, flush=True)
    return best, scores


def quality(
    network: str,
    members: list[nn.Module],
    calibration: Batches,
    held_out: Batches,
    test: Batches,
    official: Path | None,
) -> dict[str, Any]:
    """Accuracy of every method on the test set, with the settings chosen on held-out images."""
    record: dict[str, Any] = {"rows": [], "chosen": {}}

    def row(
        name: str, code: str, plain: nn.Module | list[nn.Module], repaired: nn.Module | None = None
    ) -> None:
        entry = {"method": name, "code": code, "none": round(accuracy(plain, test), 2)}
        if repaired is not None:
            entry["repair"] = round(accuracy(repaired, test), 2)
        record["rows"].append(entry)
        print(
            f"{network:<14} {code:<9} {name:<22} {entry['none']:6.2f}"
            f" {entry.get('repair', float('nan')):6.2f}",
            flush=True,
        )

    for k, member in enumerate(members):
        row(f"member {k}", "", member)
    row("ensemble", "", members)

    problem = build_problem(members, calibration, Reading(every=True))

    def fold(method: str, repair: str, **settings: Any) -> nn.Module:
        alignment = (
            "none"
            if method == "none"
            else solve_problem(problem, feature_matchers.get(method)(**settings))
        )
        return merge(members, calibration, align=alignment, repair=repair, fold="average").model

    row("average", "onefold", fold("none", "none"), fold("none", "auto"))
    for name, candidates in CANDIDATES.items():
        method, folds = name.split(",")[0], {}
        for repair in ("none", "auto"):
            best, scores = choose(
                candidates,
                lambda setting, m=method, r=repair: accuracy(fold(m, r, **setting), held_out),
            )
            record["chosen"][f"{name}, {'no repair' if repair == 'none' else 'repair'}"] = {
                "setting": best,
                "held-out accuracy": scores,
            }
            folds[repair] = fold(method, repair, **best)
        row(name, "onefold", folds["none"], folds["auto"])
    if official is not None:

        def peer(method: str, gamma: float = 0.1) -> nn.Module:
            return official_merge(official, network, members, calibration, method, gamma)[0]

        def peer_score(gamma: float) -> float:
            try:
                return accuracy(official_reset(official, peer("cca", gamma), calibration), held_out)
            except (
                torch.linalg.LinAlgError
            ):  # its decomposition of nearly singular covariances fails
                return 0.0

        gamma, scores = choose(OFFICIAL_RIDGES, peer_score)
        record["chosen"]["official cca"] = {"gamma": gamma, "held-out accuracy": scores}
        for name, method in (
            ("average", "identity"),
            ("permutation", "permute"),
            ("cca, no prior", "cca"),
            ("zipit", "zipit"),
        ):
            folded = peer(method, gamma)
            row(name, "official", folded, official_reset(official, folded, calibration))
    return record


def cost(
    network: str, members: list[nn.Module], calibration: Batches, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Seconds of statistics, solving and applying beside the floor and the official code, and
    memory.
    """
    images = calibration[0][0]
    traced = trace(members[0], (images,))
    spec = solve(traced)
    forward = peak_memory(arguments, network, "forward")
    record: dict[str, Any] = {"images": sum(len(x) for x, _ in calibration), "methods": {}}
    for method, peer_method in (("permutation", "permute"), ("cca", "cca")):
        probe_sizes = sizes(
            spec,
            traced,
            align(members, calibration[:2], method=method, spec=spec, traced=traced),
            members[0],
            images,
        )
        lines: dict[str, list[float]] = {
            "floor": [],
            "onefold": [],
            "official": [],
            "ratio to floor": [],
            "official to onefold": [],
        }
        for _ in range(arguments.rounds):
            floor = floor_seconds(members, calibration, probe_sizes)
            start = time.perf_counter()
            alignment = align(members, calibration, method=method, spec=spec, traced=traced)
            states = [alignment.apply_to_state(m.state_dict(), k) for k, m in enumerate(members)]
            ours = time.perf_counter() - start
            del states
            lines["floor"].append(floor)
            lines["onefold"].append(ours)
            lines["ratio to floor"].append(ours / floor)
            if arguments.official is not None:
                _, statistic, solving = official_merge(
                    arguments.official, network, members, calibration, peer_method
                )
                lines["official"].append(statistic + solving)
                lines["official to onefold"].append((statistic + solving) / ours)
        record["methods"][method] = {
            name: round(statistics.median(values), 3) for name, values in lines.items() if values
        } | {
            "moments MB": round(alignment.numbers * 8 / 2**20, 3),
            "bound MB": round(bound(alignment, method == "cca") * 8 / 2**20, 3),
            "peak memory beyond forward MB": round(
                peak_memory(arguments, network, method) - forward, 1
            ),
        }
        print(network, method, record["methods"][method], flush=True)
    return record


def many(
    folder: Path, network: str, calibration: Batches, test: Batches, rounds: int
) -> list[dict[str, Any]]:
    """Accuracy and cost of folding the first K members, K = 2 to 5; every round times all K in
    turn.
    """
    members = load_members(folder, network, range(5))
    spec = onefold.find_symmetries(members[0], calibration[0])
    seconds: dict[int, list[float]] = {k: [] for k in range(2, 6)}
    for _ in range(rounds):
        for k, times in seconds.items():
            start = time.perf_counter()
            alignment = align(members[:k], calibration, method="cca", spec=spec)
            times.append(time.perf_counter() - start)
    rows = []
    for k, times in seconds.items():
        folds = {
            f"{m}, repair": round(
                accuracy(merge(members[:k], calibration, align=m, fold="average").model, test), 2
            )
            for m in ("permutation", "cca")
        }
        plain = round(
            accuracy(merge(members[:k], align="none", repair="none", fold="average").model, test), 2
        )
        scores = {"average": plain, **folds, "ensemble": round(accuracy(members[:k], test), 2)}
        row = {
            "members": k,
            "seconds": round(statistics.median(times), 2),
            "seconds per member": round(statistics.median(times) / k, 2),
            **scores,
        }
        alignment = align(members[:k], calibration[:2], method="cca", spec=spec)
        row["moments MB"] = round(alignment.numbers * 8 / 2**20, 3)
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    data = f"parquet:{os.environ.get('ONEFOLD_DATA', '../shared/data')}/cifar10"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument(
        "--official", type=Path, help="checkout of the authors' code; left out: ours alone"
    )
    parser.add_argument("--data", default=data)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=sorted(NETWORKS))
    parser.add_argument("--only", choices=("quality", "cost", "many"))
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    calibration: Batches = list(
        build_data(
            arguments.data, split="train", limit=arguments.images, batch_size=arguments.batch
        )
    )
    held_out = channels_last(
        list(build_data(arguments.data, split="train", skip=45000, batch_size=500))
    )
    test = channels_last(list(build_data(arguments.data, split="test", batch_size=500)))
    record: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": 1,
        "calibration images": arguments.images,
    }
    for network in arguments.networks:
        members = load_members(arguments.members, network, (0, 1))
        own: dict[str, Any] = {
            "members": [
                json.loads((arguments.members / f"{network}-seed{seed}.json").read_text())
                for seed in (0, 1)
            ]
        }
        if arguments.only in (None, "quality"):
            own |= quality(network, members, calibration, held_out, test, arguments.official)
        if arguments.only in (None, "cost"):
            own["cost"] = cost(network, members, calibration, arguments)
        record[network] = own
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")
    if arguments.only in (None, "many"):
        record["many members"] = many(
            arguments.members, "vgg11-quarter", calibration, test, arguments.rounds
        )
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
