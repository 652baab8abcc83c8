"""The members of the benchmarks: what each sees, how it is stored, and that a stopped training
loses nothing.
"""

from __future__ import annotations

import hashlib
import os
import random
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from benchmarks.common import data
from benchmarks.common.groups import onefold_groups
from benchmarks.common.networks import NETWORKS
from benchmarks.common.storage import compressed, expanded
from benchmarks.members.damage import damaged
from benchmarks.members.roster import ROSTER, SETTINGS
from benchmarks.members.shares import Share
from benchmarks.members.training import crops, padded, rate, wrong_labels
from onefold.sources import build_data

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "members" / "train.py"


def labels(count: int = 4000) -> torch.Tensor:
    return torch.randint(10, (count,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["halves", "dirichlet"])
def test_shares_take_every_image_once(kind: str) -> None:
    parts = [Share(kind, k, 2, draw=3).indices(labels()) for k in range(2)]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(4000))


def test_halves_know_different_classes() -> None:
    y = labels()
    first = y[Share("halves", 0, 2).indices(y)]
    low = (first < 5).sum() / (y < 5).sum()
    high = (first >= 5).sum() / (y >= 5).sum()
    assert abs(low - 0.8) < 0.01
    assert abs(high - 0.2) < 0.01


def test_each_image_is_left_out_of_one_fold() -> None:
    seen = torch.zeros(4000, dtype=torch.int64)
    for part in range(5):
        seen[Share("fold", part, 5).indices(labels())] += 1
    assert seen.eq(4).all()


def test_the_list_names_networks_origins_and_settings_that_exist() -> None:
    names = list(ROSTER)
    for position, member in enumerate(ROSTER.values()):
        assert member.network in NETWORKS
        assert member.network in SETTINGS
        assert member.origin is None or member.origin in names[:position]
    for group in onefold_groups(trained=False).values():
        assert set(group.members) <= set(ROSTER), group.name
        assert {ROSTER[name].network for name in group.members} == {group.network}


def test_stored_members_keep_their_outputs() -> None:
    model = NETWORKS["digits"].build().eval()
    again = NETWORKS["digits"].build().eval()
    again.load_state_dict(expanded(compressed(model.state_dict())))
    x = torch.randn(50, 1, 8, 8)
    with torch.no_grad():
        error = (model(x) - again(x)).abs().max() / model(x).abs().max()
    assert 0 < error < 0.02


def test_crops_are_shifted_flipped_copies() -> None:
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).reshape(2, 3, 16, 16) + 1
    made = crops(padded(images), torch.tensor([1] * 40), torch.Generator().manual_seed(0))
    assert made.shape == (40, 3, 16, 16)
    framed = torch.nn.functional.pad(images[1], (2, 2, 2, 2))
    windows = [framed[:, a : a + 16, b : b + 16] for a in range(5) for b in range(5)]
    windows += [window.flip(2) for window in windows]
    found = [next(k for k, w in enumerate(windows) if torch.equal(w, x)) for x in made]
    assert len(set(found)) > 15
    assert any(k >= 25 for k in found)
    assert any(k < 25 for k in found)


def test_the_rate_rises_and_falls_to_zero() -> None:
    rates = [rate(step, 100, 0.5) for step in range(100)]
    assert max(rates) == rates[20] == 0.5
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] < 0.001


def test_wrong_labels_are_wrong_and_as_many_as_asked() -> None:
    y = labels(20000)
    noisy = wrong_labels(y, 0.3, seed=1)
    assert abs((noisy != y).float().mean() - 0.3) < 0.02
    assert noisy.unique().tolist() == list(range(10))


def test_damage_of_both_kinds() -> None:
    state = NETWORKS["digits"].build().state_dict()
    flipped = damaged(state, "flipped", 0)
    assert torch.equal(flipped["head.weight"], state["head.weight"].flip(0))
    assert torch.equal(flipped["conv1.weight"], state["conv1.weight"])
    assert not torch.equal(damaged(state, "noise", 0)["conv1.weight"], state["conv1.weight"])


def run(folder: Path, wait: float | None = None) -> None:
    """Train the tiny member into `folder`; with `wait`, kill it after so many seconds.

    The script runs in a fork of this process, which has imported everything already.
    """
    child = os.fork()
    if child == 0:
        run_script(folder)
    if wait is None:
        assert os.waitpid(child, 0)[1] == 0
        return
    state = folder / "state" / "digits-tiny.pt"
    before = state.stat().st_mtime_ns if state.exists() else 0
    while not (state.exists() and state.stat().st_mtime_ns != before):
        assert os.waitpid(child, os.WNOHANG)[0] == 0, "it ended before it kept an epoch"
        time.sleep(0.01)  # until an epoch more is kept: every run gets somewhere
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def run_script(folder: Path) -> NoReturn:
    """What a new process would do that was started with the script."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.environ["ONEFOLD_MEMBERS_STATE"] = str(folder / "state")
        sys.argv = [str(SCRIPT), "--name", "digits-tiny", "--files", str(folder)]
        runpy.run_path(str(SCRIPT), run_name="__main__")
        status = 0
    finally:
        os._exit(status)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_member_killed_at_random_moments_has_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn.datasets")
    torch.set_num_threads(1)  # a fork cannot use the threads of its parent
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    run(tmp_path / "whole")
    generator = random.Random(0)
    for _ in range(2):
        run(tmp_path / "killed", wait=generator.uniform(0.0, 0.1))
    run(tmp_path / "killed")
    digests = [
        hashlib.sha256((tmp_path / name / "digits-tiny.safetensors").read_bytes()).hexdigest()
        for name in ("whole", "killed")
    ]
    assert digests[0] == digests[1]


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data sets of the first 2,000 test images, and of few training images, which nothing reads."""
    counts = {"train": 21, "test": 2000}

    def build(source: str, split: Any, **options: Any) -> Any:
        return build_data(source, split=split, limit=counts[split], **options)

    monkeypatch.setattr(data, "HELD_OUT", 10)
    monkeypatch.setattr(data, "build_data", build)
    data.load_data.cache_clear()
    yield
    data.load_data.cache_clear()


@pytest.mark.usefixtures("few_images")
def test_a_group_that_is_trained_is_read_and_scores_as_listed(real_data: Path) -> None:
    groups = onefold_groups()
    if not groups:
        pytest.skip("no group of members is trained yet: benchmarks/members/train.py --next")
    group = min(groups.values(), key=lambda g: len(g.members))
    test = group.test()
    for model, listed in zip(group.models(), group.accuracies(), strict=True):
        with torch.no_grad():
            hits = (model(test.images[:2000]).argmax(1) == test.labels[:2000]).float().mean()
        assert abs(100 * float(hits) - listed) < 4  # of 2,000 images: three standard errors
