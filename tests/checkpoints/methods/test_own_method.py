"""A user's own method, in blocks or as a whole, and blocks computed by several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from checkpoints.methods.cases import inputs_of, made, number_of, related

from onefold.checkpoints.methods import Method, Parameter, merge_states, method_of, methods
from onefold.checkpoints.methods.parameters import setting
from onefold.errors import SettingError


@pytest.fixture
def registered():
    @methods.register("test_swap", "test_swapped")
    @dataclass(frozen=True)
    class Swap(Method):
        """The elements of one model above a limit, else those of the base."""

        limit: float = setting(0.5, low=0.0, help="Where elements are taken from the model.")

        per_model: ClassVar = (Parameter("gain", 1.0, help="Factor of the model."),)
        needs_base: ClassVar = True
        most: ClassVar = 1
        aliases: ClassVar = ("test_swapped",)
        scales: ClassVar = ("gain",)

        def block(self, prepared, plan, start, stop):
            (gain,) = prepared.values("gain")
            model = prepared.inputs.read(0, start, stop) * gain
            return torch.where(model > self.limit, model, prepared.inputs.read(-1, start, stop))

    @methods.register("test_reversed")
    @dataclass(frozen=True)
    class Reversed(Method):
        """One model, its elements in reverse."""

        cut: ClassVar = "whole"
        most: ClassVar = 1

        def block(self, prepared, plan, start, stop):
            return prepared.inputs.read(0, start, stop).flip(0)

    yield Swap, Reversed
    methods.unregister("test_swap", "test_swapped", "test_reversed")


def test_a_method_of_ones_own(registered):
    base, (model,) = related(1, (400, 300), dtype=torch.bfloat16)
    merged = merge_states([{"w": model}], "test_swap", {"w": base}, {"gain": 2.0})["w"]
    doubled = model.float() * 2
    assert torch.equal(merged, torch.where(doubled > 0.5, doubled, base.float()).bfloat16())
    with pytest.raises(SettingError, match="setting 'limit' of test_swap is -1"):
        method_of("test_swapped", {"limit": -1.0})
    flipped = merge_states([{"w": model}], "test_reversed")["w"]
    assert torch.equal(flipped, model.flatten().flip(0).view(400, 300))


@pytest.mark.parametrize("name", ["linear", "ties", "dare_ties", "della", "sce", "nuslerp"])
def test_ranges_in_several_threads(name):
    base, models = related(number_of(name), (600, 500), dtype=torch.bfloat16)
    method = made(name)
    prepared = method.prepare(inputs_of(name, models, base))
    whole = method.apply(prepared)
    parts, step = torch.empty_like(whole).view(-1), method.step(prepared.inputs)

    def work(start):
        stop = min(start + step, len(parts))
        method.apply_range(prepared, start, stop, parts[start:stop])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(0, len(parts), step)))
    assert torch.equal(parts.view_as(whole), whole)
