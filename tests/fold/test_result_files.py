"""A result of a merge goes through files unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import Plain, loader, members

import onefold
from onefold.fold.result_files import load_result, save_result


@pytest.mark.parametrize("align", ["permutation", "none"])
@pytest.mark.parametrize("weights", [None, (0.7, 0.3)])
def test_a_result_is_the_same_in_another_process(
    tmp_path: Path, align: str, weights: tuple[float, ...] | None
) -> None:
    result = onefold.merge(
        members(Plain, 2), loader(100), align=align, weights=weights, fold="average"
    )
    save_result(result, tmp_path)
    read = load_result(Plain(), tmp_path)
    state = result.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in read.model.state_dict().items())
    assert read.report == result.report
    assert (read.alignment is None) == (result.alignment is None)
    if read.alignment is not None and result.alignment is not None:
        assert read.alignment.table() == result.alignment.table()


@pytest.mark.parametrize("width", [0.5, 1.5])
def test_a_result_of_other_widths_comes_back_as_it_was(tmp_path: Path, width: float) -> None:
    fold = onefold.LeastSquares(ensemble="logits", width=width)
    made = onefold.merge(members(Plain, 2), loader(100), align="none", fold=fold)
    save_result(made, tmp_path)
    read = load_result(Plain(), tmp_path).model.eval()
    images = next(iter(loader(100)))[0]
    assert torch.equal(read(images), made.model(images))
    assert type(read) is Plain
