"""What is left of a command that is killed at any moment?

    python benchmarks/reliability/kills.py --kills 1200 \
        --out benchmarks/results/reliability/kills.json

Every command is run to its end once. Then it is run again and again, and killed: at a random
moment, or at the n-th time that it renames a file or forces one onto the disk, by SIGKILL, SIGTERM
or SIGINT. What is left must be nothing, everything, or a run to go on with. What the command said
must be true. The same command, or the same with --resume, must then end in the same bits, and leave
no hidden file. A command runs in a fork of one process that has imported everything.

--commands runs some of the commands; the file keeps what it holds of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "200"]
TRAIN = [*MODEL, *DATA, "--epochs", "2", "--batch-size", "50"]
FILES = ["m0.safetensors", "m1.safetensors"]
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


@dataclass(frozen=True)
class Command:
    """A command, and what it writes.

    arguments: without the name of the program. outputs: files and folders; all or none are there.
    resumes: whether --resume goes on with it.
    """

    arguments: list[str]
    outputs: list[str]
    resumes: bool = False


COMMANDS = {
    "align": Command(["align", *FILES, *MODEL, *DATA, "-o", "a.safetensors"], ["a.safetensors"]),
    "merge": Command(
        ["merge", *FILES, *MODEL, *DATA, "--align", "permutation", "-o", "x.safetensors"],
        ["x.safetensors", "x.recipe.yaml", "x.report.json"],
    ),
    "soft": Command(
        ["soft", *FILES, *MODEL, *DATA, "--no-screen", "--steps", "5", "-o", "x.safetensors"],
        ["x.safetensors", "x.recipe.yaml", "x.report.json"],
    ),
    "inspect": Command(
        ["inspect", "digits?width=4", "--shape", "1,8,8", "--picture", "p.svg"], ["p.svg"]
    ),
    "subspace": Command(["subspace", *TRAIN, "--shape", "line", "-o", "run"], ["run"], True),
    "persist": Command(["persist", *TRAIN, "--rounds", "2", "-o", "run"], ["run"], True),
}


@dataclass
class Tally:
    """The outcomes of a command: what was left, by how often; and faults, each with its trial."""

    trials: int = 0
    left: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def work(command: Command, more: list[str], before: Callable[[], None]) -> int:
    """Run a command in this folder; its exit status. `before` is called when all is imported."""
    from onefold.cli import run

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before()
    return run([*command.arguments, *more])


def start(folder: Path, command: Command, more: list[str], before: Callable[[], None]) -> int:
    """Run a command in a folder, in a fork of this process; the child's number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    for stream, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    status = 99
    try:
        status = work(command, more, before)
    except KeyboardInterrupt:  # behind the command's own handling, as at the end of a program
        status = 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def finished(child: int) -> int:
    """Wait for a child; its exit status, below 0 for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills_itself(number: int, kind: int) -> Callable[[], None]:
    """Makes a process kill itself at its n-th rename or write that is forced onto the disk."""

    def before() -> None:
        count = 0

        def watched(function: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), kind)
                return function(*args, **kwargs)

            return call

        for name in ("replace", "rename", "fsync", "link"):
            setattr(os, name, watched(getattr(os, name)))

    return before


def contents(folder: Path, command: Command) -> dict[str, str]:
    """The networks and alignments among the outputs, by their bits; others by being there."""
    found = {}
    for name in command.outputs:
        path = folder / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not file.name.startswith(".") and file.name != "training.pt":
                exact = file.suffix in (".safetensors", ".svg")
                bits = hashlib.sha256(file.read_bytes()).hexdigest() if exact else "there"
                found[str(file.relative_to(folder))] = bits
    return found


def hidden(folder: Path) -> list[str]:
    """Hidden temporary names that are left."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]


def judge(
    folder: Path, command: Command, status: int, wanted: dict[str, str]
) -> tuple[str, str | None]:
    """What a kill left, and the fault, if there is one."""
    said = (folder / "err.txt").read_text() if (folder / "err.txt").exists() else ""
    if "Traceback" in said:
        lines = said[max(0, said.index("Traceback") - 200) :].splitlines()
        return "traceback", f"a traceback: {' | '.join(lines)[:2000]}"
    there = contents(folder, command)
    if "no output was written" in said and there:
        return "false", f"says that no output was written, but there are {sorted(there)}"
    if status == 0:
        return "not killed", None if there == wanted else f"ended with other bits: {there}"
    again: list[str] = []
    unfinished = (folder / "run" / "training.pt").exists()
    if unfinished:
        again, left = ["--resume"], "resumable"
    elif there == wanted:
        left = "complete"
    elif there and not command.resumes:
        # Killed between two renames: the next run of the same output finishes the set.
        left = "to be finished"
    else:
        left = "resumable" if there else "absent"
        again = ["--resume"] if there else []
    code = finished(start(folder, command, again, lambda: None))
    said = (folder / "err.txt").read_text()
    exists = code == 2 and "exists already" in said
    if code != 0 and not exists:
        lines = [line for line in said.splitlines() if line.startswith("error")]
        return left, f"left {left}, run again: exit {code}, {lines[-1][:200] if lines else said}"
    if (there := contents(folder, command)) != wanted:
        other = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        return left, f"left {left}, run again: other files or bits: {other}"
    if names := hidden(folder):
        return left, f"left {left}, run again: {names} stay"
    return left, None


def trial(
    command: Command, members: Path, wanted: dict[str, str], seconds: float, how: tuple[str, float]
) -> tuple[str, str | None]:
    """One kill in a folder of its own: at a share of the time, or at a numbered event."""
    name, moment = how
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        for file in FILES:
            shutil.copy(members / file, folder / file)
        if moment >= 1:
            status = finished(start(folder, command, [], kills_itself(int(moment), SIGNALS[name])))
        else:
            child = start(folder, command, [], lambda: None)
            time.sleep(moment * seconds)
            os.kill(child, SIGNALS[name])
            status = finished(child)
        return judge(folder, command, status, wanted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def events(command: Command, members: Path) -> int:
    """How often a command renames a file or forces one onto the disk: the first n that is not."""
    low, number = 0, 1
    while number < 4096:
        folder = Path(tempfile.mkdtemp(prefix="kills-"))
        for file in FILES:
            shutil.copy(members / file, folder / file)
        status = finished(start(folder, command, [], kills_itself(number, signal.SIGKILL)))
        shutil.rmtree(folder, ignore_errors=True)
        if status == 0:
            break
        low, number = number, number * 2
    high = number
    while high - low > 1:
        middle = (low + high) // 2
        folder = Path(tempfile.mkdtemp(prefix="kills-"))
        for file in FILES:
            shutil.copy(members / file, folder / file)
        status = finished(start(folder, command, [], kills_itself(middle, signal.SIGKILL)))
        shutil.rmtree(folder, ignore_errors=True)
        low, high = (low, middle) if status == 0 else (middle, high)
    return low


def measure(
    name: str, kills: int, members: Path, seed: int, *, at_events: bool = True
) -> dict[str, object]:
    """Kill one command so often at random moments, and once at every event by every signal."""
    command, tally, draw = COMMANDS[name], Tally(), random.Random(f"{name}/{seed}")
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    for file in FILES:
        shutil.copy(members / file, folder / file)
    began = time.monotonic()
    status = finished(start(folder, command, [], lambda: None))
    seconds = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"{name} fails undisturbed: {(folder / 'err.txt').read_text()}")
    wanted = contents(folder, command)
    shutil.rmtree(folder)
    plan = [(draw.choice(list(SIGNALS)), draw.random()) for _ in range(kills)]
    count = events(command, members) if at_events else 0
    plan += [(kind, float(number)) for number in range(1, count + 1) for kind in SIGNALS]
    for how in plan:
        left, fault = trial(command, members, wanted, seconds, how)
        tally.trials += 1
        tally.left[left] += 1
        if fault is not None:
            tally.faults.append(f"{how[0]} at {how[1]:.3f}: {fault}")
            print(f"  {name}: {tally.faults[-1]}", flush=True)
    print(f"{name}: {tally.trials} kills, {count} events, {dict(tally.left)}", flush=True)
    return {
        "trials": tally.trials,
        "events": count,
        "seconds undisturbed": round(seconds, 2),
        "left": dict(tally.left),
        "faults": tally.faults,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1200, help="random ones, of all commands")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import torch

    import onefold
    from onefold.sources import build_model

    os.environ["NO_COLOR"] = "1"
    torch.set_num_threads(1)
    out = arguments.out
    record: dict[str, object] = json.loads(out.read_text()) if out and out.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        for seed, file in enumerate(FILES):
            torch.manual_seed(seed)
            onefold.save(build_model("digits?width=4"), Path(place) / file)
        # Imports, which every fork then has.
        for name in arguments.commands:
            folder = Path(tempfile.mkdtemp(prefix="kills-"))
            for file in FILES:
                shutil.copy(Path(place) / file, folder / file)
            here = Path.cwd()
            os.chdir(folder)
            work(COMMANDS[name], [], lambda: None)
            os.chdir(here)
            shutil.rmtree(folder)
        each = -(-arguments.kills // len(arguments.commands))
        for name in arguments.commands:
            record[name] = measure(name, each, Path(place), arguments.seed)
            if out:
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
