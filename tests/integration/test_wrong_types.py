"""Every parameter of every public function gets a value of a wrong type: one sentence, or a result.

No value may end in an error of another library. The networks and the data are tiny, and what takes
long is computed once, so that values that are fine cost little.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import onefold
from onefold.errors import OnefoldError, RepeatedMembers
from onefold.symmetry import trace

# Results and records, which users read and do not make.
METHODS = {
    "Subspace": ("between", "grow", "midpoint", "vertex", "at", "ensemble"),
    "PersistentTraining": ("restart", "network", "ensemble", "load_state_dict"),
    "SoftMerge": ("prepare", "recalibrate"),
    "Alignment": ("apply", "save", "load"),
    "SymmetrySpec": ("group", "from_json"),
}
RECORDS = {
    "SymmetrySpec",
    "Alignment",
    "MergeResult",
    "PartialMerge",
    "PruneResult",
    "ClassPool",
    "OnefoldError",
    "Task",
}
# Nothing was recorded in these rounds, so that only the types of the arguments can be judged.
REFUSED = {f"PersistentTraining.{name}" for name in ("network", "ensemble", "load_state_dict")}
WRONG: dict[str, Any] = {
    "None": None,
    "a lambda": lambda *args, **kwargs: None,
    "a class": dict,
    "text": "7",
    "an empty list": [],
    "an empty dict": {},
    "an object": object(),
    "True": True,
}


def network(seed: int = 0) -> nn.Sequential:
    """Two layers from 4 numbers to 2 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).eval()


@functools.cache
def shared() -> dict[str, Any]:
    """What takes long, computed once."""
    torch.manual_seed(0)
    batches = [(torch.randn(12, 4), torch.arange(12) % 2) for _ in range(3)]
    traced = trace(network(), (batches[0][0],), {})
    spec = onefold.find_symmetries(network(), traced=traced)
    models = [network(0), network(1)]
    alignment = onefold.align(models, batches, method="permutation", spec=spec, traced=traced)
    return {"data": batches, "traced": traced, "spec": spec, "alignment": alignment}


def valid(name: str, folder: Path) -> dict[str, Any]:
    """Arguments with which a public function runs at once."""
    known = shared()
    data, models = known["data"], [network(0), network(1)]
    graph = {"spec": known["spec"], "traced": known["traced"]}
    plain = {"align": "none", "fold": "average", "repair": "none"}
    saved = folder / "net.pt"
    if name == "load":
        torch.save(network().state_dict(), saved)
    if name in ("merge_checkpoints", "compare_checkpoints"):
        _write_document(folder)
    if name == "load_resized":
        small = onefold.resize(network(), known["spec"], {"g0": 2})
        onefold.save(small, folder / "small.safetensors", force=True)
    several = {"models": models, "data": data}
    single = {"model": network(), "data": data}
    given: dict[str, dict[str, Any]] = {
        "find_symmetries": {"model": network(), "traced": known["traced"]},
        "verify_symmetries": {
            "spec": known["spec"],
            "model": network(),
            "example_inputs": data[0],
            "trials": 1,
            "negatives": 1,
        },
        "align": {**several, **graph, "method": "permutation"},
        "merge": {**several, **plain},
        "measure_targets": {**several, **graph, "alignment": known["alignment"]},
        "repair": {**single, **graph, "targets": {}},
        "polish": {"model": network(), "teachers": models, "data": data, "settings": 1},
        "fold_to_budgets": {**several, "budgets": ["1x"]},
        "prune": {**single, "width": 0.5},
        "resize": {"model": network(), "spec": known["spec"], "widths": {"g0": 2}},
        "load_resized": {"factory": network, "path": folder / "small.safetensors"},
        "partial_merge": {**several, **plain, "until": "2"},
        "recalibrate": single,
        "SoftMerge": {"models": models, "align": "none"},
        "fit_gates": {
            "soft": onefold.SoftMerge(models, "model", screen=False),
            "data": data,
            "steps": 1,
        },
        "Subspace": {"model": network()},
        "PersistentTraining": {"model": network(), "steps_per_round": 2},
        "compare_networks": {"models": models, "data": data},
        "measure_pairs": {"networks": models, "data": data, "align": False, "points": 3},
        "evaluate": single,
        "evaluate_all": {"models": models, "data": data},
        "Metric": {"of": lambda outputs, labels: 0.0},
        "merge_checkpoints": {"document": folder / "merge.yml", "out": folder / "merged"},
        "compare_checkpoints": {
            "paths": [str(folder / f"{number}.safetensors") for number in range(2)]
        },
        "class_pool": {"models": models, "data": data},
        "Ensemble": {"models": models},
        "barrier": {"a": models[0], "b": models[1], "data": data, "points": 3},
        "Subspace.between": {"a": models[0], "b": models[1]},
        "Subspace.midpoint": {"data": data},
        "Subspace.vertex": {"index": 0, "data": data},
        "Subspace.at": {"where": [0.5, 0.25, 0.25], "data": data},
        "Subspace.ensemble": {"n": 1, "data": data, "at": [[0.5, 0.25, 0.25]]},
        "PersistentTraining.restart": {"abandon": True},
        "PersistentTraining.network": {"number": 0},
        "PersistentTraining.load_state_dict": {"state": {}},
        "SoftMerge.prepare": {"data": data},
        "SoftMerge.recalibrate": {"data": data},
        "Alignment.apply": {"models": models},
        "Alignment.save": {"path": folder / "out.safetensors", "force": True},
        "Alignment.load": {"path": folder / "out.safetensors"},
        "SymmetrySpec.group": {"name": "g0"},
        "SymmetrySpec.from_json": {"text": known["spec"].to_json()},
        "write_report": {
            "result": onefold.merge(models, **plain) if name == "write_report" else None,
            "models": models,
            "data": data,
            "path": folder / "page.html",
            "force": True,
        },
        "Batches": {"data": data},
        "load": {"path": saved},
        "save": {"model_or_state": network(), "path": folder / "out.pt", "force": True},
    }
    return given.get(name, {})


def _write_document(folder: Path) -> None:
    """Two files of weights, and the document of their merge."""
    for number in range(2):
        onefold.save(network(number), folder / f"{number}.safetensors", force=True)
    models = [
        {"model": str(folder / f"{number}.safetensors"), "parameters": {"weight": 0.5}}
        for number in range(2)
    ]
    content = {"merge_method": "linear", "models": models}
    (folder / "merge.yml").write_text(json.dumps(content))


def public(name: str) -> Callable[..., Any]:
    """A public function, or a method of an object of a public class."""
    owner, _, method = name.partition(".")
    made: dict[str, Callable[[], Any]] = {
        "Subspace": lambda: onefold.Subspace(network()),
        "PersistentTraining": lambda: onefold.PersistentTraining(network(), 2),
        "SoftMerge": lambda: onefold.SoftMerge([network(0), network(1)], "model", screen=False),
        "Alignment": lambda: shared()["alignment"],
        "SymmetrySpec": lambda: shared()["spec"],
    }
    found = getattr(made[owner](), method) if method else getattr(onefold, owner)
    assert callable(found)
    return found


def parameters() -> list[tuple[str, str]]:
    """(function, parameter) for all public ones."""
    functions = [
        (name, getattr(onefold, name))
        for name in onefold.__all__
        if name not in RECORDS and callable(getattr(onefold, name))
    ]
    methods = [
        (f"{owner}.{name}", getattr(getattr(onefold, owner), name))
        for owner, names in METHODS.items()
        for name in names
    ]
    return [
        (name, parameter)
        for name, function in (*functions, *methods)
        for parameter, facts in inspect.signature(function).parameters.items()
        if facts.kind is not facts.VAR_KEYWORD
        if parameter not in ("self", "options")
    ]


def refusal(call: Callable[[], object]) -> str:
    """The sentence with which a call is refused; "" if it runs."""
    try:
        call()
    except OnefoldError as error:
        return str(error)
    return ""


def test_valid_arguments_run(tmp_path: Path) -> None:
    for name in dict.fromkeys(name for name, _ in parameters()):
        refused = refusal(lambda name=name: public(name)(**valid(name, tmp_path)))
        assert not refused or name in REFUSED, f"{name}: {refused}"


@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_a_value_of_a_wrong_type_gets_one_sentence(
    name: str, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function = public(name)
    for wrong in WRONG.values():
        arguments = valid(name, tmp_path) | {parameter: wrong}
        sentence = refusal(lambda arguments=arguments: function(**arguments))
        if sentence:
            assert "\n" not in sentence, sentence
            assert sentence.endswith("."), sentence
            assert len(sentence) <= 300, sentence


@pytest.mark.parametrize("name", list(dict.fromkeys(n for n, _ in parameters())))
def test_arguments_that_are_missing_or_unknown_get_the_error_of_python(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        public(name)(**valid(name, tmp_path), nonsense=1)


def test_a_warning_names_the_line_of_the_caller() -> None:
    model, data = network(), shared()["data"]
    with pytest.warns(RepeatedMembers) as caught:
        onefold.class_pool([model, model], data)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("name", "argument", "sentence"),
    [
        ("merge", {"fold": lambda *states, **named: None}, "returns None; it must return a state"),
        ("merge", {"fold": onefold.Auto}, "not the class Auto; write Auto()."),
        ("merge", {"align": onefold.CCA}, "not the class CCA; write CCA()."),
        ("merge", {"polish": onefold.Polish}, "not the class Polish; write Polish()."),
        ("merge", {"repair": None}, "; leave it out for its default, 'auto', or write 'none'."),
        ("merge", {"polish": None}, "; leave it out for its default, 0."),
        ("merge", {"fold": None}, "; leave it out for its default, 'auto'."),
        ("SoftMerge", {"align": None}, "for its default, 'auto', or write 'none'."),
        ("PersistentTraining", {"kernel": None}, "; leave it out for its default, 'gaussian'."),
        ("evaluate", {"device": "7"}, "There is no device '7' here; use 'cpu', 'cuda' or"),
        ("barrier", {"device": "7"}, "There is no device '7' here; use 'cpu', 'cuda' or"),
        ("verify_symmetries", {"trials": 0}, "with 0 trials; it needs at least 1."),
        ("Subspace", {"seed": -1}, "A seed is a whole number of 0 or more, not -1."),
        ("Subspace.ensemble", {"seed": -1}, "A seed is a whole number of 0 or more, not -1."),
        ("class_pool", {"models": []}, "There is no network to evaluate; pass at least one."),
        ("measure_targets", {"models": []}, "There is no network to evaluate; pass at least one."),
    ],
)
def test_what_an_annotation_cannot_say(
    name: str, argument: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    assert sentence in refusal(lambda: public(name)(**valid(name, tmp_path) | argument))
