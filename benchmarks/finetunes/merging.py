"""Fine-tunes merged by a `Way`: in memory for the choice, from folders by a document to keep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from benchmarks.finetunes.candidates import Choice, Way
from onefold.checkpoints import TensorInputs, filters, merge_checkpoints
from onefold.checkpoints.methods import Method, method_of, methods, settings_of

State = Mapping[str, Tensor]


def split(way: Way, chosen: Choice) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings of the method, parameters of each model, and settings of the filter."""
    kind = methods.get(way.method)
    own = {one.name for one in settings_of(kind)}
    each = {one.name for one in kind.per_model}
    return (
        {name: value for name, value in chosen.items() if name in own},
        {name: value for name, value in chosen.items() if name in each},
        {name: value for name, value in chosen.items() if name == "alpha" and way.finish},
    )


def candidates(
    way: Way, states: Mapping[str, State], base: State
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """All settings of a way and the state that each gives.

    Args:
        way: the way.
        states: the fine-tunes by the names of their folders.
        base: the encoder before.
    """
    for chosen in way.prepared():
        if way.chain:
            for scales in way.scaled():
                yield {**chosen, **scales}, _chained(way, {**chosen, **scales}, states, base)
            continue
        used = _used(way, chosen, states)
        prepared = {}
        for scales in way.scaled():
            settings, each, behind = split(way, {**chosen, **scales})
            method = method_of(way.method, settings)
            if not prepared:
                prepared = {name: method.prepare(x) for name, x in _inputs(way, used, base, each)}
            merged = {name: method.apply(one) for name, one in prepared.items()}
            if way.finish is not None:
                calibrated = filters.get(way.finish)(**behind)
                merged = {
                    name: calibrated.filtered(prepared[name].inputs, one)
                    for name, one in merged.items()
                }
            yield {**chosen, **scales}, merged


def _used(way: Way, chosen: Choice, states: Mapping[str, State]) -> Mapping[str, State]:
    if "model" not in chosen:
        return states
    return {name: state for name, state in states.items() if name.startswith(f"{chosen['model']}-")}


def _inputs(
    way: Way, states: Mapping[str, State], base: State, each: Mapping[str, Any]
) -> Iterator[tuple[str, TensorInputs]]:
    for name, tensor in base.items():
        tensors = [state[name] for state in states.values()]
        own = tensor if way.base else None
        yield name, TensorInputs(name, tensors, list(states), own, [each] * len(tensors))


def _chained(
    way: Way, chosen: Choice, states: Mapping[str, State], base: State
) -> dict[str, Tensor]:
    (_, first), *others = states.items()
    merged = dict(first)
    for done, (name, state) in enumerate(others, 1):
        settings, _, _ = split(way, {**chosen, **_share(way, done)})
        method: Method = method_of(way.method, settings)
        merged = {
            tensor: method.apply(
                method.prepare(_pair(way, tensor, done, merged, state, base, name))
            )
            for tensor in merged
        }
    return merged


def _pair(
    way: Way, tensor: str, done: int, merged: State, state: State, base: State, name: str
) -> TensorInputs:
    if way.chain == "base":
        return TensorInputs(tensor, [state[tensor]], [name], merged[tensor])
    weights = [{"weight": float(done)}, {"weight": 1.0}]
    return TensorInputs(
        tensor, [merged[tensor], state[tensor]], ["merged", name], base[tensor], weights
    )


def _share(way: Way, done: int) -> dict[str, float]:
    return {"t": 1 / (done + 1)} if way.method == "slerp" else {}


def document(way: Way, chosen: Choice, names: Sequence[str], base: str) -> str:
    """The YAML of a way with its settings; methods of two models are documents that follow."""
    if not way.chain:
        settings, each, behind = split(way, chosen)
        used = [n for n in names if "model" not in chosen or n.startswith(f"{chosen['model']}-")]
        content: dict[str, Any] = {
            "merge_method": way.method,
            "models": [{"model": name, **({"parameters": each} if each else {})} for name in used],
        }
        if way.base:
            content["base_model"] = base
        if settings:
            content["parameters"] = settings
        if way.finish is not None:
            content["finish"] = {"name": way.finish, **behind}
        return yaml.safe_dump(content, sort_keys=False)
    texts, before = [], names[0]
    for done, name in enumerate(names[1:], 1):
        settings, _, _ = split(way, {**chosen, **_share(way, done)})
        last = done == len(names) - 1
        content = {} if last else {"name": f"step{done}"}
        content["merge_method"] = way.method
        if way.chain == "base":
            content |= {"models": [{"model": before}, {"model": name}], "base_model": before}
        else:
            content["models"] = [
                {"model": before, "parameters": {"weight": float(done)}},
                {"model": name, "parameters": {"weight": 1.0}},
            ]
            content["base_model"] = base
        if settings:
            content["parameters"] = settings
        texts.append(yaml.safe_dump(content, sort_keys=False))
        before = f"step{done}"
    return "---\n".join(texts)


def merged_folder(text: str, folder: Path, out: Path) -> Path:
    """The folder that `merge_checkpoints` makes of a document whose models lie in `folder`."""
    recipe = out.with_suffix(".yml")
    recipe.write_text(text)
    with _working_in(folder):
        merge_checkpoints(recipe, out, threads=1)
    return out


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:  # masks are drawn by the names of models
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
