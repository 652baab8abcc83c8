"""Fixtures that all tests share: the command line in this process, and members in files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from refusals import Result, sentence_of
from tvshim import import_torchvision

import_torchvision()
# A busy machine is no failure: no time limit for single examples.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


INTERRUPTED = 130
# Folders whose tests run whole merges, trainings or documents: no test of theirs is quick.
SLOW_FOLDERS = {"cli", "demo", "docs"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow folders as slow."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def own_names_leave() -> Iterator[None]:
    """What the tests of a file register leaves with them, so that no other file meets its names."""
    from onefold.registry import FAMILIES

    before = {kind: set(family.names()) for kind, family in FAMILIES.items()}
    yield
    for kind, family in FAMILIES.items():
        for entry in list(family):
            module = getattr(entry.value, "__module__", "")
            if entry.name not in before.get(kind, set()) and not module.startswith("onefold."):
                family.unregister(entry.name)


@pytest.fixture
def onefold(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run the command line in this process: `onefold("merge", "a.safetensors", ...)`.

    Whatever it refuses, it refuses in one sentence, and no warning of a library gets past it.
    """
    from onefold.cli import run

    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str | Path) -> Result:
        capfd.readouterr()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            status = run([str(a) for a in arguments])
        captured = capfd.readouterr()
        assert [str(warning.message) for warning in told] == []
        result = Result(status, captured.out, captured.err)
        if status and "error: " in result.err and status != INTERRUPTED:
            sentence_of(result)
        return result

    return call


@pytest.fixture
def refused(onefold: Callable[..., Result]) -> Callable[..., str]:
    """Run a command that has to refuse; returns its one sentence.

    `before="Reading"`: the command must not have come to reading anything.
    """
    return lambda *arguments, before="": sentence_of(onefold(*arguments), before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data(root: Path) -> Path:
    """The folder of real data: ONEFOLD_DATA, or ../shared/data.

    Skips where neither is there, fails where the variable names nothing.
    """
    named = os.environ.get("ONEFOLD_DATA")
    folder = Path(named) if named else root.parent / "shared" / "data"
    if not folder.is_dir():
        assert not named, f"ONEFOLD_DATA names {named}, which is no folder"
        pytest.skip("no real data: ONEFOLD_DATA is unset and ../shared/data is missing")
    return folder


@pytest.fixture(scope="session")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints of `digits?width=4` with random weights."""
    import torch

    import onefold
    from onefold.sources import build_model

    folder = tmp_path_factory.mktemp("members")
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        paths.append(folder / f"m{seed}.safetensors")
        onefold.save(build_model("digits?width=4"), paths[-1])
    return paths
