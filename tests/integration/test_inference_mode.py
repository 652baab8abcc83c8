"""Networks, data and calls under torch.inference_mode() and no_grad(), and frozen networks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import MembersError
from onefold.measure import agreement, triangle

pytestmark = pytest.mark.filterwarnings("ignore")


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def frozen(seed: int) -> nn.Sequential:
    return net(seed).requires_grad_(False)


def batches() -> list[Any]:
    torch.manual_seed(9)
    return [(torch.randn(12, 6), torch.arange(12) % 3) for _ in range(3)]


def soft(level: str) -> Callable[[Any, Any, Any], Any]:
    def fit(a: nn.Module, b: nn.Module, data: Any) -> Any:
        made = onefold.SoftMerge([a, b], level, align="none", screen=False)
        return onefold.fit_gates(made, data, steps=1).model

    return fit


def rounds(a: nn.Module, b: nn.Module, data: Any) -> Any:
    with torch.inference_mode(False):
        model = net(0)
    return onefold.PersistentTraining(model, 1, kernel="function", reference=data[0])


def moved(result: Any) -> Any:
    """The first network of a result, if it has one."""
    found = result if isinstance(result, nn.Module) else getattr(result, "model", None)
    return found if isinstance(found, nn.Module) else None


PERMUTED: dict[str, Any] = {"align": "permutation"}
USES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "merge": lambda a, b, d: onefold.merge([a, b], d, **{"fold": "average", **PERMUTED}),
    "least squares": lambda a, b, d: onefold.merge([a, b], d, fold="least_squares", **PERMUTED),
    "pruning": lambda a, b, d: onefold.merge(
        [a, b], d, fold=onefold.LeastSquares(target="pruning")
    ),
    "auto": lambda a, b, d: onefold.merge([a, b], d, fold="auto"),
    "soup": lambda a, b, d: onefold.merge([a, b], d, fold="greedy_soup", align="none"),
    "polish": lambda a, b, d: onefold.polish(a, [a, b], d, onefold.Polish(1, batchnorm="train")),
    "partial": lambda a, b, d: onefold.partial_merge([a, b], d, until="1", **PERMUTED),
    "soft layers": soft("layer"),
    "soft modules": soft("module"),
    "soft models": soft("model"),
    "weights": lambda a, b, d: onefold.merge([a, b], d, align="weights", fold="average"),
    "apply": lambda a, b, d: onefold.align([a, b], d, method="permutation").apply([a, b])[1],
    "barrier": lambda a, b, d: onefold.barrier(a, b, d, points=3),
    "triangle": lambda a, b, d: triangle(a, b, a, d, resolution=1),
    "default": lambda a, b, d: onefold.merge([a, b], d, fold="average"),
    "compare": lambda a, b, d: onefold.compare_networks([a, b], d),
    "pairs": lambda a, b, d: onefold.measure_pairs([a, b], d, points=3),
    "pool": lambda a, b, d: onefold.class_pool([a, b], d),
    "evaluate": lambda a, b, d: onefold.evaluate([a, b], d),
    "agreement": lambda a, b, d: agreement([a, b], d),
    "verify": lambda a, b, d: onefold.verify_symmetries(
        onefold.find_symmetries(a, d[0]), a, d[0], trials=1, negatives=1
    ),
    "rounds": rounds,
}
TRAINABLE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "subspace": lambda a, b, d: onefold.Subspace(a, "line", starts=[a, b]).midpoint(d),
    "between": lambda a, b, d: onefold.Subspace.between(a, b),
    "grow": lambda a, b, d: onefold.Subspace(a).grow(b),
}
# How networks and data are made, and what the call is in.
KINDS: dict[str, tuple[Callable[[int], nn.Module], Any, Any, Any]] = {
    "networks of inference mode": (net, torch.inference_mode, nullcontext, nullcontext),
    "data of inference mode": (net, nullcontext, torch.inference_mode, nullcontext),
    "a call in inference mode": (net, nullcontext, nullcontext, torch.inference_mode),
    "all in inference mode": (
        net,
        torch.inference_mode,
        torch.inference_mode,
        torch.inference_mode,
    ),
    "networks of no_grad": (net, torch.no_grad, torch.no_grad, nullcontext),
    "a call in no_grad": (net, nullcontext, nullcontext, torch.no_grad),
    "frozen networks": (frozen, nullcontext, nullcontext, nullcontext),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", [*USES, *TRAINABLE])
def test_every_function_under_every_mode(use: str, kind: str) -> None:
    make, made, read, called = KINDS[kind]
    with made():
        a, b = make(0), make(1)
    with read():
        data = batches()
    before = [value.clone() for value in a.state_dict().values()]
    function = (USES | TRAINABLE)[use]
    if make is frozen and use in TRAINABLE:
        with pytest.raises(onefold.OnefoldError, match="Sequential has no trainable parameter"):
            function(a, b, data)
        return
    with called():
        result = function(a, b, data)
    assert result is not None
    assert all(torch.equal(x, y) for x, y in zip(before, a.state_dict().values(), strict=True))
    if (network := moved(result)) is not None:
        tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
        assert not any(tensor.is_inference() for tensor in tensors)


@pytest.mark.parametrize("use", list(USES)[:11])  # those that give a network
def test_the_mode_changes_no_bit(use: str) -> None:
    plain = moved(USES[use](net(0), net(1), batches()))
    with torch.inference_mode():
        a, b, data = net(0), net(1), batches()
        other = moved(USES[use](a, b, data))
    ours, theirs = plain.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize(
    "call",
    [
        lambda model: onefold.recalibrate(model, batches()),
        lambda model: onefold.repair(
            model, batches(), onefold.find_symmetries(model, batches()[0]), {}
        ),
        lambda model: onefold.PersistentTraining(model, 2),
    ],
)
def test_a_network_of_inference_mode_that_is_changed_in_place_is_named(call: Any) -> None:
    with torch.inference_mode():
        model = net(0)
    with pytest.raises(MembersError) as raised:
        call(model)
    assert str(raised.value) == (
        "Sequential was made under torch.inference_mode(), so that its '0.weight' cannot be"
        " changed; pass copy.deepcopy(network)."
    )
