"""Where nothing, or little, can be aligned, it is said: an error where it was asked for by name, a
warning where it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.alignment import matchers
from onefold.errors import AlignmentError, NothingToAlignError
from onefold.recipe import absolute, check, read
from onefold.recipe.merge.run import make as carry_out
from onefold.symmetry import SymmetrySpec, find_symmetries
from onefold.symmetry.coverage import shortfall, why_still


class Sorted(nn.Module):
    """Features that are put in order of size: which is which cannot be told."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).sort(-1).values)


class Distances(nn.Module):
    """Distances to centres by an operator without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.centres, self.b = (
            nn.Linear(6, 8),
            nn.Parameter(torch.randn(5, 8)),
            nn.Linear(5, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.cdist(self.a(x), self.centres).clone())


class Cast(nn.Module):
    """All of it under autocast, which is traced as one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.b(torch.relu(self.a(x))).float()


class Linear(nn.Module):
    """Nothing between its input and its output."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


class Shifted(nn.Module):
    """Features beside a table that is a constant of the architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("table", torch.linspace(0, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) + self.table))


class Partly(nn.Module):
    """A large table that moves, and features between layers of which only the first do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.layers = nn.ModuleList(
            [nn.Linear(32, 6), *(nn.Linear(6, 6) for _ in range(2)), nn.Linear(6, 3)]
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x).mean(1)
        for layer in self.layers[:-1]:
            h = layer(h).cummax(-1).values
        return self.layers[-1](h)


def floats() -> list[Tensor]:
    return [torch.randn(32, 6, generator=torch.Generator().manual_seed(k)) for k in range(3)]


def words() -> list[Tensor]:
    return [
        torch.randint(200, (64, 5), generator=torch.Generator().manual_seed(k)) for k in range(3)
    ]


def pair(kind: Callable[[], nn.Module]) -> list[nn.Module]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(kind().eval())
    return made


# name -> network, and what the sentence says of it
STILL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "an operator without a rule": (Distances, "no rule knows the operator: cdist"),
    "a cast region": (Cast, "no rule knows the operator: wrap_with_autocast (1 time)"),
    "features in order": (Sorted, "order along an axis (sort) (1 time)"),
    "a single layer": (Linear, "there are no features between layers"),
    "a table in a buffer": (Shifted, "buffer (1 time)"),
}


@pytest.mark.parametrize("name", STILL)
def test_asked_for_by_name_it_is_an_error_that_says_why_and_what_to_do(name: str) -> None:
    kind, why = STILL[name]
    networks = pair(kind)
    asked: list[Any] = ["permutation", "cca", "weights", "zipit", matchers.get("procrustes")()]
    for method in asked:
        with pytest.raises(NothingToAlignError, match='use align="none"') as caught:
            onefold.merge(networks, floats(), align=method)
        assert isinstance(caught.value, AlignmentError)
        assert why in str(caught.value)
    for method in ("cca", "permutation"):
        with pytest.raises(NothingToAlignError):
            onefold.align(networks, floats(), method=method)


@pytest.mark.parametrize("name", STILL)
def test_where_nothing_was_asked_for_it_is_a_warning(name: str) -> None:
    kind, why = STILL[name]
    networks = pair(kind)
    result = onefold.merge(networks, floats(), repair="none")
    plain = onefold.merge(networks, align="none", repair="none").model
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            result.model.state_dict().values(), plain.state_dict().values(), strict=True
        )
    )
    assert result.alignment is None
    assert result.report.align == "none"
    assert result.report.settings["align"] == {}  # of a matcher that served nothing
    (warning,) = result.report.warnings
    assert why in warning
    assert "averaged as they are" in warning
    assert warning in str(result.report)
    assert "0 of" in str(result.report)
    repaired = onefold.merge(networks, floats()).report
    assert repaired.warnings[0] == warning


@pytest.mark.parametrize("method", ["none", "identity"])
def test_who_asked_for_nothing_is_told_nothing(method: str) -> None:
    assert onefold.merge(pair(Sorted), floats(), align=method, repair="none").report.warnings == []
    assert onefold.align(pair(Sorted), floats(), method="identity").warnings == []


def test_little_that_moves_is_a_warning_by_the_worse_of_two_counts() -> None:
    networks = pair(Partly)
    spec = find_symmetries(networks[0], words()[0])
    assert spec.coverage > 0.9
    assert spec.feature_coverage == 0.25
    assert [bool(space.groups) for space in spec.spaces] == [True, False, False, False]
    assert {space.reason for space in spec.spaces[1:]} == {"reaches cummax, which has no rule"}
    assert "1 of 4 feature spaces between layers can move." in str(spec)
    for method in ("permutation", "cca", None):
        report = onefold.merge(networks, words(), align=method, repair="none").report
        assert report.moving_spaces == 1
        assert report.spaces == 4
        assert report.warnings[0].startswith("only 1 of 4 feature spaces between layers and 9")
        assert "cummax (3 times)" in report.warnings[0]
        assert report.to_dict()["moving_spaces"] == 1
    found = onefold.align(networks, words(), method="permutation")
    assert found.warnings[0] in str(found)


def test_enough_that_moves_is_none() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    spec = find_symmetries(model, torch.randn(2, 6))
    assert shortfall(spec) is None
    assert [space.groups for space in spec.spaces] == [("g0",), ("g1",)]
    assert spec.feature_coverage == 1.0


def test_what_no_alignment_could_move_is_no_feature_space() -> None:
    """Positions, words, inputs and outputs; a residual stream counts once, segments each."""

    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.mix = nn.Embedding(20, 8), nn.Linear(5, 5)
            self.up, self.down, self.join, self.head = (
                nn.Linear(8, 6),
                nn.Linear(6, 8),
                nn.Linear(14, 4),
                nn.Linear(4, 20),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.words(x)
            h = h + self.mix(h.transpose(1, 2)).transpose(1, 2)  # over positions
            u = torch.relu(self.up(h))
            return self.head(self.join(torch.cat([h + self.down(u), u], -1)))

    spec = find_symmetries(Stream(), torch.randint(20, (2, 5)))
    assert sorted(space.size for space in spec.spaces) == [4, 6, 8]
    assert all(space.groups for space in spec.spaces)


class Neighbours(nn.Module):
    """Channels weighed by a convolution along themselves: they have an order then."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.weigh, self.b = (
            nn.Conv1d(6, 8, 1),
            nn.Conv1d(1, 1, 3, padding=1, bias=False),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(
            (
                h
                * torch.sigmoid(
                    self.weigh(h.mean(-1, keepdim=True).transpose(1, 2)).transpose(1, 2)
                )
            ).mean(-1)
        )


class Waves(nn.Module):
    """Features that a Fourier transform mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.fft.fft(self.a(x)).real)


@pytest.mark.parametrize(("model", "shape"), [(Neighbours(), (2, 6, 5)), (Waves(), (2, 6))])
def test_features_that_an_operator_takes_for_positions_are_features(
    model: nn.Module, shape: tuple[int, ...]
) -> None:
    spec = find_symmetries(model, torch.randn(shape))
    assert spec.groups == ()
    assert spec.feature_coverage == 0.0
    assert spec.spaces[0].reason in why_still(spec)


@pytest.mark.parametrize("kind", [Neighbours, Waves])
def test_features_that_are_positions_stand_aligned_as_they_are(kind: type[nn.Module]) -> None:
    data = [torch.randn(32, 6, 5) if kind is Neighbours else x for x in floats()]
    report = onefold.merge(pair(kind), data, align="permutation").report
    assert report.align == "none"
    assert "averaged as they are" in report.warnings[0]
    assert spec_reason(kind, data[0]) in report.warnings[0]


def spec_reason(kind: type[nn.Module], x: Tensor) -> str:
    return find_symmetries(pair(kind)[0], x).spaces[0].reason


def test_spaces_are_part_of_the_spec_and_of_what_is_pruned() -> None:
    from onefold.symmetry.pruning import REFUTED, _without

    spec = find_symmetries(pair(Partly)[0], words()[0])
    assert SymmetrySpec.from_json(spec.to_json()) == spec
    left = _without(spec, {spec.groups[0].name}, {})
    assert left.spaces[0].reason == REFUTED
    assert left.feature_coverage == 0.0
    assert "cummax" in why_still(left)


def test_all_groups_dead_is_nothing_to_align_too() -> None:
    networks = pair(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    for own in networks:
        nn.init.zeros_(own[0].weight)  # type: ignore[arg-type]
    with pytest.raises(
        NothingToAlignError, match="its features never vary on the calibration data in members 0, 1"
    ):
        onefold.merge(networks, floats(), align="permutation")
    assert "never vary" in onefold.merge(networks, floats()).report.warnings[0]


def test_partial_merges_say_it() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).sort(-1).values
            return self.last(self.second(h).sort(-1).values)

    networks = pair(Deep)
    with pytest.raises(NothingToAlignError, match="sort"):
        onefold.partial_merge(networks, floats(), until="first", align="permutation")
    done = onefold.partial_merge(networks, floats(), until="first")
    assert done.alignment is None
    assert "nothing was aligned" in done.report.warnings[0]
    assert done.report.warnings[0] in str(done.report)


def test_comparisons_say_it() -> None:
    labelled = [
        (x, torch.randint(3, (32,), generator=torch.Generator().manual_seed(0))) for x in floats()
    ]
    found = onefold.compare_networks(pair(Sorted), labelled, points=3)
    assert found.aligned is None
    assert "sort" in found.note
    assert found.note in str(found)
    words_labelled = [
        (x, torch.randint(3, (64,), generator=torch.Generator().manual_seed(0))) for x in words()
    ]
    partly = onefold.compare_networks(pair(Partly), words_labelled, points=3)
    assert partly.aligned is not None
    assert partly.note.startswith("Only 1 of 4 feature spaces")
    assert partly.note in str(partly)


def test_soft_merges_say_it() -> None:
    labelled = [
        (x, torch.randint(3, (32,), generator=torch.Generator().manual_seed(0))) for x in floats()
    ]
    soft = onefold.SoftMerge(pair(Sorted), "layer", screen=False, data=labelled)
    assert soft.basis is not None
    assert any("sort" in note for note in soft.basis.notes)
    with pytest.raises(NothingToAlignError, match="sort"):
        onefold.SoftMerge(pair(Sorted), "layer", align="permutation", screen=False, data=labelled)
    words_labelled = [
        (x, torch.randint(3, (64,), generator=torch.Generator().manual_seed(0))) for x in words()
    ]
    partly = onefold.SoftMerge(
        pair(Partly), "layer", align="permutation", screen=False, data=words_labelled
    )
    assert partly.basis is not None
    assert any(note.startswith("only 1 of 4") for note in partly.basis.notes)


FACTORY = """
import torch
from torch import nn

class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.c(self.b(self.a(x).sort(-1).values).sort(-1).values)

def network():
    return Sorted()

def data(split="train"):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(32, 6, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(3)]
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(FACTORY)
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers = nn.ModuleDict({"a": nn.Linear(6, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
        onefold.save(layers.state_dict(), tmp_path / f"{seed}.safetensors")
    return tmp_path


def test_the_commands_say_it(files: Path, onefold: Callable[..., Any]) -> None:
    members = [files / "0.safetensors", files / "1.safetensors"]
    own = ("--model", f"{files}/own.py:network", "--data", f"{files}/own.py:data")
    done = onefold("merge", *members, *own, "-o", files / "out.safetensors")
    assert done.status == 0, done.err
    assert "warning: nothing was aligned" in done.err
    assert "order along an axis (sort)" in done.err
    asked = onefold("merge", *members, *own, "--align", "cca", "-o", files / "no.safetensors")
    assert asked.status != 0
    assert "Nothing in Sorted can be aligned" in asked.err
    assert "--align none" in asked.err
    assert not (files / "no.safetensors").exists()
    aligned = onefold("align", *members, *own)
    assert aligned.status != 0
    assert "sort" in aligned.err
    partly = onefold("merge", *members, *own, "--until", "a", "-o", files / "part.safetensors")
    assert partly.status == 0, partly.err
    assert "nothing was aligned" in partly.err


def test_a_recipe_that_names_no_matcher_stays_one(files: Path) -> None:
    content = {
        "model": f"{files}/own.py:network",
        "members": [str(files / "0.safetensors"), str(files / "1.safetensors")],
        "data": {"source": f"{files}/own.py:data"},
        "output": str(files / "made.safetensors"),
    }
    made = carry_out(absolute(check(content)))
    assert "nothing was aligned" in made.warnings[0]
    again = read(files / "made.recipe.yaml")
    assert again.align.method is None
    assert carry_out(again, force=True).warnings == made.warnings
    with pytest.raises(NothingToAlignError):
        carry_out(absolute(check({**content, "align": {"method": "cca"}})), force=True)
