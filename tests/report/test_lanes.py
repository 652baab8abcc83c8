"""The picture of groups along a network: what stands where, blocks that repeat, too many rows or
columns, files, the report.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from onefold import find_symmetries
from onefold.errors import DataError
from onefold.report import Lane, Lanes, Report, group_lanes, to_png, to_svg
from onefold.report.lanes import KINDS, PARTS, Block
from onefold.report.symmetry_picture import ROWS, lanes_of
from onefold.symmetry.axes import Group, Live, Slot
from onefold.symmetry.spec import SymmetrySpec

PERMUTATION = frozenset({"permutation"})


def spec_of(
    groups: list[Group], order: list[str], frozen: dict[str, str] | None = None
) -> SymmetrySpec:
    """A spec of weights and biases that are used in this order; their axes hold the groups that
    name them.
    """
    sizes = {group.name: group.size for group in groups}
    held: dict[str, dict[int, str]] = {}
    for group in groups:
        for slot in group.slots:
            held.setdefault(slot.tensor, {})[slot.axis] = group.name
    axes = {
        tensor: tuple(Live(own, sizes[own]) for _, own in sorted(held.get(tensor, {}).items()))
        for tensor in order
    }
    return SymmetrySpec(tuple(groups), axes, {}, (), frozen=frozen or {})


def transformer(layers: int, odd: int = -1) -> SymmetrySpec:
    """A residual stream over many blocks, in each of which three groups live; the block number
    `odd` has a wider hidden layer.
    """
    names = [f"model.layers.{k}" for k in range(layers)]
    parts = ("norm.weight", "q.weight", "out.weight", "up.weight", "up.bias", "down.weight")
    used = [
        "model.table.weight",
        *(f"{name}.{part}" for name in names for part in parts),
        "model.head.weight",
        "model.head.bias",
    ]
    order: list[Slot] = [Slot("model.table.weight", 1, "table")]
    inner: list[Group] = []
    for k, name in enumerate(names):
        order += [
            Slot(f"{name}.q.weight", 1, "consumer"),
            Slot(f"{name}.out.weight", 0, "producer"),
        ]
        order += [
            Slot(f"{name}.up.weight", 1, "consumer"),
            Slot(f"{name}.down.weight", 0, "producer"),
            Slot(f"{name}.norm.weight", 0, "scale"),
        ]
        heads, hidden = f"g{3 * k + 1}", f"g{3 * k + 3}"
        inner.append(
            Group(
                heads,
                4,
                PERMUTATION,
                (
                    Slot(f"{name}.q.weight", 0, "producer"),
                    Slot(f"{name}.out.weight", 1, "consumer"),
                ),
            )
        )
        slots = (Slot(f"{name}.q.weight", 0, "producer"), Slot(f"{name}.out.weight", 1, "consumer"))
        inner.append(Group(f"g{3 * k + 2}", 8, PERMUTATION | {"invertible"}, slots, over=(heads,)))
        slots = (
            Slot(f"{name}.up.weight", 0, "producer"),
            Slot(f"{name}.up.bias", 0, "bias"),
            Slot(f"{name}.down.weight", 1, "consumer"),
        )
        inner.append(Group(hidden, 64 if k == odd else 48, PERMUTATION, slots))
    stream = Group(
        "g0",
        32,
        PERMUTATION,
        (*order, Slot("model.head.weight", 1, "consumer")),
        folded=frozenset({"orthogonal"}),
    )
    return spec_of([stream, *inner], used, {"model.head.bias": "output of the network"})


def test_a_small_network_shows_every_group_and_tensor() -> None:
    network = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6, bias=False), nn.Linear(6, 3)
    )
    found = lanes_of(find_symmetries(network, torch.randn(2, 5)))
    assert found.columns == (
        "0",
        "0.bias",
        "1",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "3",
        "4",
        "4.bias",
    )
    assert [(lane.name, lane.features, lane.kind) for lane in found.lanes] == [
        ("g0", "8", "permutation"),
        ("g1", "6", "dense"),
    ]
    assert found.lanes[0].marks == (
        (0, "makes"),
        *((k, "beside") for k in range(1, 6)),
        (6, "reads"),
    )
    assert found.lanes[1].marks == ((6, "makes"), (7, "reads"))
    assert (found.still, found.blocks, found.left_out) == ((8,), (), "")


def test_blocks_that_repeat_are_shown_once() -> None:
    found = lanes_of(transformer(33))  # a hundred groups
    assert [lane.name for lane in found.lanes] == [
        "g0",
        "g1, g4… (33)",
        "g2, g5… (33)",
        "g3, g6… (33)",
    ]
    assert [lane.kind for lane in found.lanes] == [
        "folded",
        "permutation",
        "indexed",
        "permutation",
    ]
    assert [lane.features for lane in found.lanes] == ["32", "4", "8 each", "48"]
    assert found.columns == (
        "table",
        "norm",
        "q",
        "out",
        "up",
        "up.bias",
        "down",
        "head",
        "head.bias",
    )
    assert found.blocks == (Block("model.layers.0 to 32, 33 alike", 1, 6),)
    assert [part for _, part in found.lanes[0].marks] == [
        "table",
        "beside",
        "reads",
        "makes",
        "reads",
        "makes",
        "reads",
    ]
    assert found.still == (8,)


def test_a_block_that_is_different_stands_alone() -> None:
    found = lanes_of(transformer(12, odd=5))
    assert [block.name for block in found.blocks] == [
        "model.layers.0 to 4, 5 alike",
        "model.layers.6 to 11, 6 alike",
    ]
    assert {"64", "48"} <= {lane.features for lane in found.lanes}
    assert sum(lane.features == "48" for lane in found.lanes) == 2


def chain(count: int, reach: int) -> SymmetrySpec:
    """Layers that read the features of some layers before, none like another."""
    return spec_of(
        [
            Group(
                f"g{k}",
                k + 2,
                PERMUTATION,
                (
                    Slot(f"part.a{k}.weight", 0, "producer"),
                    *(
                        Slot(f"part.a{j}.weight", j - k, "consumer")
                        for j in range(k + 1, min(count + 1, k + reach + 1))
                    ),
                ),
            )
            for k in range(count)
        ],
        [f"part.a{k}.weight" for k in range(count + 1)],
    )


def test_short_groups_share_rows_where_there_are_many() -> None:
    found = lanes_of(chain(90, 1))
    assert len(found.lanes) == 2  # neighbours overlap on one tensor
    assert [len(lane.spans) for lane in found.lanes] == [45, 45]
    assert "share a row" in found.left_out
    assert len(found.columns) == 91


def test_too_many_rows_are_left_out_and_counted() -> None:
    found = lanes_of(chain(100, 60))
    assert len(found.lanes) == ROWS
    shown = sum(len(lane.spans) for lane in found.lanes)
    assert found.left_out == f"Not shown: {100 - shown} groups that stand on fewer numbers."


def test_no_group_at_all() -> None:
    found = lanes_of(find_symmetries(nn.Linear(3, 2), torch.randn(2, 3)))
    assert (found.lanes, found.still) == ((), (0, 1))
    group_lanes(found)


MANY = Lanes(
    tuple(f"stage{k // 50}.a.rather.long.name.of.layer{k}" for k in range(300)),
    tuple(
        Lane(
            f"g{k}",
            "1,024",
            list(KINDS)[k % 4],
            tuple((j, list(PARTS)[j % 6]) for j in range(k, 300, 7)),
        )
        for k in range(ROWS)
    ),
    tuple(Block(f"stage{k}", 50 * k, 50 * k + 49) for k in range(6)),
    still=(3, 299),
    left_out="Not shown: 12 groups that stand on fewer numbers.",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lanes",
    [lanes_of(transformer(2)), lanes_of(transformer(33)), MANY],
    ids=["small", "folded", "many"],
)
def test_pictures_are_deterministic_of_house_width_and_can_be_embedded(lanes: Lanes) -> None:
    svg = to_svg(group_lanes(lanes), "x")
    assert svg == to_svg(group_lanes(lanes), "x")
    assert float(ET.fromstring(svg).get("viewBox", "").split()[2]) == 756
    assert "currentColor" in svg
    for lane in lanes.lanes:
        assert lane.name in svg
    Report(title="t").section("s").picture(svg, "caption")
    assert to_png(group_lanes(lanes), 60).startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(DataError, match="no tensor to draw"):
        group_lanes(Lanes((), ()))
    with pytest.raises(
        DataError, match="Row 'g0' has the unknown class of maps 'odd'; known: permutation"
    ):
        group_lanes(Lanes(("a",), (Lane("g0", "2", "odd", ((0, "makes"),)),)))
    with pytest.raises(DataError, match="Row 'g0' needs marks on columns 0 to 0"):
        group_lanes(Lanes(("a",), (Lane("g0", "2", "dense", ((1, "makes"),)),)))


@pytest.mark.slow
def test_inspect_draws(onefold: Callable, tmp_path: Path) -> None:
    common = ["inspect", "digits?width=4", "--shape", "1,8,8", "--picture"]
    result = onefold(*common, tmp_path / "a.svg")
    assert result.status == 0, result.err
    assert "g2" in (tmp_path / "a.svg").read_text()
    assert "3 groups cover" in result.out
    assert "a.svg" in result.err
    before = (tmp_path / "a.svg").read_bytes()
    assert "exists already" in onefold(*common, tmp_path / "a.svg").err
    assert onefold(*common, tmp_path / "a.svg", "--force").status == 0
    assert (tmp_path / "a.svg").read_bytes() == before
    assert onefold(*common, tmp_path / "a.png").status == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "let the name end in .svg or .png" in onefold(*common, tmp_path / "a.jpg").err


@pytest.mark.slow
def test_the_report_of_a_merge_shows_it(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "f.safetensors"
    arguments = [
        "--model",
        "digits?width=4",
        "--data",
        "sklearn:digits",
        "--samples",
        "200",
        "--align",
        "permutation",
    ]
    result = onefold("merge", *members[:2], *arguments, "-o", out)
    assert result.status == 0, result.err
    sections = {
        section["title"]: section["blocks"]
        for section in json.loads(out.with_suffix(".report.json").read_text())["sections"]
    }
    (picture,) = sections["What moves together"]
    assert "conv1" in picture["svg"]
    assert picture["description"].startswith("3 groups cover 9")
