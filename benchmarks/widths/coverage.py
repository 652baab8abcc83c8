"""How much of each network of the tests can be resized, beside Torch-Pruning on the same networks.

    python -m benchmarks.widths.coverage [--torch-pruning FOLDER] [--only NAME ...] [--out FILE]

Counted of onefold, by network:

    resized   groups that take part in a resize that was proved: the result runs, and its own
              symmetries are the old ones with the new widths
    joint     how groups were resized at once: all at "random" widths; else to "halves" of all but
              the heads (whose number the rest must be a multiple of), of all but the features of a
              head, of all, or of all but both
    exported  whether torch.export takes that result, and gives the same outputs

A group that no joint resize had is tried alone, at half its width.

Counted of Torch-Pruning: its own groups (`get_all_groups`) that some layer reads. Half of the
channels of one are removed from a copy by `get_pruning_group` and `prune`. Of a network with many
groups, 20 are tried, and a network has 60 CPU seconds.

    runs      groups after which the network runs
    right     groups after which it computes what the full network does once these channels are zero
              in every layer that reads them; groups with a norm over the channels are counted as
              right if they run, as there nothing else can be compared

A network that Torch-Pruning cannot trace in that time has no groups there, which is told.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in ("tests", "tests/networks")]

from tvshim import import_torchvision  # noqa: E402

import_torchvision()

from symmetry_builders import NETWORKS  # noqa: E402
from symmetry_language_builders import LANGUAGE_NETWORKS  # noqa: E402
from width_slices import half_the_units, heads_and_features, random_units  # noqa: E402

import onefold  # noqa: E402
from onefold.symmetry import example_batch, find_symmetries  # noqa: E402
from onefold.weights.resized import mark_of  # noqa: E402

MOST = 20  # groups of a network that Torch-Pruning is tried on
SECONDS = 60.0  # CPU seconds that it has for a network
OUT = Path(__file__).parents[1] / "results" / "widths" / "coverage.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-pruning", default="", help="folder that holds torch_pruning")
    parser.add_argument("--only", nargs="*", default=[], help="names of networks; all by default")
    parser.add_argument("--resume", action="store_true", help="keep what the file holds")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.torch_pruning:
        sys.path.append(arguments.torch_pruning)
    pruning, why = _torch_pruning()
    warnings.simplefilter("ignore")
    kept = arguments.resume and arguments.out.exists()
    rows: dict[str, Any] = json.loads(arguments.out.read_text())["networks"] if kept else {}
    for name, build in (NETWORKS | LANGUAGE_NETWORKS).items():
        if name in rows or (arguments.only and name not in arguments.only):
            continue
        rows[name] = measured(build, pruning)
        print(_line(name, rows[name]), flush=True)
        if not arguments.only:
            _store(rows, pruning, why, arguments.out)
    print(json.dumps(totals(rows), indent=1))


def _store(rows: dict[str, Any], pruning: Any, why: str, out: Path) -> None:
    """Write what is known so far."""
    version = getattr(pruning, "__version__", "") or why or "as installed"
    result = {
        "versions": {"torch": torch.__version__, "torch_pruning": version},
        "totals": totals(rows),
        "networks": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


def measured(build: Callable[[], Any], pruning: Any) -> dict[str, Any]:
    """The counts of one network."""
    torch.manual_seed(0)
    try:
        network = build()
    except BaseException as error:  # pytest skips where a package is missing
        return {"skipped": str(error)[:120]}
    start = time.perf_counter()
    row: dict[str, Any] = {"onefold": ours(network.model, network.inputs)}
    row["onefold"]["seconds"] = round(time.perf_counter() - start, 1)
    if pruning is not None:
        row["torch_pruning"] = theirs(network.model, network.inputs, pruning)
    return row


def ours(model: nn.Module, inputs: Any) -> dict[str, Any]:
    """What onefold.resize takes."""
    spec = find_symmetries(model, inputs)
    heads, features = heads_and_features(spec)
    attempts: dict[str, Any] = {"random": random_units(model, spec, 0)}
    for what, whole in (
        ("halves, heads kept", heads),
        ("halves, features of heads kept", features),
        ("halves", set()),
        ("halves, both kept", heads | features),
    ):
        attempts.setdefault(what, half_the_units(spec, 0, whole))
    resized: set[str] = set()
    best: tuple[str, int, nn.Module | None] = ("", 0, None)
    for what, units in attempts.items():
        small = _tried(model, spec, units, inputs)
        if isinstance(small, nn.Module):
            taken = mark_of(small)["widths"]
            resized |= {n for n, width in taken.items() if width != spec.group(n).size}
            if best[2] is None:
                best = (what, len(taken), small)
        if len(resized) == len(spec.groups) or best[0] == "random":
            break
    refused = {}
    for group in spec.groups:
        if group.name not in resized:
            small = _tried(model, spec, {group.name: -(-group.size // 2)}, inputs)
            if isinstance(small, nn.Module):
                resized |= set(mark_of(small)["widths"])
            else:
                refused[group.name] = small
    return {
        "groups": len(spec.groups),
        "resized": len(resized),
        "joint": best[0],
        "joint groups": best[1],
        "exported": best[2] is not None and _exports(best[2].eval(), inputs),
        "refused": refused,
    }


def _tried(model: nn.Module, spec: Any, widths: Any, inputs: Any) -> nn.Module | str:
    """The resized network, or why it is refused."""
    try:
        return onefold.resize(model, spec, widths, example_inputs=inputs)
    except onefold.OnefoldError as error:
        return f"{type(error).__name__}: {error}"[:250]


def _exports(model: nn.Module, inputs: Any) -> bool:
    batch = example_batch(inputs)
    try:
        exported = torch.export.export(model, batch.args, batch.kwargs).module()
        with torch.no_grad():
            return _alike(exported(*batch.args, **batch.kwargs), model(*batch.args, **batch.kwargs))
    except Exception:
        return False


def theirs(model: nn.Module, inputs: Any, pruning: Any) -> dict[str, Any]:
    """What Torch-Pruning's dependency graph takes."""
    batch = example_batch(inputs)
    given = dict(batch.kwargs) if batch.kwargs else batch.args
    found: list[tuple[bool, bool]] = []
    count = 0
    try:
        with _limited(SECONDS):
            graph = pruning.DependencyGraph().build_dependency(copy.deepcopy(model).eval(), given)
            count = len(_groups(graph))
            places = range(MOST if count else 0)
            for number in sorted({round(k * (count - 1) / (MOST - 1)) for k in places}):
                found.append(_pruned(model, batch, given, number, pruning))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:200]
        return {"groups": 0, "tried": 0, "runs": 0, "right": 0, "why": why}
    except _TooLongError:
        if not found:
            why = f"stopped after {SECONDS:g} CPU seconds"
            return {"groups": 0, "tried": 0, "runs": 0, "right": 0, "why": why}
    return {
        "groups": count,
        "tried": len(found),
        "runs": sum(ran for ran, _ in found),
        "right": sum(right for _, right in found),
        "why": "",
    }


class _TooLongError(BaseException):
    """The time is up; no handler of `Exception` on the way catches it."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `_TooLongError` in the body once it has taken so many CPU seconds."""

    def stop(*_: Any) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def _groups(graph: Any) -> list[Any]:
    """Its groups without those of the outputs, which no layer reads."""
    return [
        group
        for group in graph.get_all_groups()
        if any(graph.is_in_channel_pruning_fn(item.dep.handler) for item in group)
    ]


def _pruned(
    model: nn.Module, batch: Any, given: Any, number: int, pruning: Any
) -> tuple[bool, bool]:
    """Whether a copy runs without half of a group's channels, and computes the right thing."""
    network = copy.deepcopy(model).eval()
    try:
        graph = pruning.DependencyGraph().build_dependency(network, given)
        found = _groups(graph)[number]
        layer, function = found[0].dep.target.module, found[0].dep.handler
        group = graph.get_pruning_group(layer, function, list(range(len(found[0].idxs) // 2)))
        if not graph.check_pruning_group(group):
            return False, False
        normed = _zeroed(group, graph)
        with torch.no_grad():
            wanted = network(*batch.args, **batch.kwargs)
            group.prune()
            after = network(*batch.args, **batch.kwargs)
    except Exception:
        return False, False
    return True, normed or _alike(wanted, after)


def _zeroed(group: Any, graph: Any) -> bool:
    """Set what reads the channels of a group to zero; whether a norm runs over them."""
    normed = False
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm | nn.MultiheadAttention):
            normed = True
        if "RMSNorm" in type(module).__name__ or "LayerNorm" in type(module).__name__:
            normed = True
        weight = getattr(module, "weight", None)
        if graph.is_in_channel_pruning_fn(item.dep.handler) and isinstance(weight, Tensor):
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            axis = 0 if transposed or weight.dim() == 1 else 1
            if max(item.idxs) < weight.shape[axis]:
                index: list[Any] = [slice(None)] * weight.dim()
                index[axis] = item.idxs
                with torch.no_grad():
                    weight[tuple(index)] = 0
    return normed


def _alike(a: Any, b: Any) -> bool:
    pairs = [
        (x, y)
        for x, y in zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=False)
        if isinstance(x, Tensor)
    ]
    return all(x.shape == y.shape and torch.allclose(x, y, 1e-3, 1e-4) for x, y in pairs)


def _torch_pruning() -> tuple[Any, str]:
    """The package, or why it is not there."""
    try:
        import torch_pruning
    except ImportError as error:
        return None, f"not installed ({error})"
    return torch_pruning, ""


def totals(rows: dict[str, Any]) -> dict[str, Any]:
    """Sums over the networks, and means of the shares by network."""
    own = [row["onefold"] for row in rows.values() if "onefold" in row]
    result: dict[str, Any] = {
        "networks": len(own),
        "groups": sum(row["groups"] for row in own),
        "resized": sum(row["resized"] for row in own),
        "mean share": _mean([row["resized"] / row["groups"] for row in own if row["groups"]]),
        "networks all resized": sum(row["resized"] == row["groups"] for row in own),
        "joint": Counter(row["joint"] or "none" for row in own),
        "exported": sum(row["exported"] for row in own),
    }
    other = [row["torch_pruning"] for row in rows.values() if "torch_pruning" in row]
    if other:
        result["torch_pruning"] = {
            **{key: sum(row[key] for row in other) for key in ("groups", "tried", "runs", "right")},
            "mean share right": _mean([row["right"] / max(1, row["tried"]) for row in other]),
            "networks all right": sum(0 < row["tried"] == row["right"] for row in other),
            "networks without a graph": sum(not row["groups"] for row in other),
        }
    return result


def _mean(shares: list[float]) -> float:
    return round(sum(shares) / max(1, len(shares)), 3)


def _line(name: str, row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{name:36} skipped: {row['skipped']}"
    own, other = row["onefold"], row.get("torch_pruning")
    text = f"{name:36} {own['resized']:3} of {own['groups']:3} groups, {own['joint'] or 'none':30}"
    text += f" exported {own['exported']!s:5} {own['seconds']:6.1f} s"
    if other:
        text += f" | {other['runs']:2} run, {other['right']:2} right of {other['tried']:2}"
    return text


if __name__ == "__main__":
    main()
