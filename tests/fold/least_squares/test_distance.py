"""Distances of networks from the ensemble, beside the formulas by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(250, 4, generator=generator, dtype=torch.float64).split(100))


def folded(keep: str, ensemble: str) -> onefold.MergeResult:
    method = onefold.LeastSquares(budget="1.3x", keep=keep, ensemble=ensemble)
    models = [network(0), network(1)]
    return onefold.merge(models, inputs(), align="none", fold=method, weights=[0.7, 0.3])


@pytest.mark.parametrize("ensemble", ["logits", "probabilities"])
def test_they_are_those_of_the_formulas(ensemble: str) -> None:
    x = torch.cat(inputs())
    told = folded("nearest", ensemble).report.folded
    with torch.no_grad():
        first, second = network(0)(x), network(1)(x)
        for way in ("member", "units"):
            found = folded(way, ensemble).model(x)
            if ensemble == "logits":
                wanted = (found - 0.7 * first - 0.3 * second).square().mean()
            else:
                q = 0.7 * first.softmax(1) + 0.3 * second.softmax(1)
                wanted = F.kl_div(found.log_softmax(1), q, reduction="batchmean")
            assert told["distances"][way] == pytest.approx(float(wanted), rel=1e-5)
    assert told["distances"]["member"] != pytest.approx(told["distances"]["units"])
