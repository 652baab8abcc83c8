"""A traced network cut in two: both sides together are the network bit for bit, or why not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import symmetry_networks as nets
import torch
from head_networks import Attention
from symmetry_zoo import Decoder, tokens
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.errors import DataError, SymmetryError
from onefold.symmetry import trace
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.parts import Rest, Trunk, piece_before, piece_behind

NETWORKS: list[tuple[Any, tuple[int, ...]]] = [
    (nets.mlp, (10,)),
    (nets.UNet, (3, 16, 16)),
    (nets.mobile, (3, 16, 16)),
    (nets.Dense, (3, 8, 8)),
    (nets.InPlace, (5,)),
    (nets.StackedGates, (5,)),
    (nets.TwoOutputs, (6,)),
    (Attention, (7, 5)),
]


class Keyed(nn.Module):
    """Takes keywords, of which one is used again late, normalises its weights as it runs, and
    returns a dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
        self.second = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
        self.register_buffer("places", torch.full((1, 6), -torch.inf), persistent=False)
        self.head = nn.Linear(6, 3)

    def forward(self, *, x: Tensor, mask: Tensor) -> dict[str, Any]:
        x = torch.relu(self.first(x)) * mask
        x = torch.relu(self.second(x)) * mask + self.places.exp()
        return {"logits": self.head(x), "kept": [mask.sum()]}


def parts(
    network: nn.Module, *args: Any, **kwargs: Any
) -> tuple[Cutting, dict[str, tuple[Trunk, Rest]]]:
    """Both sides of every cut."""
    cutting = Cutting(trace(network, args, kwargs))

    def made(cut: Cut) -> tuple[Trunk, Rest]:
        state = network.state_dict()
        return Trunk(piece_before(cutting, cut), state, cutting), Rest(
            piece_behind(cutting, cut), state, cutting
        )

    return cutting, {cut.until: made(cut) for cut in cutting.cuts}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "shape"), NETWORKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_both_sides_together_are_the_network_bit_for_bit(
    build: Any, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    network, x = build().double().eval(), torch.randn(4, *shape, dtype=torch.float64)
    kept, before = x.clone(), copy.deepcopy(network.state_dict())
    cutting, every = parts(network, x)
    with torch.no_grad():
        wanted, alone = network(x.clone()), network(x[:1].clone())
        assert every
        for trunk, rest in every.values():
            values = trunk(x)
            again = copy.deepcopy(rest)
            for got in (
                rest(*values),
                again(*values),
            ):  # the first run changed nothing that the second reads
                assert pytree.tree_structure(got) == pytree.tree_structure(wanted)
                assert all(
                    torch.equal(a, b)
                    for a, b in zip(
                        pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True
                    )
                )
            for a, b in zip(
                pytree.tree_leaves(rest(*trunk(x[:1]))), pytree.tree_leaves(alone), strict=True
            ):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert torch.equal(x, kept)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    shares = [cut.share for cut in cutting.cuts]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] < 1


def test_keywords_weights_computed_from_weights_and_nested_outputs() -> None:
    torch.manual_seed(0)
    network = Keyed().eval()
    inputs = {"x": torch.randn(4, 5), "mask": (torch.rand(4, 6) > 0.3).float()}
    cutting, every = parts(network, **inputs)
    trunk, rest = every["first"]
    assert len(cutting.at("first").crossing) == 2  # the features and the mask
    assert {name.split(".")[0] for name, _ in trunk.named_parameters()} == {"first"}
    assert {name.split(".")[0] for name, _ in rest.named_parameters()} == {"second", "head"}
    assert not any(
        "places" in name for name in rest.state_dict()
    )  # as in the network, it is in no file
    wanted, got = network(**inputs), rest(*trunk(**inputs))
    assert got.keys() == wanted.keys()
    assert torch.equal(got["logits"], wanted["logits"])
    assert torch.equal(got["kept"][0], wanted["kept"][0])
    with pytest.raises(DataError, match="traced with keywords"):
        trunk(x=inputs["x"])
    with pytest.raises(
        DataError, match=r"has shape \(4, 6\), but the network was traced for \(any, 5\)"
    ):
        trunk(x=inputs["mask"], mask=inputs["mask"])


def test_both_sides_train() -> None:
    torch.manual_seed(0)
    _, every = parts(nets.mlp().eval(), torch.randn(4, 10))
    trunk, rest = every["2"]
    rest(*trunk(torch.randn(3, 10))).square().mean().backward()
    assert all(
        p.grad is not None and bool(p.grad.abs().sum() > 0)
        for side in (trunk, rest)
        for p in side.parameters()
    )


def test_tied_tensors_are_one_on_their_side_and_two_across_the_cut() -> None:
    _, every = parts(nets.TwoOutputs().eval(), torch.randn(4, 6))
    assert sorted(p.shape for p in every["trunk"][1].parameters()) == [
        (2,),
        (2, 8),
        (3,),
        (3, 8),
        (8,),
        (8,),
        (8, 8),
    ]
    _, every = parts(Decoder().eval(), tokens())
    trunk, rest = next(iter(every.values()))
    tables = [
        [p for p in side.parameters() if p.shape == Decoder().table.weight.shape]
        for side in (trunk, rest)
    ]
    assert [len(own) for own in tables] == [1, 1]
    assert tables[0][0].data_ptr() != tables[1][0].data_ptr()


def test_a_share_means_the_nearest_place() -> None:
    cutting = Cutting(trace(nets.mlp().eval(), (torch.randn(4, 10),)))
    assert [(cut.until, cut.layers, cut.total) for cut in cutting.cuts] == [
        (str(k), 1 + k // 2, 4) for k in range(6)
    ]
    assert cutting.at(0.45).until == "3"  # of two places behind as many layers the later one
    assert cutting.at(0.9).until == "5"
    for share in (0.0, 1, -1.0, float("nan")):
        with pytest.raises(SymmetryError, match="share of layers"):
            cutting.at(share)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "shape", "until", "message"),
    [
        (nets.mobile, (3, 16, 16), "3.body.0", "parted from its batch norm.*it can behind '2'"),
        (nets.mobile, (3, 16, 16), "9", "no layer with weights runs behind it"),
        (nets.mobile, (3, 16, 16), "middle", "has no module 'middle'"),
        (nets.mlp, (10,), "7", "has no module '7'; the network can be cut behind '1', '3', '5'"),
        (nets.InPlace, (5,), "c", "one memory, which is written to behind it"),
        (nets.StackedBranches, (5,), "shared", "joined"),
        (Attention, (7, 5), "q", "queries from keys"),
        (Attention, (7, 5), "v", "part the heads"),
        (nets.TwoOutputs, (6,), "heads", "no layer with weights runs behind it"),
    ],
)
def test_a_sentence_says_why_not_and_where(
    build: Any, shape: tuple[int, ...], until: str, message: str
) -> None:
    cutting = Cutting(trace(build().eval(), (torch.randn(4, *shape),)))
    with pytest.raises(SymmetryError, match=message):
        cutting.at(until)


def test_a_module_of_which_nothing_runs() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 2))
    with pytest.raises(SymmetryError, match="Nothing of the module '1' runs"):
        Cutting(trace(network.eval(), (torch.randn(4, 4),))).at("1")
