"""The devices that processes are started on."""

import pytest
import torch

from onefold.errors import RecipeError
from onefold.processes import check_device


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_a_device_that_is_there(name: str) -> None:
    assert check_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu cuda"])
def test_a_name_that_no_device_has(name: str) -> None:
    with pytest.raises(RecipeError, match=f"There is no device '{name}'; use cpu, cuda or cuda:N."):
        check_device(name)


@pytest.mark.parametrize(
    ("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:7", 2)]
)
def test_a_cuda_device_that_is_not_there(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(RecipeError, match=f"'{name}' is not there: torch sees {count} CUDA"):
        check_device(name)


@pytest.mark.parametrize(("name", "count"), [("cuda", 1), ("cuda:0", 1), ("cuda:1", 2)])
def test_a_cuda_device_that_is_there(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert check_device(name) == torch.device(name)
