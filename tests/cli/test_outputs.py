"""Commands on networks of several outputs, class maps, and hints near chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import onefold as of
from onefold.recipe import read
from onefold.sources import build_model

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 12), nn.Linear(12, 10)

    def forward(self, x):
        h = torch.relu(self.body(x.flatten(1)))
        return {"mean": h.mean(1, keepdim=True).expand(-1, 10), "cls": self.head(h)}

def make():
    return Net()
"""
DATA = ["--data", "sklearn:digits", "--samples", "150"]


@pytest.fixture
def dicts(tmp_path: Path) -> tuple[str, list[Path]]:
    """The name of networks that return a dict, and two files of trained ones."""
    (tmp_path / "net.py").write_text(FACTORY)
    name, files = f"{tmp_path}/net.py:make", []
    from onefold.sources import build_data

    x, y = next(iter(build_data("sklearn:digits", batch_size=600)))
    for seed in range(2):
        torch.manual_seed(seed)
        network = build_model(name)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x)["cls"], y).backward()
            optimiser.step()
        files.append(of.save(network, tmp_path / f"{seed}.safetensors"))
    return name, files


def test_eval_merge_and_soft_score_the_output_that_is_named(
    onefold: Callable, refused: Callable, dicts: tuple[str, list[Path]], tmp_path: Path
) -> None:
    name, files = dicts
    told = refused("eval", *files, "--model", name, "--data", "sklearn:digits")
    assert "several outputs, mean (128, 10), cls (128, 10)" in told
    for select in ("cls", "1"):
        found = json.loads(
            onefold(
                "eval",
                *files,
                "--model",
                name,
                "--data",
                "sklearn:digits",
                "--network-output",
                select,
                "--json",
            ).out
        )
        assert found["members"][0]["accuracy"] > 0.7
        assert found["classes"] == list("0123456789")
    flags = [
        "--model",
        name,
        *DATA,
        "--eval-split",
        "test",
        "--eval-samples",
        "200",
        "--network-output",
        "cls",
    ]
    merged = onefold(
        "merge",
        *files,
        *flags,
        "--polish",
        "1",
        "-o",
        tmp_path / "m.safetensors",
        "--report",
        tmp_path / "m.html",
    )
    assert merged.status == 0, merged.err
    assert "Classes: " not in merged.out  # their names are their numbers
    recipe = read(tmp_path / "m.recipe.yaml", trust=True)
    assert recipe.network_output.select == "cls"
    again = onefold(
        "merge", tmp_path / "m.recipe.yaml", "--trust", "-o", tmp_path / "again.safetensors"
    )
    assert again.status == 0, again.err
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "m.safetensors"
    ).read_bytes()
    soft = ["--level", "model", "--outputs", "probabilities", "--steps", "5", "--no-fallback"]
    result = onefold("soft", *files, *flags, *soft, "-o", tmp_path / "s.safetensors")
    assert result.status == 0, result.err
    scored = onefold(
        "eval",
        tmp_path / "s.safetensors",
        "--model",
        name,
        "--data",
        "sklearn:digits",
        "--network-output",
        "cls",
        "--json",
    )
    assert json.loads(scored.out)["ensemble"]["accuracy"] > 0.7


def test_another_order_of_classes_is_seen_and_put_right(
    onefold: Callable, dicts: tuple[str, list[Path]]
) -> None:
    name, files = dicts
    call = ["eval", *files, "--model", name, "--network-output", "cls", "--data"]
    order = "3,4,5,6,7,8,9,0,1,2"
    wrong = onefold(*call, f"sklearn:digits?classes={order}")
    assert wrong.status == 0
    assert "Classes: 0 = 3, 1 = 4" in wrong.out
    assert "near chance" in wrong.out  # in the table
    assert "0 '3' -> 3, 1 '4' -> 4" in wrong.err.replace(" ,", ",")
    right = onefold(*call, "sklearn:digits")
    assert "near chance" not in right.out + right.err
