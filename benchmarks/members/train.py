"""Train the members of the benchmarks, one after the other, on one core.

    python benchmarks/members/train.py --next            the next missing member of the list
    python benchmarks/members/train.py --next --count 0  one after the other, until none is missing
    python benchmarks/members/train.py --name vgg11-same-0
    python benchmarks/members/train.py --list            every member, its accuracy, is it there
    python benchmarks/members/train.py --check           load each, compare its accuracy

A run that is stopped goes on at the last epoch. What it needs for that lies in the folder that
ONEFOLD_MEMBERS_STATE names (default: ~/.cache/onefold/members). Finished members lie in files/
beside this script: NAME.safetensors, in the small form of `benchmarks.common.storage`, and
NAME.json, the log.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import nn

import onefold
from benchmarks.common.data import load_data
from benchmarks.common.networks import NETWORKS
from benchmarks.common.storage import read, store
from benchmarks.members.damage import damaged
from benchmarks.members.roster import ROSTER, SETTINGS, TINY, Member
from benchmarks.members.training import Training, accuracy

FILES = Path(__file__).resolve().parent / "files"


def state_folder() -> Path:
    """Where unfinished trainings are kept."""
    home = Path.home() / ".cache" / "onefold" / "members"
    return Path(os.environ.get("ONEFOLD_MEMBERS_STATE", home))


def missing(files: Path) -> list[Member]:
    """The members that are not there, without those that need a GPU which is not there."""
    able = torch.cuda.is_available()
    here = [m for m in ROSTER.values() if not (files / f"{m.name}.json").exists()]
    return [m for m in here if able or not m.gpu]


def fresh(member: Member, files: Path) -> nn.Module:
    """The network that a member starts from."""
    torch.manual_seed(member.seed)
    model = NETWORKS[member.network].build()
    if member.origin is not None:
        model.load_state_dict(read(files / f"{member.origin}.safetensors"))
    return model


def train(member: Member, files: Path, state: Path) -> None:
    """Train a member and write its file and its log."""
    data = load_data(NETWORKS[member.network].data)
    model = fresh(member, files)
    curve: list[dict[str, float]] = []
    if member.damage is not None:
        model.load_state_dict(damaged(model.state_dict(), member.damage, member.seed))
    else:
        state.mkdir(parents=True, exist_ok=True)
        training = Training(member, model, data, state / f"{member.name}.pt")
        training.run(lambda line: print(line, flush=True))
        curve = training.curve
    finish(member, model, curve, files)


def finish(
    member: Member,
    model: nn.Module,
    curve: list[dict[str, float]],
    files: Path,
    precision: str = "float32",
) -> None:
    """Write a trained member's file and its log."""
    data = load_data(NETWORKS[member.network].data)
    files.mkdir(parents=True, exist_ok=True)
    before = accuracy(model, data.test)
    store(model.state_dict(), files / f"{member.name}.safetensors")
    model.load_state_dict(read(files / f"{member.name}.safetensors"))
    log = {
        "member": asdict(member),
        "settings": asdict(SETTINGS[member.network]),
        "images": len(member.share.indices(data.seen.labels)),
        "test_accuracy": accuracy(model, data.test),
        "test_accuracy_float32": before,
        "choices_accuracy": accuracy(model, data.choices),
        "cpu_seconds": round(sum(e["cpu_seconds"] for e in curve), 1),
        "seconds": round(sum(e["seconds"] for e in curve), 1),
        "precision": precision,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "onefold": onefold.__version__,
        },
        "curve": curve,
    }
    (files / f"{member.name}.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"{member.name}: {log['test_accuracy']:.2f} % on the test images", flush=True)


def table(files: Path) -> str:
    """Every member of the list: accuracy on the test images, CPU-minutes, whether it is there."""
    lines = [f"{'member':28}{'accuracy':>9}{'floor':>7}{'CPU-min':>9}  file"]
    for member in ROSTER.values():
        path = files / f"{member.name}.json"
        floor = f"{member.floor:.0f}" if member.floor else "-"
        if not path.exists():
            why = "missing (only with a GPU)" if member.gpu else "missing"
            lines.append(f"{member.name:28}{'-':>9}{floor:>7}{'-':>9}  {why}")
            continue
        log = json.loads(path.read_text())
        there = (files / f"{member.name}.safetensors").exists()
        below = " BELOW ITS FLOOR" if log["test_accuracy"] < member.floor else ""
        lines.append(
            f"{member.name:28}{log['test_accuracy']:9.2f}{floor:>7}{log['cpu_seconds'] / 60:9.1f} "
            f" {'there' if there else 'LOST'}{below}"
        )
    size = sum(path.stat().st_size for path in files.glob("*.safetensors"))
    lines.append(f"{len(missing(files))} to train; files: {size / 1e6:.1f} MB")
    return "\n".join(lines)


def check(files: Path, names: list[str]) -> int:
    """Load every member that is there and compare its accuracy with its log; the number that
    differ.
    """
    wrong = 0
    for name in names or list(ROSTER):
        path = files / f"{name}.json"
        if not path.exists():
            continue
        member, listed = ROSTER[name], json.loads(path.read_text())["test_accuracy"]
        network = NETWORKS[member.network]
        model = network.build()
        model.load_state_dict(read(files / f"{name}.safetensors"))
        found = accuracy(model, load_data(network.data).test)
        agrees = abs(found - listed) <= 0.02  # two images: another processor rounds otherwise
        wrong += not agrees
        print(f"{name}: {found:.2f}, listed {listed:.2f}{'' if agrees else ' DIFFERS'}", flush=True)
    return wrong


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Two trainers at once would write into one another's files."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("Another trainer is at work; stop it first.")
        yield


def main() -> None:
    """Read the arguments and carry them out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--next", action="store_true", help="train the next missing member")
    what.add_argument("--name", choices=[*ROSTER, TINY.name], help="train this member")
    what.add_argument("--list", action="store_true", help="show all members")
    what.add_argument("--check", nargs="*", metavar="NAME", help="compare accuracies with the list")
    parser.add_argument("--count", type=int, default=1, help="with --next: how many; 0 for all")
    parser.add_argument("--files", type=Path, default=FILES, help="where members lie")
    arguments = parser.parse_args()
    if arguments.list:
        print(table(arguments.files))
        return
    torch.set_num_threads(1)
    if arguments.check is not None:
        sys.exit(min(check(arguments.files, arguments.check), 1))
    os.nice(10)
    with alone(state_folder()):
        if arguments.name:
            train({**ROSTER, TINY.name: TINY}[arguments.name], arguments.files, state_folder())
            return
        todo = missing(arguments.files)
        for member in todo[: arguments.count or len(todo)]:
            train(member, arguments.files, state_folder())


if __name__ == "__main__":
    main()
