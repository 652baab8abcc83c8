"""The same bits in every caller's context and from every thread; members that stay as they are."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode

import onefold
from onefold.errors import SettingError
from onefold.isolation import isolated, seeded
from onefold.symmetry.exporting import export

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "reliability" / "races.py"
races = runpy.run_path(str(SCRIPT))
JOBS: dict[str, Callable[[list[nn.Module]], Any]] = races["JOBS"]
DATA: list[Tensor] = races["DATA"]


def network(seed: int) -> nn.Module:
    """The network of the races; the caller's random numbers stay as they are."""
    with torch.random.fork_rng():
        return races["network"](seed)  # type: ignore[no-any-return]


PLAIN: dict[str, Any] = {}


def bits(result: Any) -> Any:
    if isinstance(result, nn.Module):
        assert not any(tensor.is_inference() for tensor in result.parameters())
        return {name: tensor.clone() for name, tensor in result.state_dict().items()}
    return result


def right(job: str) -> Any:
    """The result in a plain context."""
    if job not in PLAIN:
        PLAIN[job] = bits(JOBS[job]([network(0), network(1)]))
    return PLAIN[job]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


@contextlib.contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CONTEXTS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device meta": lambda: torch.device("meta"),
    "default dtype": double,
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("job", JOBS)
def test_the_caller_s_context_changes_no_bit_and_stays(job: str, context: str) -> None:
    want, models = right(job), [network(0), network(1)]
    before = [bits(model) for model in models]
    with CONTEXTS[context]():
        found = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        got = JOBS[job](models)
        assert found == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert same(bits(got), want)
    assert all(same(bits(model), old) for model, old in zip(models, before, strict=True))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_network_that_is_recalibrated_in_place_gets_the_same_bits(context: str) -> None:
    want, model = bits(onefold.recalibrate(network(0), DATA)), network(0)
    with CONTEXTS[context]():
        onefold.recalibrate(model, DATA)
    assert same(bits(model), want)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["merge, permutation", "fit_gates", "Subspace", "evaluate"])
def test_two_threads_get_what_each_would_get_alone(other: str) -> None:
    jobs = ("merge, permutation", other)
    wanted = [right(job) for job in jobs]
    models = [network(0), network(1)]
    before = [bits(model) for model in models]
    got: dict[int, Any] = {}

    def work(number: int) -> None:
        try:
            got[number] = bits(JOBS[jobs[number]](models))
        except Exception as error:  # shown by the comparison
            got[number] = error

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(2):
        assert same(got[k], wanted[k]), got[k]
    assert all(same(bits(model), old) for model, old in zip(models, before, strict=True))


def test_a_network_keeps_its_tensors_while_it_is_traced() -> None:
    original = network(0)
    seen: list[tuple[bool, bool]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = original

        def forward(self, x: Tensor) -> Tensor:
            weight = next(original.parameters())
            seen.append((isinstance(weight, FakeTensor), original.training))
            return self.inner(x)

    model = Watched().train()
    program = export(model, (DATA[0],), {}, dynamic=False)
    assert seen == [(False, True)]
    assert model.training
    shared = {id(tensor) for tensor in model.parameters()}
    assert {id(tensor) for tensor in program.parameters()} == shared


def test_calls_inside_of_a_call_run_as_they_stand() -> None:
    @isolated
    def inner() -> bool:
        return torch.is_grad_enabled()

    @isolated
    def outer() -> tuple[bool, bool]:
        with torch.no_grad():
            return inner(), torch.is_grad_enabled()

    with torch.no_grad():
        assert inner()
        assert outer() == (False, False)


def test_an_error_ends_the_turn() -> None:
    @isolated
    def fails() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            fails()
    done = threading.Thread(target=isolated(lambda: None), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent() -> None:
    begun, end = threading.Event(), threading.Event()

    @isolated
    def long() -> None:
        begun.set()
        end.wait(30)

    thread = threading.Thread(target=long)
    thread.start()
    begun.wait(10)
    child = os.fork()
    if child == 0:
        isolated(lambda: None)()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_seed_and_threads_are_those_of_the_context_and_then_the_caller_s_again(
    threads: int | None,
) -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded(3, threads) as used:
            assert used == torch.get_num_threads() == (threads or before)
            drawn.append(torch.rand(4))
    assert torch.equal(*drawn)
    with pytest.raises(ValueError, match="inside"), seeded(3, 2):
        raise ValueError("inside")
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("context", CONTEXTS)
def test_results_are_read_the_same_in_every_context(context: str) -> None:
    models = [network(0), network(1)]
    pool = onefold.class_pool(models, DATA)
    pairs = onefold.measure_pairs(models, races["LABELED"])
    plain, text, alone = pool.to_dict(), str(pairs), pool.only(1).to_dict()
    with CONTEXTS[context]():
        again = onefold.ClassPool.from_dict(plain)
        assert again.to_dict() == plain
        assert again.only(1).to_dict() == alone
        assert str(pairs) == text


@pytest.mark.parametrize("job", ["merge, permutation", "evaluate", "find_symmetries"])
def test_contexts_in_which_tensors_are_no_numbers_are_refused(job: str) -> None:
    models = [network(0), network(1)]

    def inside(x: Tensor) -> Tensor:
        JOBS[job](models)
        return x * x

    for transform in (torch.func.grad, torch.func.vmap):
        with pytest.raises(SettingError, match=r"inside of a transform of torch\.func"):
            transform(inside)(torch.ones(()) if transform is torch.func.grad else torch.ones(2))
    with FakeTensorMode(allow_non_fake_inputs=True):  # noqa: SIM117
        with pytest.raises(SettingError, match="inside of a FakeTensorMode"):
            JOBS[job](models)
    assert same(bits(JOBS[job](models)), right(job))


@contextlib.contextmanager
def as_before(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


SURROUNDINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no console": lambda: as_before(sys, "stderr", None),
    "a closed console": lambda: as_before(sys, "stderr", closed()),
    "errors of numpy": lambda: np.errstate(all="raise"),
    "no output": lambda: as_before(sys, "stdout", None),
    "saved on the CPU": torch.autograd.graph.save_on_cpu,
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("job", ["merge, permutation", "merge, least squares", "merge, polish"])
def test_the_caller_s_surroundings_change_no_bit(surroundings: str, job: str) -> None:
    wanted = right(job)
    with SURROUNDINGS[surroundings]():
        found = bits(JOBS[job]([network(0), network(1)]))
    assert same(found, wanted)
