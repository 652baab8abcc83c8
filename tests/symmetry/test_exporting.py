"""torch.export that fails says nothing by itself, and leaves networks and loggers as they were."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import onefold
from onefold.errors import TraceError
from onefold.symmetry import trace

X = torch.linspace(-1, 1, 32).view(8, 4)


class Layers(nn.Module):
    """Two layers; what is between them is for the others to say."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 2)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(torch.relu(self.a(x))))


class Branches(Layers):
    def between(self, h: Tensor) -> Tensor:
        return h * 2 if h.sum() > 0 else h


class Counts(Layers):
    def between(self, h: Tensor) -> Tensor:
        return h[: max(int((h > 0).sum().item()) % 3, 1)]


class Chooses(Layers):
    def between(self, h: Tensor) -> Tensor:
        rows = h.sum(1).nonzero()[:, 0]
        return h[rows] if len(rows) > 1 else h


class Repeats(Layers):
    def between(self, h: Tensor) -> Tensor:
        while h.norm() > 1:
            h = h / 2
        return h


class Masks(Layers):
    def between(self, h: Tensor) -> Tensor:
        return h[h.sum(1) > -1].view(len(h), -1)


class Leaves(Layers):
    def between(self, h: Tensor) -> Tensor:
        return torch.from_numpy(h.detach().numpy())


class Refuses(Layers):
    def between(self, h: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            warnings.warn("a warning of the network", stacklevel=1)
            logging.getLogger("torch.export").error("a message of torch")
            raise ValueError("not\nhere")
        return h


FAIL = [Branches, Counts, Chooses, Repeats, Masks, Leaves, Refuses]


@pytest.mark.parametrize("kind", FAIL)
def test_what_cannot_be_traced_gets_one_sentence_and_nothing_else(
    kind: type[Layers], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = kind().train()
    with pytest.raises(TraceError) as raised:
        onefold.find_symmetries(model, X)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith('align="none" (--fold average --align none).')
    out, err = capfd.readouterr()
    assert out + err == ""
    assert not list(recwarn)
    assert model.training
    assert "forward" not in vars(model)


@pytest.mark.parametrize("kind", FAIL)
def test_the_cause_is_the_error_of_the_network(kind: type[Layers]) -> None:
    with pytest.raises(TraceError) as raised:
        onefold.find_symmetries(kind(), X)
    cause: Any = raised.value.__cause__
    if kind is not Masks:  # which is traced, and refused afterwards
        assert not type(cause).__module__.startswith("onefold")
        assert type(cause).__name__ in str(raised.value)


def test_the_graph_is_a_debug_message(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("onefold.symmetry.exporting")
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    level = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        with pytest.raises(TraceError):
            onefold.find_symmetries(Branches(), X)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert any("Branches" in text and "aten.linear" in text for text in records)


def test_loggers_have_their_levels_back() -> None:
    names = ("torch.export", "torch.fx", "torch._dynamo")
    before = [logging.getLogger(name).level for name in names]
    for kind in (Layers, Branches):
        try:
            onefold.find_symmetries(kind(), X)
        except TraceError:
            continue
    assert [logging.getLogger(name).level for name in names] == before


def test_what_other_threads_print_meanwhile_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    lines = 0

    def speak() -> None:
        nonlocal lines
        while not done.is_set():
            print("other", file=sys.stderr, flush=True)
            lines += 1
            done.wait(0.002)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        for _ in range(3):
            with pytest.raises(TraceError):
                onefold.find_symmetries(Branches(), X)
    finally:
        done.set()
        thread.join()
    assert capfd.readouterr().err == "other\n" * lines


def test_a_trace_is_freed_with_its_last_reference() -> None:
    def living() -> int:
        gc.collect()
        return sum(type(found) is FakeTensorMode for found in gc.get_objects())

    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 4)
    trace(model, (x,))
    before = living()
    for _ in range(3):
        trace(model, (x,))
    assert living() <= before
