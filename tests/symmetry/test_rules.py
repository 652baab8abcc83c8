"""Operator rules: map classes, roles, unknown operators, a user's own rule, and calls where a
careless rule would be unsound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold.symmetry
from onefold.errors import SymmetryError
from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries
from onefold.symmetry.rules import Call, operator_rules, rule
from onefold.symmetry.terms import PERMUTATION, Term, restrict
from onefold.symmetry.unification import unify


class Between(nn.Module):
    """Linear, a function of the features, linear."""

    def __init__(self, function: Callable[[Tensor], Tensor], size: int = 6) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(size, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


CLASSES: dict[str, tuple[Callable[[Tensor], Tensor], set[str]]] = {
    "identity": (
        lambda x: x,
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
    "times a number": (
        lambda x: x * 2 / 3,
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
    "plus a number": (lambda x: x + 2, {"permutation", "orthogonal_mean"}),
    "relu": (F.relu, {"permutation", "scale"}),
    "leaky relu": (F.leaky_relu, {"permutation", "scale"}),
    "abs": (torch.abs, {"permutation", "scale"}),
    "tanh": (torch.tanh, {"permutation", "sign"}),
    "gelu": (F.gelu, {"permutation"}),
    "silu in place": (lambda x: F.silu(x, inplace=True), {"permutation"}),
    "relu6": (F.relu6, {"permutation"}),
    "hardswish": (F.hardswish, {"permutation"}),
    "softmax": (lambda x: x.softmax(-1), {"permutation"}),
    "number over x": (lambda x: 1 / (x.abs() + 1), {"permutation"}),
    "squared": (lambda x: x**2, {"permutation"}),
    "gated by itself": (lambda x: x * torch.sigmoid(x), {"permutation"}),
    "centred": (lambda x: x - x.mean(-1, keepdim=True), {"permutation", "orthogonal_mean"}),
    "divided by its norm": (lambda x: x / (1 + x.abs().sum(-1, keepdim=True)), {"permutation"}),
    "layer norm": (lambda x: F.layer_norm(x, (6,)), {"permutation", "orthogonal_mean"}),
    "rms norm": (
        lambda x: F.rms_norm(x, (6,)),
        {"permutation", "sign", "orthogonal", "orthogonal_mean"},
    ),
    "where": (lambda x: torch.where(x > 0, x, -x * 0.5), {"permutation"}),
    "clamped": (lambda x: x.clamp(-1, 2), {"permutation"}),
    "dropout": (
        lambda x: F.dropout(x, training=False),
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_map_classes_of_functions(name: str) -> None:
    function, classes = CLASSES[name]
    model, x = Between(function).eval(), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    assert spec.groups[0].maps == classes
    assert spec.unknown == {}
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)


class WithWeight(nn.Module):
    """Linear, a function of features and one or two own parameters of the features' size, linear."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x), *self.weights))


# Calls that a careless rule would get wrong; (function, shapes of its weights, classes that must
# hold, classes that must not).
TRICKY: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], set[str], set[str]]] = {
    "layer scale": (lambda x, w: x * w, [(6,)], {"permutation", "scale", "sign"}, {"orthogonal"}),
    "gain of one plus w": (lambda x, w: x * (1 + w), [(6,)], {"permutation"}, {"scale", "sign"}),
    "norm with a derived gain": (
        lambda x, w: F.rms_norm(x, (6,), w.exp()),
        [(6,)],
        {"permutation"},
        {"sign"},
    ),
    "norm with a gain times a number": (
        lambda x, w: F.rms_norm(x, (6,), w * 2),
        [(6,)],
        {"permutation", "sign"},
        {"orthogonal", "scale"},
    ),
    "norm with a gain": (
        lambda x, w: F.rms_norm(x, (6,), w),
        [(6,)],
        {"permutation", "sign"},
        {"orthogonal", "scale"},
    ),
    "one weight, added and multiplied": (
        lambda x, w: x * w + w,
        [(6,)],
        {"permutation"},
        {"scale", "sign"},
    ),
    "one matrix, both ways": (
        lambda x, w: F.linear(F.linear(x, w), w.t()),
        [(5, 6)],
        {"permutation", "sign"},
        {"scale"},
    ),
    "features as a weight": (
        lambda x, w: (x @ w.t()).unsqueeze(-1) * x.unsqueeze(1) @ x.t() @ x,
        [(5, 6)],
        {"permutation"},
        {"scale"},
    ),
    "a parameter as input": (
        lambda x, w: F.linear(w, x).t() @ w,
        [(5, 6)],
        {"permutation"},
        {"scale", "invertible"},
    ),
    "prelu": (lambda x, w: F.prelu(x, w), [(6,)], {"permutation", "scale"}, {"sign"}),
    "divided by a weight": (lambda x, w: x / (w.abs() + 1), [(6,)], {"permutation"}, {"scale"}),
    "features weighed by a parameter": (
        lambda x, w: torch.stack([x, w.expand_as(x)]).sum(0),
        [(6,)],
        {"permutation", "scale", "sign"},
        set(),
    ),
    "a table": (
        lambda x, w: x + w[: x.shape[0]],
        [(9, 6)],
        {"permutation", "scale", "sign"},
        set(),
    ),
    "weights joined": (
        lambda x, v, w: x @ torch.cat([v, w]),
        [(2, 6), (4, 6)],
        {"permutation", "sign"},
        set(),
    ),
}


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_calls_are_sound(name: str) -> None:
    function, shapes, some, none = TRICKY[name]
    model, x = WithWeight(function, *shapes).eval(), torch.randn(3, 4)
    if name == "features as a weight":
        model.function = lambda x, w: (x @ x.t()) @ (x @ w.t()) @ w
    spec = find_symmetries(model, x)
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
    group = next(
        g
        for g in spec.groups
        if any(slot.tensor == "b.weight" and slot.axis == 1 for slot in g.slots)
    )
    assert some <= group.maps, str(spec)
    assert not none & group.maps, str(spec)


def test_rows_that_another_batch_size_would_read_do_not_move() -> None:
    model, x = WithWeight(TRICKY["a table"][0], (9, 6)), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    assert [group.size for group in spec.groups] == [6]
    assert verify_symmetries(spec, model, torch.randn(8, 4)).passed


def test_a_random_network_cannot_be_proved() -> None:
    model, x = Between(F.dropout), torch.randn(3, 4)
    with pytest.raises(SymmetryError, match="random"):
        verify_symmetries(find_symmetries(model, x), model, x)


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
    operator_rules._entries.pop("channel_gate", None)


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


def test_inputs_as_tuples_and_dicts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.c(torch.tanh(self.a(x) + self.b(y)))

    x, y = torch.randn(3, 4), torch.randn(3, 3)
    for example in (
        ((x, y), None),
        ((x, y), torch.zeros(3)),
        {"x": x, "y": y, "labels": torch.zeros(3)},
    ):
        spec = find_symmetries(Two(), example)
        assert [group.size for group in spec.groups] == [6]
        assert verify_symmetries(spec, Two(), example).passed


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_of_every_kind(dimension: int, groups: int, transposed: bool) -> None:
    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimension - 1]
    kind = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimension - 1]
        if transposed
        else plain
    )
    model = nn.Sequential(
        plain(2, 6, 1), nn.ReLU(), kind(6, 12, 2, groups=groups), nn.ReLU(), plain(12, 3, 1)
    )
    x = torch.randn(2, 2, *[4] * dimension)
    spec = find_symmetries(model, x)
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
    assert spec.coverage > 0.9
    assert spec.unknown == {}
    if groups == 1:
        assert [group.size for group in spec.groups] == [6, 12]
        assert all(group.dense for group in spec.groups)
    assert [layer.kind for layer in spec.layers] == [
        "conv",
        "conv_transpose" if transposed else "conv",
        "conv",
    ]
    assert [layer.weight_axis for layer in spec.layers] == [0, int(transposed), 0]


def test_layers_of_a_built_in_network_are_described_in_graph_order() -> None:
    from onefold.sources.networks import digits

    spec = find_symmetries(digits(8), torch.randn(2, 1, 8, 8))
    first, last = spec.layers[0], spec.layers[-1]
    assert [layer.weight for layer in spec.layers] == [
        "conv1.weight",
        "conv2.weight",
        "conv3.weight",
        "head.weight",
    ]
    assert (
        first.kind,
        first.bias,
        first.source,
        first.output,
        first.output_axis,
        first.groups,
        first.shared,
    ) == ("conv", None, "x", "batch_norm", 1, 1, False)
    assert first.norm is not None
    assert (first.norm.mean, first.norm.variance, first.norm.scale, first.norm.eps) == (
        "norm1.running_mean",
        "norm1.running_var",
        "norm1.weight",
        1e-5,
    )
    assert (last.kind, last.bias, last.output, last.norm) == ("linear", "head.bias", "linear", None)
    for layer in spec.layers:
        assert {layer.node, layer.source, layer.output} <= spec.nodes.keys()


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


def test_a_spec_prints_as_a_table() -> None:
    spec: SymmetrySpec = find_symmetries(Between(F.relu), torch.randn(3, 4))
    assert "g0" in str(spec)
    assert "permutation, scale" in str(spec)
    assert "1 groups cover" in str(spec)
