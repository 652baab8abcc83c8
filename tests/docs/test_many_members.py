"""The code and commands of docs/guides/many_members.md run as they stand there, and give what one
process with everything in memory gives.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import run_section, text_of, untested_sections
from process_groups import fork_instead, run_both

import onefold as of
from onefold.sources import build_data, build_model

PAGE = "guides/many_members.md"


@pytest.fixture
def place(members: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the members under the page's names."""
    monkeypatch.chdir(tmp_path)
    for name, path in zip("abc", members, strict=True):
        (tmp_path / f"{name}.safetensors").write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def section(root: Path) -> Any:
    return lambda title, **names: run_section(root, PAGE, title, {"onefold": of, **names})


@pytest.fixture
def commands(root: Path, onefold: Callable[..., Any]) -> Callable[[str], None]:
    """Run every command of a section; each must succeed."""

    def run(title: str) -> None:
        (body,) = re.findall(
            rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)",
            text_of(root, PAGE),
            flags=re.DOTALL | re.MULTILINE,
        )
        lines = [
            line
            for block in re.findall(r"```sh\n(.*?)```", body, flags=re.DOTALL)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        assert lines
        for line in lines:
            result = onefold(*shlex.split(line)[1:])
            assert result.status == 0, result.err

    return run


def in_memory(**options: Any) -> dict[str, torch.Tensor]:
    models = []
    for name in "abc":
        model = build_model("digits?width=4")
        model.load_state_dict(of.load(f"{name}.safetensors"))
        models.append(model.eval())
    return of.merge(
        models,
        build_data("sklearn:digits", batch_size=128, **options),
        align="permutation",
        fold="average",
    ).model.state_dict()


def same(
    one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0
) -> None:
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=tolerance, atol=tolerance)


def test_every_block_of_the_page_belongs_to_a_test_here(root: Path) -> None:
    assert (
        untested_sections(root, PAGE, Path(__file__).read_text().replace("run_script(", "section("))
        == []
    )


def test_members_on_disk_and_going_on(
    place: Path, section: Any, commands: Callable[[str], None]
) -> None:
    names = section("Members on disk")
    expected = in_memory(limit=500)
    same(expected, names["result"].model.state_dict())
    first = section("Going on after a break", **names)["result"].model.state_dict()
    same(expected, first)
    assert (place / "kept" / "run.json").exists()
    same(expected, section("Going on after a break", **names)["result"].model.state_dict())
    commands("Members on disk")
    same(in_memory(limit=4000), of.load("folded.safetensors"))
    commands("Going on after a break")
    assert of.Alignment.load("maps.safetensors").method == "cca"


def as_torchrun_starts_it(rank: int, script: str, port: int) -> None:
    """Run a script as torchrun does; tests/integrations/test_processes.py runs torchrun itself."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    runpy.run_path(script, run_name="__main__")


def test_several_processes(
    root: Path, place: Path, commands: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_instead(monkeypatch)

    def run_script(title: str) -> None:
        (block,) = re.findall(
            rf"^## {title}\n.*?```python\n(.*?)```",
            text_of(root, PAGE),
            flags=re.DOTALL | re.MULTILINE,
        )
        (place / "fold.py").write_text(block)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        run_both(as_torchrun_starts_it, "fold.py", port)

    run_script("Several processes")
    same(in_memory(limit=500), of.load("together.safetensors"), 1e-5)
    commands("Several processes")
    same(in_memory(limit=4000), of.load("shared.safetensors"), 1e-5)
    assert "devices: 2" in (place / "shared.recipe.yaml").read_text()
