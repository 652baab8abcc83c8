"""Views: they change from pass to pass, fit their batch or are refused, and leave it as it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Plain, loader, members
from spoilt_networks import equal
from torch import Tensor, nn

import onefold
from onefold.batches import Batch
from onefold.errors import DataError, SettingError
from onefold.fold import Polish, polish
from onefold.fold.distillation import Viewer, views
from onefold.sources import DiskMembers

UNLABELLED = [x for x, _ in loader(128, batch=32)]
NAMES = ["crops", "flips", "crops_flips", "mixed", "crops+mixed"]


class Recorder(nn.Module):
    """A network that remembers what it was given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return self.network(x)


@pytest.fixture(scope="module")
def pair() -> list[nn.Module]:
    return members(Plain, 2)


def weights(network: nn.Module, seed: int = 0, **options: Any) -> nn.Module:
    return polish(network, [network], UNLABELLED, seed=seed, passes=2, lr=1e-3, **options).model


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(pair: list[nn.Module], name: str) -> None:
    before = [x.clone() for x in UNLABELLED]
    state = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3, views=name)
    assert all(torch.equal(a, b) for a, b in zip(UNLABELLED, before, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == state[1:]
    torch.rand(3)  # nothing that the caller draws matters
    again = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3, views=name)
    assert equal(first.model, again.model)
    assert first.views == name
    other = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3, views=name, seed=1)
    assert not equal(first.model, other.model)
    plain = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3)
    assert not equal(first.model, plain.model)


@pytest.mark.parametrize("name", NAMES)
def test_every_pass_has_views_of_its_own_and_the_teacher_sees_the_students(
    pair: list[nn.Module], name: str
) -> None:
    student, teacher = Recorder(pair[0]), Recorder(pair[1])
    result = polish(student, [teacher], UNLABELLED, passes=3, views=name)
    given, answered = result.model.seen[-12:], teacher.seen[-12:]  # behind the timed step
    assert len(given) == len(answered) == 12
    assert all(torch.equal(a, b) for a, b in zip(given, answered, strict=True))
    assert len({float(x.double().sum()) for x in given}) > 3 or name == "flips"
    assert len({tuple(x.flatten().tolist()) for x in given}) == 12
    originals = {tuple(x.flatten().tolist()) for x in UNLABELLED}
    assert not originals & {tuple(x.flatten().tolist()) for x in given}


def test_without_views_the_teacher_answers_once(pair: list[nn.Module]) -> None:
    student, teacher = Recorder(pair[0]), Recorder(pair[1])
    polish(student, [teacher], UNLABELLED, passes=1)
    once = len(teacher.seen)
    teacher.seen.clear()
    polish(student, [teacher], UNLABELLED, passes=5)
    assert len(teacher.seen) == once


def test_names_follow_on_one_another() -> None:
    batch = Batch((torch.rand(20, 1, 8, 8),))
    joined = Viewer("crops+flips", 0)(batch).args[0]
    shifted = Viewer("crops", 0)(batch).args[0]
    same = [
        torch.equal(a, b) or torch.equal(a, b.flip(-1))
        for a, b in zip(joined, shifted, strict=True)
    ]
    assert all(same)
    assert not torch.equal(joined, shifted)
    assert Viewer("none", 0)(batch) is batch
    assert not Viewer("none", 0).changes


@pytest.mark.parametrize("kind", ["torch", "numpy", "python"])
def test_a_function_of_ones_own_is_seeded(pair: list[nn.Module], kind: str) -> None:
    draws = {
        "torch": lambda: float(torch.rand(())),
        "numpy": lambda: float(np.random.rand()),
        "python": random.random,
    }

    def dimmed(images: Tensor) -> Tensor:
        return images.mul_(0.5 + draws[kind]())  # in place: on a copy

    before = [x.clone() for x in UNLABELLED]
    first = weights(pair[0], views=dimmed)
    for draw in draws.values():
        draw()  # what the caller draws in between does not matter
    assert equal(first, weights(pair[0], views=dimmed))
    assert not equal(first, weights(pair[0], views=dimmed, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(UNLABELLED, before, strict=True))
    told = polish(pair[0], pair, UNLABELLED, passes=1, views=dimmed).to_dict()["views"]
    assert told.endswith("dimmed")


class Keywords(nn.Module):
    """A network of two keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.head(x * scale)


def test_a_function_gets_the_dict_or_tuple_of_the_batch() -> None:
    given = []

    def halved(inputs: Any) -> Any:
        given.append(type(inputs))
        if isinstance(inputs, dict):
            return {**inputs, "scale": inputs["scale"] / 2}
        return inputs[0], inputs[1] / 2

    data = [{"x": torch.rand(8, 6), "scale": torch.ones(8, 1)} for _ in range(2)]
    network = Keywords()
    by_key = polish(network, [Keywords()], data, passes=1, views=halved).divergence
    rows = onefold.Batches([tuple(d.values()) for d in data], inputs=(0, 1), labels=None)
    teacher = Keywords()
    one = polish(network, [teacher], data, passes=1, views=halved).divergence
    other = polish(network, [teacher], rows, passes=1, views=halved).divergence
    assert one == other != by_key
    assert set(given) == {dict, tuple}


def test_images_may_be_the_one_entry_of_a_dict(pair: list[nn.Module]) -> None:
    data = [{"x": x} for x in UNLABELLED]
    plain = polish(pair[0], pair, UNLABELLED, passes=1, views="crops_flips").model
    assert equal(plain, polish(pair[0], pair, data, passes=1, views="crops_flips").model)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (lambda x: x[:, :, 1:], r"made \(32, 1, 7, 8\) float32 of \(32, 1, 8, 8\) float32"),
        (lambda x: x[1:], r"made \(31, 1, 8, 8\) float32"),
        (lambda x: x.double(), r"made \(32, 1, 8, 8\) float64"),
        (lambda x: (x, x), r"made \(\(32, 1, 8, 8\) float32, "),
        (lambda x: None, "made a NoneType of"),
        (lambda x: x.numpy().tolist(), "made "),
        (lambda x, y: x, "failed on batch 0 .*TypeError"),
        (lambda x: x.view(5), "failed on batch 0 .*RuntimeError shape"),
    ],
)
def test_views_that_change_the_form_are_refused(
    pair: list[nn.Module], view: Callable[..., Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        polish(pair[0], pair, UNLABELLED, passes=1, views=view)
    assert "\n" not in str(caught.value)


def test_named_views_are_of_images_alone() -> None:
    network = nn.Sequential(nn.Linear(6, 3))
    rows = [torch.rand(8, 6)]
    with pytest.raises(DataError, match="'crops' are of images, one floating-point tensor"):
        polish(network, [network], rows, passes=1, views="crops")
    with pytest.raises(DataError, match="'mixed' are of images"):
        onefold.merge(
            [network, nn.Sequential(nn.Linear(6, 3))],
            rows,
            polish=Polish(views="mixed"),
            fold="average",
        )


def test_names_are_checked_at_once() -> None:
    with pytest.raises(SettingError, match="no view named 'crop'; did you mean 'crops'"):
        Polish(views="crop")
    with pytest.raises(SettingError, match="no view named 'mixd'; did you mean 'mixed'"):
        Polish(views="crops+mixd")
    with pytest.raises(SettingError, match="no view named ''"):
        Polish(views="crops+")
    with pytest.raises(SettingError, match="views"):
        Polish(views=3)  # type: ignore[arg-type]


def test_a_registered_view_goes_by_its_name(pair: list[nn.Module]) -> None:
    @views.register("darker")
    def darker(images: Tensor) -> Tensor:
        """Half as bright."""
        return images / 2

    try:
        named = weights(pair[0], views="darker")
        assert equal(named, weights(pair[0], views=darker))
    finally:
        views.unregister("darker")


def test_members_on_disk_are_read_once_a_pass(
    pair: list[nn.Module], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for k, member in enumerate(pair):
        paths.append(tmp_path / f"{k}.safetensors")
        onefold.save(member, paths[-1])
    disk, reads = DiskMembers(Plain, paths), []
    inner = DiskMembers.__getitem__
    monkeypatch.setattr(
        DiskMembers, "__getitem__", lambda self, k: (reads.append(k), inner(self, k))[1]
    )
    settings = Polish(passes=4, lr=1e-3, views="crops", temperature=2.0)
    stored = polish(pair[0], disk, UNLABELLED, settings)
    many = len(reads)
    reads.clear()
    polish(pair[0], disk, UNLABELLED, passes=3, views="crops")
    assert many - len(reads) == 2
    monkeypatch.undo()
    held = polish(pair[0], pair, UNLABELLED, settings)
    assert equal(stored.model, held.model)
    assert stored.divergence == held.divergence
