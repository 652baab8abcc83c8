"""Members of unequal widths, aligned by transport and folded into one network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from small_networks import Plain, loader, members
from torch import Tensor, nn
from torch.nn import functional as F

import onefold
from onefold.alignment import Alignment, align
from onefold.alignment.matchers.transport import Transport
from onefold.errors import AlignmentError, MembersError
from onefold.fold import merge


class Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(64, width),
            nn.Linear(width, width),
            nn.Linear(width, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x.flatten(1))))))


class Convolutions(nn.Module):
    """With batch norm and a residual sum; the last convolution's channels are flattened with their
    places.
    """

    def __init__(self, width: int, norms: bool = True) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(n, width, 3, padding=1) for n in (1, width, width))
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width) if norms else nn.Identity() for _ in range(3)
        )
        self.head = nn.Linear(width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.a(x)))
        x = F.relu(x + self.norms[1](self.b(x)))
        x = F.max_pool2d(F.relu(self.norms[2](self.c(x))), 2)
        return self.head(x.flatten(1))


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(
        data.target
    )


IMAGES, LABELS = digits()


TRAIN, TEST = slice(0, 1200), slice(1200, None)


def learnt(network: nn.Module, seed: int, epochs: int = 12) -> nn.Module:
    torch.manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        for index in torch.randperm(1200).split(60):
            loss = F.cross_entropy(network(IMAGES[index]), LABELS[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def accuracy(network: nn.Module) -> float:
    return onefold.evaluate(network, [(IMAGES[TEST], LABELS[TEST])]).accuracy


CALIBRATION = list(IMAGES[TRAIN].split(200))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [Perceptron, Convolutions, lambda width: Convolutions(width, norms=False)],
    ids=["mlp", "norms", "plain"],
)
def test_networks_of_widths_16_and_24_become_one_of_either(make) -> None:
    torch.manual_seed(0)
    networks = [learnt(make(width), seed) for seed, width in enumerate((16, 24))]
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    assert min(accuracy(n) for n in networks) > 0.85
    for reference in (0, 1):
        result = merge(
            networks, CALIBRATION, align="transport", reference=reference, fold="average"
        )
        shapes = {k: v.shape for k, v in result.model.state_dict().items()}
        assert shapes == {k: v.shape for k, v in networks[reference].state_dict().items()}
        assert type(result.model) is type(networks[0])
        assert accuracy(result.model) > 0.5
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_a_network_with_doubled_units_folds_into_the_narrow_one_exactly() -> None:
    torch.manual_seed(1)
    narrow, wide = Perceptron(6).double(), Perceptron(12).double()
    twice = torch.arange(12) // 2
    with torch.no_grad():
        wide.first.weight.copy_(narrow.first.weight[twice])
        wide.first.bias.copy_(narrow.first.bias[twice])
        wide.second.weight.copy_(narrow.second.weight[twice][:, twice] / 2)
        wide.second.bias.copy_(narrow.second.bias[twice])
        wide.head.weight.copy_(narrow.head.weight[:, twice] / 2)
        wide.head.bias.copy_(narrow.head.bias)
    images = IMAGES[:300].double()
    torch.testing.assert_close(wide(images), narrow(images))
    result = merge([narrow, wide], [images], align="transport", repair="none", fold="average")
    torch.testing.assert_close(result.model(images), narrow(images), rtol=0, atol=1e-9)


def test_alignments_of_unequal_widths_are_saved_and_applied(tmp_path: Path) -> None:
    torch.manual_seed(2)
    networks = [Perceptron(16), Perceptron(24), Perceptron(20)]
    found = align(networks, CALIBRATION, method="transport", reference=2)
    assert found.maps["g0"][1].forward.shape == (20, 24)
    found.save(tmp_path / "a.safetensors")
    assert Alignment.load(tmp_path / "a.safetensors") == found
    assert all(twin.head.weight.shape == (10, 20) for twin in found.apply(networks))
    assert torch.equal(found.apply(networks)[2].head.weight, networks[2].head.weight)


@pytest.mark.slow
def test_what_cannot_be_folded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [Perceptron(16), Perceptron(24)]
    with pytest.raises(MembersError, match="first"):
        align(networks, CALIBRATION, method="cca")
    with pytest.raises(AlignmentError, match="need a reference"):
        align(networks, CALIBRATION, method="transport", reference=None)
    with pytest.raises(MembersError, match="one width only"):
        merge(networks, CALIBRATION, align="transport", fold="least_squares")

    def normed(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 3),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36 * width, 10),
        )

    with pytest.raises(
        AlignmentError,
        match=r"has 4 features in member 0 but 6 in member 1, and it takes no matrix",
    ):
        align([normed(4), normed(6)], CALIBRATION, method="transport")
    with pytest.raises(AlignmentError, match="must be 0 or greater"):
        Transport(entropy=-1.0)
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(
        AlignmentError, match=r'install it with: pip install "onefold\[transport\]"'
    ):
        align(networks, CALIBRATION, method="transport")
    align(
        members(Plain, 2), loader(), method="transport"
    )  # exact between equal widths does without
