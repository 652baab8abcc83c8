"""Rules of one's own: an unknown operator freezes what it meets until three lines cover it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rule_networks import Between, WithWeight
from torch import Tensor, nn

import onefold.symmetry
from onefold.symmetry import find_symmetries, verify_symmetries
from onefold.symmetry.rules import Call, operator_rules, rule
from onefold.symmetry.terms import PERMUTATION, Term, restrict
from onefold.symmetry.unification import unify


class Smoothed(nn.Module):
    """A network with an operator in its middle that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Linear(5, 16),
            nn.Linear(16, 12),
            nn.Linear(12, 14),
            nn.Linear(14, 3),
        )
        self.weight = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.ops.onefold_test.smooth(self.b(torch.relu(self.a(x))), self.weight)
        return self.d(torch.relu(self.c(x)))


@pytest.fixture
def smooth() -> Iterator[None]:
    """A custom operator that exports as a whole: x w / (1 + |x|)."""

    @torch.library.custom_op("onefold_test::smooth", mutates_args=())
    def smooth(x: Tensor, weight: Tensor) -> Tensor:
        return weight * x / (1 + x.abs())

    @smooth.register_fake
    def _(x: Tensor, weight: Tensor) -> Tensor:
        return torch.empty_like(x)

    yield
    operator_rules.unregister("smooth")


@pytest.mark.usefixtures("smooth")
def test_an_unknown_operator_is_frozen_and_named_and_three_lines_cover_it() -> None:
    model, x = Smoothed(), torch.randn(4, 5)
    before = find_symmetries(model, x)
    assert before.unknown == {"smooth": 1}
    assert before.frozen["weight"] == "reaches smooth, which has no rule"
    assert "unknown operator: smooth, met 1 times" in str(before)
    assert sorted(group.size for group in before.groups) == [
        14,
        16,
    ]  # what does not reach it moves all the same
    assert verify_symmetries(before, model, x).passed

    @rule("smooth", summary="Softsign, channel by channel.")
    def smooth_rule(call: Call) -> list[Term]:
        unify(
            call.axes(call["x"])[-1], call.axes(call["weight"])[0]
        )  # the weight moves with the channels
        restrict(call.axes(call["weight"])[0], PERMUTATION)  # which may change places
        return call.axes(call["x"])

    after = find_symmetries(model, x)
    assert after.unknown == {}
    assert sorted(group.size for group in after.groups) == [12, 14, 16]
    assert set(after.frozen) == {"d.bias"}
    proof = verify_symmetries(after, model, x)
    assert proof.passed, str(proof)


def test_an_unknown_operator_freezes_what_reaches_it_and_is_counted() -> None:
    model, x = Between(lambda x: x.cummax(-1).values), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    assert spec.groups == ()
    assert sum(spec.unknown.values()) >= 1
    assert any("which has no rule" in reason for reason in spec.frozen.values()), spec.frozen
    assert "unknown operator" in str(spec)


def test_a_failing_rule_freezes_instead_of_guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Call) -> list[Term]:
        raise KeyError("a bug")

    monkeypatch.setattr(
        operator_rules,
        "get",
        lambda name, known=operator_rules.get: broken if name == "relu" else known(name),
    )
    spec = find_symmetries(Between(F.relu), torch.randn(3, 4))
    assert spec.unknown == {"relu": 1}
    assert spec.groups == ()


@pytest.fixture
def gate() -> Iterator[Any]:
    """A custom operator x * sigmoid(w), which exports as a whole, and a user's rule for it."""

    @torch.library.custom_op("onefold_test::channel_gate", mutates_args=())
    def channel_gate(x: Tensor, w: Tensor) -> Tensor:
        return x * torch.sigmoid(w)

    @channel_gate.register_fake
    def _(x: Tensor, w: Tensor) -> Tensor:
        return torch.empty_like(x)

    yield channel_gate
    operator_rules.unregister("channel_gate")


def test_a_user_adds_a_rule_with_one_decorated_function(gate: Any) -> None:
    model, x = WithWeight(lambda x, w: gate(x, w), (6,)), torch.randn(3, 4)
    before = find_symmetries(model, x)
    assert before.unknown == {"channel_gate": 1}
    assert before.groups == ()

    @rule("channel_gate")
    def channel_gate(call: Call) -> list[Term]:
        """Gates every channel with a learned number."""
        axes, (channels,) = call.axes(call["x"]), call.axes(call["w"])
        unify(axes[-1], channels)
        restrict(axes[-1], PERMUTATION)
        call.use(call["w"], 0, "depthwise")
        return axes

    spec = find_symmetries(model, x)
    assert spec.unknown == {}
    assert len(spec.groups) == 1
    assert {slot.tensor for slot in spec.groups[0].slots} == {
        "a.weight",
        "a.bias",
        "weights.0",
        "b.weight",
    }
    assert verify_symmetries(spec, model, x).passed


def test_no_rule_knows_an_architecture_a_class_or_a_parameter_name() -> None:
    """The solver may look at operators alone: no network's name, no class of torch.nn, no pattern
    on parameter names.
    """
    forbidden = [
        "resnet",
        "resnext",
        "vgg",
        "densenet",
        "googlenet",
        "inception",
        "mobilenet",
        "efficientnet",
        "shufflenet",
        "squeezenet",
    ]
    forbidden += [
        "convnext",
        "vit",
        "deit",
        "swin",
        "beit",
        "mixer",
        "unet",
        "u-net",
        "bert",
        "llama",
        "gpt",
        "qwen",
        "mistral",
        "gemma",
        "phi",
    ]
    forbidden += [
        "whisper",
        "clip",
        "bloom",
        "t5",
        "opt-",
        "conv1.",
        "bn1",
        "fc.",
        "q_proj",
        "qkv",
        "in_proj",
        "attn.",
        '.weight"',
        '.bias"',
    ]
    folder = Path(onefold.symmetry.__file__).parent
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documentation = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node not in documentation
            ):
                assert not any(word in node.value.lower() for word in forbidden), (
                    f"{path.name}: {node.value!r}"
                )
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "isinstance"
            ):
                assert "nn." not in ast.unparse(node.args[1]), f"{path.name}: {ast.unparse(node)}"


def test_every_rule_has_a_description() -> None:
    assert len(operator_rules.names()) > 100
    assert all(entry.summary.endswith((".", ")")) or entry.summary for entry in operator_rules)
