"""Running a guide of docs/guides as a reader does: all blocks of code from top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import torch
from doc_pages import Small, text_of
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader


def blocks(root: Path, page: str, language: str = "python") -> list[str]:
    """The blocks of code of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(root, page), re.DOTALL | re.MULTILINE)


def run_page(root: Path, page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run all blocks one after the other; returns all names.

    Args:
        root: of the repository.
        page: below docs/.
        names: what the page says stands for the reader's own.
    """
    space = {"__name__": "example", **names}
    torch.manual_seed(0)
    for number, block in enumerate(blocks(root, page)):
        exec(compile(block, f"docs/{page}, block {number}", "exec", dont_inherit=True), space)
    return space


def commands(root: Path, page: str) -> list[list[str]]:
    """The words of every command in the page's shell blocks."""
    lines = "".join(blocks(root, page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def trained(loader: DataLoader, seed: int, without: tuple[int, ...] = (), epochs: int = 3) -> Small:
    """A Small network, trained on all classes but those of `without`."""
    torch.manual_seed(seed)
    model = Small()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for x, y in loader:
            own = torch.tensor([int(label) not in without for label in y])
            loss = functional.cross_entropy(model(x[own]), y[own])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def damaged(model: nn.Module, kind: str) -> nn.Module:
    """A network, in place: "nan" in one weight, or all weights "random" and very large."""
    with torch.no_grad():
        for parameter in model.parameters():
            if kind == "nan":
                parameter.view(-1)[0] = torch.nan
                break
            parameter.normal_(0, 1e6)
    return model


def write_demo(folder: Path) -> None:
    """The members that `onefold demo` writes, hardly trained."""
    import onefold as of
    from onefold.demo.run import MEMBERS, MODEL
    from onefold.demo.train import train
    from onefold.sources import ImageBatches, build_data, build_model

    (folder / "onefold-demo").mkdir()
    for k in range(MEMBERS):
        torch.manual_seed(k)
        model = build_model(MODEL)
        data = build_data("sklearn:digits", limit=300, batch_size=50)
        assert isinstance(data, ImageBatches)
        train(model, data, epochs=2)
        of.save(model, folder / "onefold-demo" / f"member-{k}.safetensors")
