"""Names, defaults and help of settings are written in one place, and all others follow."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

import onefold
from onefold.alignment.matchers import feature_matchers
from onefold.cli.align import AlignRequest
from onefold.cli.eval import EvalRequest
from onefold.cli.inspect import InspectRequest
from onefold.cli.merge import COMMAND as MERGE
from onefold.cli.persist import COMMAND as PERSIST
from onefold.cli.soft import COMMAND as SOFT
from onefold.cli.subspace import COMMAND as SUBSPACE
from onefold.documents.options import nested, options_of, options_of_dataclass
from onefold.documents.part import Flag
from onefold.explore.training import Training
from onefold.fold import folds
from onefold.recipe.merge.document import Recipe
from onefold.recipe.persist.document import RoundsPart
from onefold.recipe.soft.document import SoftPart
from onefold.recipe.subspace.document import ShapePart
from onefold.recipe.training.document import TrainingPart

COMMANDS = (MERGE, SOFT, SUBSPACE, PERSIST)
DOCUMENTS = [*(command.kind for command in COMMANDS), AlignRequest, EvalRequest, InspectRequest]


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.command)
def test_every_option_has_its_own_name_a_help_and_a_place(kind: Any) -> None:
    options = options_of(kind)
    names = [option.name for option in options]
    assert len(set(names)) == len(names)
    assert len({option.keys for option in options}) == len(options)
    for option in options:
        assert option.help.endswith((".", "...")), option.name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.kind.command)
def test_every_option_reaches_its_key(command: Any) -> None:
    options = options_of(command.kind)
    values = {option.variable: "1,2" for option in options}
    content = nested([o for o in options if o.keys[:1] != ("align",)], values)
    for option in options:
        inner: Any = content
        if option.keys[0] != "align":
            for key in option.keys:
                inner = inner[key]


def test_no_module_of_the_commands_writes_an_option_or_a_default_by_hand() -> None:
    folder = Path(inspect.getfile(onefold)).parent / "cli"
    by_hand = {"__init__.py", "demo.py", "methods.py", "report.py", "options.py"}
    for path in folder.glob("*.py"):
        if path.name not in by_hand:
            text = path.read_text()
            assert "typer.Option" not in text, path.name
            assert "default:" not in text, path.name
            assert "(default " not in text, path.name


@pytest.mark.parametrize("registry", [feature_matchers, folds], ids=lambda registry: registry.kind)
def test_settings_of_methods_come_from_their_dataclasses(registry: Any) -> None:
    part = "align" if registry is feature_matchers else "fold"
    options = {o.keys[1]: o for o in options_of(Recipe) if o.keys[0] == part and len(o.keys) == 2}
    fields = {
        field.name
        for entry in registry
        if dataclasses.is_dataclass(entry.value)
        for field in dataclasses.fields(entry.value)
    }
    assert fields <= set(options)
    for name in fields:
        assert f"{name}" not in {key for key in Recipe.model_fields if key != "ensemble"}


SIGNATURES = [
    (SoftPart, (onefold.SoftMerge, onefold.fit_gates), {"level", "share"}),
    (ShapePart, (onefold.Subspace,), set()),
    (RoundsPart, (onefold.PersistentTraining,), {"scope", "reference"}),
    (TrainingPart, (Training,), set()),
]


@pytest.mark.parametrize(("part", "functions", "other"), SIGNATURES)
def test_documents_have_the_defaults_of_the_signatures(
    part: Any, functions: tuple[Any, ...], other: set[str]
) -> None:
    parameters = {
        name: parameter.default
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
    }
    for name, key in part.model_fields.items():
        if name in parameters and name not in other and not key.is_required():
            assert key.default == parameters[name], name


def test_the_keys_of_a_merge_are_arguments_of_the_function() -> None:
    arguments = set(inspect.signature(onefold.merge).parameters)
    own = set(Recipe.model_fields) - {"members", "model", "use", "device", "output", "html"}
    other = {"record", "evaluation", "network_output", "barrier", "devices", "until", "reading"}
    other |= {"budgets"}  # rows among the scores
    own |= set(Recipe.model_fields["scoring"].annotation.model_fields)  # task, metrics, by
    assert own - other - {"max_positions", "scoring"} <= arguments


def test_functions_of_the_commands_are_short() -> None:
    folder = Path(inspect.getfile(onefold)).parent / "cli"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and path.name != "__init__.py":
                body = (node.end_lineno or 0) - node.body[0].lineno + 1
                assert body <= 30, f"{path.name}: {node.name}"


def test_options_of_runs_come_from_their_dataclasses() -> None:
    for command in COMMANDS:
        fields = {
            field.name
            for field in dataclasses.fields(command.running)
            if not field.metadata.get("flag", Flag()).hidden
        }
        assert {option.keys[0] for option in options_of_dataclass(command.running)} == fields
