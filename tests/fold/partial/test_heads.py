"""Heads that read another member's trunk: exact in each of the three ways."""

from __future__ import annotations

from typing import Any

import pytest
import symmetry_networks as nets
import torch
from head_networks import Attention
from partial_chains import chains, doubled, rows
from small_networks import Residual, loader
from torch import Tensor
from torch.utils import _pytree as pytree

import onefold
from onefold.alignment import Alignment, align
from onefold.alignment.matchers.zipit import ZipIt
from onefold.errors import SymmetryError
from onefold.fold.partial import heads
from onefold.fold.partial.heads import head_state
from onefold.fold.partial.module import PartialMerge, assemble
from onefold.symmetry import apply_maps, fold_scales, trace
from onefold.symmetry.cutting import Cutting
from onefold.symmetry.drawing import random_maps

DATA = [(x.double(), y) for x, y in loader()]
IMAGES = DATA[0][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["the first that is exact", "not written", "neither written nor read"]
)
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (nets.mlp, (10,)),
        (nets.FlatCNN, (1, 8, 8)),
        (nets.InPlace, (5,)),
        (nets.TwoOutputs, (6,)),
        (nets.PaddedShortcut, (3, 8, 8)),
        (Attention, (7, 5)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_head_undoes_any_map_that_keeps_the_function(
    build: Any, shape: tuple[int, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, x = build().double().eval(), torch.randn(3, *shape, dtype=torch.float64)
    cutting, generator = Cutting(trace(network, (x,))), torch.Generator().manual_seed(1)
    spec, state = cutting.spec, network.state_dict()
    wanted = pytree.tree_leaves(rows(network, x.clone()))
    if way != "the first that is exact":
        monkeypatch.setattr(heads, "keeps_function", lambda *_, **__: False)
    if way == "neither written nor read":
        monkeypatch.setattr(heads, "consumers_of", lambda *_: None)

    def error(of: dict[str, Tensor], steps: list[Any], trunk: dict[str, Tensor], cut: Any) -> float:
        got = pytree.tree_leaves(rows(assemble(cutting, cut, trunk, [of], [steps], [1.0]), x))
        return max(float((a - b).abs().max()) for a, b in zip(got, wanted, strict=True))

    ways = set()
    for kind in ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"):
        turns = any(kind in group.folded for group in spec.groups)
        groups = [
            group
            for group in spec.groups
            if kind in group.maps | (group.folded if turns else frozenset())
        ]
        maps = random_maps(spec, groups, kind, generator)
        plain = fold_scales(state, spec) if turns else state
        trunk = apply_maps(plain, spec, maps)
        alignment = Alignment(
            "random",
            spec,
            0,
            1,
            {name: (own,) for name, own in maps.items()},
            {},
            {},
            {},
            folds_scales=turns,
        )
        for cut in cutting.cuts:
            head = head_state(cutting, cut, alignment, state, 0)
            ways.add(head.way)
            assert error(head.state, head.unmerge, trunk, cut) < 1e-10
            if head.way != "own":
                assert (
                    error(plain, [], trunk, cut) > 1e-4
                )  # the member's layers on features that were not brought back
    assert ("written" if way == "the first that is exact" else "unmerged") in ways


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "permutation",
        "cca",
        "procrustes",
        "weights",
        "transport",
        "none",
        ZipIt(within=0.0),
        "zipit",
    ],
)
def test_behind_a_trunk_of_one_member_that_member_answers_exactly(method: Any) -> None:
    count = (
        2 if isinstance(method, ZipIt) else 3
    )  # of two, and without merging within them, each cluster has one feature of both
    models = chains(count)
    alignment = method if method == "none" else align(models, DATA, method=method)
    wanted = [rows(model, IMAGES) for model in models]
    for until, k in (("1", 0), ("1", 1), ("4", 1), (0.8, 0), (0.8, 1)):
        weights = [float(j == k) for j in range(count)]
        result = onefold.partial_merge(
            models,
            DATA,
            until=until,
            align=alignment,
            repair="none",
            weights=weights,
            outputs="members",
        )
        errors = [
            float((own - other).abs().max())
            for own, other in zip(rows(result.model, IMAGES), wanted, strict=True)
        ]
        # A map of features behind a nonlinearity is undone exactly only if it goes through that
        # nonlinearity, or if it is nothing: the reference's.
        exact = (
            method in ("permutation", "weights", "transport", "none")
            or isinstance(method, ZipIt)
            or (k == 0 and method != "zipit")
        )
        assert (errors[k] < 1e-10) == exact, errors
        assert all(errors[j] > 1e-3 for j in range(count) if j != k)
        own = [*result.model.heads[1:], result.model.heads[0]]
        others = PartialMerge(result.model.trunk, own, [1 / count] * count, outputs="members")
        assert float((rows(others, IMAGES)[k] - wanted[k]).abs().max()) > 1e-3


@pytest.mark.slow
def test_dense_maps_go_into_the_weights_that_read_them_where_all_is_linear_on_the_way() -> None:
    models = chains(2)
    alignment = align(models, DATA, method="cca")

    def ways(until: str) -> list[str]:
        return onefold.partial_merge(models, DATA, until=until, align=alignment).report.heads

    assert (
        ways("1") == ways("3") == ways("4") == ways("5") == ways("7") == ["own", "read"]
    )  # through a pool, and channels times positions
    assert ways("0") == ways("2") == ways("6") == ["own", "unmerged"]  # a ReLU comes first
    result = onefold.partial_merge(models, DATA, until="3", align=alignment)
    twin = onefold.partial_merge(models, DATA, until="2", align=alignment)
    assert result.report.costs.partial.multiply_adds == pytest.approx(
        twin.report.costs.partial.multiply_adds - 8 * 8 * 64
    )


@pytest.mark.slow
def test_a_skip_connection_crosses_with_the_branch() -> None:
    models = doubled(Residual)
    alignment = align(models, DATA, method="permutation")
    for until, crossing in (("norm0", 1), ("norm1", 2), ("norm2", 2)):
        result = onefold.partial_merge(
            models,
            DATA,
            until=until,
            align=alignment,
            repair="none",
            weights=[0, 1, 0],
            outputs="members",
        )
        assert result.report.crossing == crossing
        assert float((rows(result.model, IMAGES)[1] - rows(models[1], IMAGES)).abs().max()) < 1e-12
    with pytest.raises(SymmetryError, match="parted from its batch norm"):
        onefold.partial_merge(models, DATA, until="conv1", align=alignment)


@pytest.mark.slow
def test_rotations_of_a_transformer_are_written_into_its_heads() -> None:
    models, data = (
        [],
        [
            torch.randn(32, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
            for k in range(4)
        ],
    )
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(Attention().double().eval())
    alignment = align(models, data, method="rotation")
    for until in ("into", "out", "second", "down", "last"):
        result = onefold.partial_merge(
            models,
            data,
            until=until,
            align=alignment,
            repair="none",
            weights=[0, 1],
            outputs="members",
        )
        first, second = (
            float((own - rows(model, data[0])).abs().max())
            for own, model in zip(rows(result.model, data[0]), models, strict=True)
        )
        assert result.report.heads == ["own", "written"]
        assert first > 1e-3
        assert second < 1e-10
