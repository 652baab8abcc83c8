"""What folding costs: every matcher and least squares beside the least that can be spent, ZipIt of
eight wide networks, and memory.

    python benchmarks/folding/cost.py --out benchmarks/results/folding/cost.json
    python benchmarks/folding/cost.py --parts least-squares --out part.json     a part of it
    python benchmarks/folding/cost.py --table benchmarks/results/folding/cost.json

matchers: statistics (with all that repair needs), solving and applying, without the trace of the
network (once for each architecture). The floor is one forward pass of each member over the images
and the matrix products that the matcher cannot do without, bare: K - 1 for each place that is read
where variances are enough, 2K - 1 with covariances, K (K + 1) / 2 where all pairs are measured. The
members run as they come; the floor of copies in channels-last layout, in which convolutions are
faster on many processors and ours run, stands beside it. least-squares: the fold alone, and with
its alignment, which pruning does without; the floor is the forward passes and the bare products X'X
and X'T of its rows, of pruning also those of the units of both members. zipit: eight VGG11 of full
width, random weights, beside the official matching function, which is stopped after --limit
seconds. memory: the peak of a process that does one thing, over that of one that traces and runs
each member on one batch; and the numbers that the moments hold beside their bound. Seconds are
those of one thread on a core, so that what else runs on the machine counts little; rounds are
interleaved, a ratio is taken within its round, the median of the rounds is shown.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time as clock  # of one thread: what a core spends, even where it is shared
from typing import Any
from unittest import mock

import torch
from cost_table import TARGETS, table
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
from onefold.alignment.matchers import JointMatcher, StateMatcher
from onefold.fold import LeastSquares, steps
from onefold.fold.least_squares.consumers import Consumer
from onefold.sources import build_data
from onefold.sources.networks import resnet20, vgg11
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve, trace


def vit() -> nn.Module:
    """timm's ViT-Tiny on 64 patches of a 32 x 32 image."""
    import timm

    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=10
    )
    return model


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and how many images serve
    "vgg11-quarter": (lambda: vgg11(0.25), 2000),
    "resnet20-brief": (resnet20, 500),
    "vit-tiny": (vit, 300),
}
FOLDED = {"resnet20-brief": 2000}  # for least squares, as in study.py
PARTS = ("matchers", "least-squares", "zipit", "memory")
METHODS = [entry.name for entry in feature_matchers]


def build(arguments: argparse.Namespace, network: str) -> list[nn.Module]:
    """Two members: trained ones where there are files, else with random weights."""
    members = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = NETWORKS[network][0]()
        file = arguments.members / f"{network}-seed{seed}.safetensors"
        if file.exists():
            model.load_state_dict(onefold.load(file))
        members.append(model.eval())
    return members


def images(arguments: argparse.Namespace, count: int, size: int = 100) -> list[Tensor]:
    return [
        x
        for x, _ in build_data(
            f"parquet:{arguments.data}/cifar10", split="train", limit=count, batch_size=size
        )
    ]


class Floor:
    """Forward passes of the members as they come, and of copies in the layout that convolutions are
    fastest in.
    """

    def __init__(self, members: Sequence[nn.Module], data: Sequence[Tensor]) -> None:
        self.members, self.data = members, data
        self.fast = [copy.deepcopy(m).to(memory_format=torch.channels_last) for m in members]
        self.fast_data = [x.contiguous(memory_format=torch.channels_last) for x in data]
        self.forward()  # once without the clock

    def forward(self) -> tuple[float, float]:
        """Seconds of one forward pass of each member over all images, as they come and in
        channels-last layout.
        """
        seconds = []
        for members, data in ((self.members, self.data), (self.fast, self.fast_data)):
            start = clock()
            with torch.no_grad():
                for x in data:
                    for member in members:
                        member(x)
            seconds.append(clock() - start)
        return seconds[0], seconds[1]


def products(shapes: Sequence[tuple[int, int, int]], times: int) -> float:
    """Seconds of `times` times all products of an (n, a) and an (n, b) block."""
    blocks = [(torch.randn(n, a), torch.randn(n, b)) for n, a, b in shapes]
    start = clock()
    for _ in range(times):
        for left, right in blocks:
            _ = left.T @ right
    return clock() - start


def pairs(method: str, k: int) -> int:
    """How many products of each place a matcher cannot do without."""
    kind = feature_matchers.get(method)
    if issubclass(kind, StateMatcher) or method == "identity":
        return 0
    return (
        k * (k + 1) // 2
        if issubclass(kind, JointMatcher)
        else 2 * k - 1
        if kind.covariances
        else k - 1
    )


def places(
    spec: SymmetrySpec,
    traced: TracedNetwork,
    alignment: Alignment,
    member: nn.Module,
    batch: Tensor,
) -> list[tuple[int, int, int]]:
    """(samples of one batch, features, features) of everything that an alignment read."""
    found: list[tuple[int, int, int]] = []
    by_node: dict[str, list[int]] = {}
    for name, nodes in alignment.probes.items():
        for place in nodes:
            by_node.setdefault(place.split(" ")[0], []).append(spec.group(name.rstrip("'")).size)

    def look(node: str, values: list[Tensor]) -> None:
        found.extend((values[0].numel() // width, width, width) for width in by_node[node])

    if by_node:
        traced.replay([member.state_dict()], (batch,), {}, visit=look, nodes=list(by_node))
    return found


def bound(alignment: Alignment, method: str) -> int:
    """How many numbers the moments may hold, whatever the number of images.

    For each group its scatter matrices (variances) and cross products, and 2 K C for each place;
    for repair the scatter matrices (variances) of each layer's output and 2 K C.
    """
    spec, k, kind = alignment.spec, alignment.members, feature_matchers.get(method)
    cross = k * (k - 1) // 2 if issubclass(kind, JointMatcher) else k - 1

    def own(c: int) -> int:
        return k * c * c if kind.covariances else k * c

    total = 0
    for name, nodes in alignment.probes.items():
        c = spec.group(name.rstrip("'")).size
        fibres = max(1, *(slot_count(spec, name.rstrip("'")),))
        total += own(c * fibres) + cross * (c * fibres) ** 2 + 2 * k * c * fibres * len(nodes)
    for layer in spec.layers:
        c = spec.nodes[layer.output][layer.output_axis].size
        total += own(c) + 2 * k * c
    return total


def slot_count(spec: SymmetrySpec, name: str) -> int:
    """How many fibres of a group may stand side by side."""
    count = 1
    for over in spec.group(name).over:
        count *= spec.group(over).size
    return count


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def time_matchers(
    arguments: argparse.Namespace, network: str, methods: Sequence[str]
) -> dict[str, Any]:
    """Seconds, floor and ratio of every matcher."""
    members, data = build(arguments, network), images(arguments, NETWORKS[network][1])
    start = clock()
    traced = trace(members[0], (data[0],))
    spec = solve(traced)
    record: dict[str, Any] = {"images": sum(map(len, data)), "trace, s": round(clock() - start, 2)}
    floor = Floor(members, data)

    def everything(method: str) -> tuple[float, float]:
        """Seconds of all of it, as `align` does it, and of solving and applying."""
        matcher, start = feature_matchers.get(method)(), clock()
        problem = build_problem(members, data, Reading.of(matcher), spec=spec, traced=traced)
        middle = clock()
        alignment = solve_problem(problem, matcher)
        _ = [alignment.apply_to_state(m.state_dict(), k) for k, m in enumerate(members)]
        return clock() - start, clock() - middle

    read = {
        m: places(
            spec,
            traced,
            align(members, data[:3] + data[-3:], method=m, spec=spec, traced=traced),
            members[0],
            data[0],
        )
        for m in methods
    }
    lines: dict[str, dict[str, list[float]]] = {m: {} for m in methods}
    for _ in range(arguments.rounds):
        forward, fast = floor.forward()
        for method in methods:
            bare = products(read[method], pairs(method, len(members)) * len(data))
            seconds, solving = everything(method)
            row = {
                "forward": forward,
                "forward, channels last": fast,
                "products": bare,
                "onefold": seconds,
                "solve and apply": solving,
            }
            row |= {
                "ratio": seconds / (forward + bare),
                "ratio, channels last": seconds / (fast + bare),
            }
            for name, value in row.items():
                lines[method].setdefault(name, []).append(value)
    for method, line in lines.items():
        record[method] = {name: median(values) for name, values in line.items()} | {
            "ratios": [round(r, 2) for r in line["ratio"]]
        }
        print(network, method, record[method], flush=True)
    return record


def time_least_squares(arguments: argparse.Namespace, network: str) -> dict[str, Any]:
    """Seconds of the fold (alone, and with its alignment by permutation) and of its floor."""
    members, data = (
        build(arguments, network),
        images(arguments, FOLDED.get(network, NETWORKS[network][1])),
    )
    traced = trace(members[0], (data[0],))
    spec = solve(traced)
    floor = Floor(members, data)
    state, add = members[0].state_dict(), Consumer.add
    lines: dict[str, dict[str, list[float]]] = {target: {} for target in TARGETS}
    alignment = align(members, data, method="permutation", spec=spec, traced=traced)
    for number in range(arguments.rounds + 1):
        for target in TARGETS:
            forward, fast = floor.forward()
            sizes: list[tuple[int, int, int]] = []

            def recorded(
                consumer: Consumer, x: Tensor, y: Tensor, sizes: list[tuple[int, int, int]] = sizes
            ) -> None:
                sizes.extend([(len(x), x.shape[1], x.shape[1]), (len(x), x.shape[1], y.shape[1])])
                add(consumer, x, y)

            start = clock()
            with (
                # The trace is not counted.
                mock.patch.object(steps, "trace_on", return_value=traced),
                mock.patch.object(Consumer, "add", recorded),
            ):
                result = onefold.merge(
                    members, data, align=alignment, fold=LeastSquares(target=target)
                )
            fold = clock() - start
            for site in result.report.folded["layers"]:
                weights = [state[name] for name in site["weights"].split(" + ")]
                inputs = sum(w[0].numel() for w in weights)
                sizes += [
                    (site["rows"], inputs, inputs),
                    (site["rows"], inputs, weights[0].shape[0]),
                ]
            gram = products(sizes, 1)
            start = clock()
            if target != "pruning":
                align(members, data, method="permutation", spec=spec, traced=traced)
            seconds = clock() - start
            row = {
                "forward": forward,
                "forward, channels last": fast,
                "products": gram,
                "fold": fold,
                "alignment": seconds,
                "bound": 4 * forward + gram,
                "ratio": fold / (forward + gram),
            }
            row |= {
                "ratio with alignment": (fold + seconds) / (forward + gram),
                "ratio, channels last": fold / (fast + gram),
            }
            for name, value in row.items() if number else ():  # the first round warms up
                lines[target].setdefault(name, []).append(value)
    record = {
        target: {name: median(values) for name, values in line.items()}
        for target, line in lines.items()
    }
    for target, line in record.items():
        print(network, "least squares,", target, line, flush=True)
    return record | {"images": sum(map(len, data))}


def time_zipit(arguments: argparse.Namespace) -> dict[str, Any]:
    """Eight VGG11 of full width: all of it by ours; the widest group by ours and by the official
    matching function.
    """
    members = []
    for seed in range(8):
        torch.manual_seed(seed)
        members.append(vgg11(1.0).eval())
    data = images(arguments, 300, 50)
    traced = trace(members[0], (data[0],))
    spec = solve(traced)
    problem = build_problem(members, data, Reading(every=True), spec=spec, traced=traced)
    moments = max(problem.statistics.groups.values(), key=lambda m: m.width)
    matcher = feature_matchers.get("zipit")()
    assert isinstance(matcher, JointMatcher)
    ours = []
    for _ in range(arguments.rounds):
        start = clock()
        matcher.match_all(moments)
        ours.append(clock() - start)
    start = clock()
    alignment = align(members, data, method="zipit", spec=spec, traced=traced)
    _ = [alignment.apply_to_state(m.state_dict(), k) for k, m in enumerate(members)]
    record: dict[str, Any] = {
        "members": 8,
        "features": moments.width,
        "one group, s": median(ours),
        "all, s": round(clock() - start, 1),
    }
    if arguments.official is not None:
        record |= official_zipit(arguments, moments)
    print("zipit", record, flush=True)
    return record


class StoppedError(Exception):
    """The official function took too long."""


def official_zipit(arguments: argparse.Namespace, moments: Any) -> dict[str, Any]:
    """Seconds of the official matching of one group, or how many of its merges were done within the
    limit.
    """
    from peer import _import

    code = _import(arguments.official).matching
    k, width = moments.members, moments.width
    covariance = torch.cat(
        [torch.cat([moments.between(i, j) for j in range(k)], 1) for i in range(k)], 0
    ).float()
    remove, calls, start = code.remove_col, 0, clock()

    def counted(x: Tensor, index: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if clock() - start > arguments.limit:
            raise StoppedError
        result: Tensor = remove(x, index)
        return result

    code.remove_col = counted
    try:
        code.match_tensors_zipit({"covariance": covariance}, r=1 - 1 / k)
        return {"official, one group, s": round(clock() - start, 1)}
    except StoppedError:
        # Of the merge matrix, the columns and rows of similarities, and the origins.
        done = calls // 4
        return {
            "official merges within the limit": done,
            "merges": (k - 1) * width,
            "limit, s": arguments.limit,
        }
    finally:
        code.remove_col = remove


def child(arguments: argparse.Namespace) -> None:
    """Peak resident memory in MB of this process after one task, and the numbers of the moments and
    their bound.
    """
    network, task, count = arguments.child.split(":")
    members, data = build(arguments, network), images(arguments, int(count))
    traced = trace(members[0], (data[0],))
    spec = solve(traced)
    with torch.no_grad():
        for member in members:
            member(data[0])
    found = {}
    if task == "least squares":
        onefold.merge(members, data, align="permutation", fold="least_squares")
    elif task != "forward":
        alignment = align(members, data, method=task, spec=spec, traced=traced)
        _ = [alignment.apply_to_state(m.state_dict(), k) for k, m in enumerate(members)]
        found = {
            "moments MB": alignment.numbers * 8 / 2**20,
            "bound MB": bound(alignment, task) * 8 / 2**20,
        }
    # Not getrusage: its maximum survives exec and would tell the size of the parent.
    peak = next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    print(json.dumps({"peak MB": peak} | found))


def measure_memory(
    arguments: argparse.Namespace, network: str, tasks: Sequence[str]
) -> dict[str, Any]:
    """Peak of each task beyond one forward pass, for two numbers of images."""
    record: dict[str, Any] = {}

    def one(task: str, count: int) -> dict[str, float]:
        command = [
            sys.executable,
            __file__,
            "--child",
            f"{network}:{task}:{count}",
            "--members",
            str(arguments.members),
            "--data",
            arguments.data,
        ]
        found: dict[str, float] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        return found

    most = NETWORKS[network][1]
    counts = (most // 4, most)
    base = {count: one("forward", count)["peak MB"] for count in counts}
    for task in tasks:
        row: dict[str, Any] = {}
        for count in counts:
            found = one(task, count)
            row[f"{count} images"] = round(found.pop("peak MB") - base[count], 1)
            row |= {name: round(value, 3) for name, value in found.items()}
        if "bound MB" in row:
            assert row["moments MB"] <= row["bound MB"], (task, row)
        record[task] = row
        print(network, task, row, flush=True)
    return record | {"process of one forward pass, MB": round(base[most], 0)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--data", default=os.environ.get("ONEFOLD_DATA", "../shared/data"))
    parser.add_argument(
        "--official", type=Path, help="checkout of align-n-merge, for the official ZipIt"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=60.0,
        help="seconds after which the official ZipIt is stopped",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("cost.json"))
    parser.add_argument("--table", type=Path, help="only print this record as Markdown")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table is not None:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    if arguments.child is not None:
        child(arguments)
        return
    record: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    record |= {"torch": torch.__version__, "threads": 1, "rounds": arguments.rounds}

    def save() -> None:
        temporary = arguments.out.with_suffix(".part")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(arguments.out)

    for network in arguments.networks:
        if "matchers" in arguments.parts:
            record.setdefault("matchers", {}).setdefault(network, {}).update(
                time_matchers(arguments, network, arguments.methods)
            )
        if "least-squares" in arguments.parts:
            record.setdefault("least-squares", {})[network] = time_least_squares(arguments, network)
        if "memory" in arguments.parts:
            tasks = [*arguments.methods, "least squares"]
            record.setdefault("memory", {}).setdefault(network, {}).update(
                measure_memory(arguments, network, tasks)
            )
        save()
    if "zipit" in arguments.parts:
        record["zipit"] = time_zipit(arguments)
        save()


if __name__ == "__main__":
    main()
