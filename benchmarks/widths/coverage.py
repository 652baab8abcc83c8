"""How much of each network of the tests can be resized, beside Torch-Pruning on the same networks.

    python -m benchmarks.widths.coverage [--torch-pruning FOLDER] [--only NAME] [--out FILE]

Counted of onefold, by network:

    alone     groups that `onefold.resize` takes at half their width (with what one size of a module
              counts together with them), proved by running and by the symmetries of the result
    joint     whether all of these take random widths at once
    exported  whether torch.export takes the joint result

Counted of Torch-Pruning: its own groups (`get_all_groups`) whose root is no output layer. Half of
the channels of one are removed from a copy by `get_pruning_group` and `prune`.

    runs      groups after which the network runs
    right     groups after which it computes what the full network does once these channels are
              zero in every layer that reads them; groups with a norm over the channels are
              counted as right if they run, as there nothing else can be compared

A network that Torch-Pruning cannot trace has no groups there, which is told.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import onefold
from onefold.symmetry import example_batch, find_symmetries

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in ("tests", "tests/networks")]
OUT = Path(__file__).parents[1] / "results" / "widths" / "coverage.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-pruning", default="", help="folder that holds torch_pruning")
    parser.add_argument("--only", nargs="*", default=[], help="names of networks; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.torch_pruning:
        sys.path.append(arguments.torch_pruning)
    pruning, why = _torch_pruning()
    from symmetry_builders import NETWORKS
    from symmetry_language_builders import LANGUAGE_NETWORKS

    warnings.simplefilter("ignore")
    rows: dict[str, Any] = {}
    for name, build in (NETWORKS | LANGUAGE_NETWORKS).items():
        if arguments.only and name not in arguments.only:
            continue
        rows[name] = measured(name, build, pruning)
        print(_line(name, rows[name]), flush=True)
    result = {
        "versions": {
            "torch": torch.__version__,
            "torch_pruning": getattr(pruning, "__version__", why),
        },
        "networks": rows,
        "totals": totals(rows),
    }
    print(json.dumps(result["totals"], indent=1))
    if not arguments.only:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def measured(name: str, build: Callable[[], Any], pruning: Any) -> dict[str, Any]:
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
    refused: dict[str, str] = {}
    taken: dict[str, int] = {}
    for group in spec.groups:
        try:
            onefold.resize(model, spec, {group.name: -(-group.size // 2)}, example_inputs=inputs)
            taken[group.name] = group.size
        except Exception as error:
            refused[group.name] = f"{type(error).__name__}: {error}"[:200]
    generator = torch.Generator().manual_seed(0)
    widths = {
        name: int(torch.randint(min(2, size), size + 1, (), generator=generator))
        for name, size in taken.items()
    }
    joint, exported, why = _joint(model, spec, widths, inputs)
    return {
        "groups": len(spec.groups),
        "alone": len(taken),
        "joint": joint,
        "exported": exported,
        "why": why,
        "refused": refused,
    }


def _joint(
    model: nn.Module, spec: onefold.SymmetrySpec, widths: dict[str, int], inputs: Any
) -> tuple[bool, bool, str]:
    try:
        small = onefold.resize(model, spec, widths, example_inputs=inputs).eval()
    except Exception as error:
        return False, False, f"{type(error).__name__}: {error}"[:200]
    batch = example_batch(inputs)
    try:
        torch.export.export(small, batch.args, batch.kwargs)
    except Exception as error:
        return True, False, f"{type(error).__name__}: {error}"[:200]
    return True, True, ""


def theirs(model: nn.Module, inputs: Any, pruning: Any) -> dict[str, Any]:
    """What Torch-Pruning's dependency graph takes."""
    batch = example_batch(inputs)
    given = batch.kwargs if batch.kwargs else batch.args
    try:
        graph = pruning.DependencyGraph().build_dependency(copy.deepcopy(model).eval(), given)
        roots = [group[0].dep.target.name.split(" ")[0] for group in _groups(graph, pruning)]
    except Exception as error:
        return {"groups": 0, "runs": 0, "right": 0, "why": f"{type(error).__name__}: {error}"[:200]}
    runs = right = 0
    for number in range(len(roots)):
        ran, same = _pruned(model, batch, given, number, pruning)
        runs, right = runs + ran, right + same
    return {"groups": len(roots), "runs": runs, "right": right, "why": ""}


def _groups(graph: Any, pruning: Any) -> list[Any]:
    """Its groups without those of the outputs, whose number is the user's."""
    found = []
    for group in graph.get_all_groups():
        readers = [item for item in group if graph.is_in_channel_pruning_fn(item.dep.handler)]
        if readers:
            found.append(group)
    return found


def _pruned(
    model: nn.Module, batch: Any, given: Any, number: int, pruning: Any
) -> tuple[bool, bool]:
    """Whether a copy runs without half of the channels of a group, and computes the right thing."""
    network = copy.deepcopy(model).eval()
    try:
        graph = pruning.DependencyGraph().build_dependency(network, given)
        group = _groups(graph, pruning)[number]
        layer, function = group[0].dep.target.module, group[0].dep.handler
        count = len(group[0].idxs)
        group = graph.get_pruning_group(layer, function, list(range(count // 2)))
        if not graph.check_pruning_group(group):
            return False, False
        normed = _zeroed(group, graph)
        with torch.no_grad():
            wanted = network(*batch.args, **batch.kwargs)
        group.prune()
        with torch.no_grad():
            found = network(*batch.args, **batch.kwargs)
    except Exception:
        return False, False
    return True, normed or _alike(wanted, found)


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
    """Sums over all networks that both were tried on."""
    found = {name: row for name, row in rows.items() if "onefold" in row}
    own = [row["onefold"] for row in found.values()]
    result: dict[str, Any] = {
        "networks": len(own),
        "groups": sum(row["groups"] for row in own),
        "alone": sum(row["alone"] for row in own),
        "joint": sum(row["joint"] for row in own),
        "exported": sum(row["exported"] for row in own),
    }
    other = [row["torch_pruning"] for row in found.values() if "torch_pruning" in row]
    if other:
        result["torch_pruning"] = {
            "groups": sum(row["groups"] for row in other),
            "runs": sum(row["runs"] for row in other),
            "right": sum(row["right"] for row in other),
            "networks without a graph": sum(not row["groups"] for row in other),
            "networks all right": sum(0 < row["groups"] == row["right"] for row in other),
        }
        result["networks all resized"] = sum(row["alone"] == row["groups"] for row in own)
    return result


def _line(name: str, row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{name:40} skipped: {row['skipped']}"
    own, other = row["onefold"], row.get("torch_pruning")
    text = f"{name:40} {own['alone']:3} of {own['groups']:3} groups, joint {own['joint']!s:5}"
    text += f" exported {own['exported']!s:5} {own['seconds']:6.1f} s"
    if other:
        text += f" | {other['runs']:3} run, {other['right']:3} right of {other['groups']:3}"
    return text


if __name__ == "__main__":
    main()
