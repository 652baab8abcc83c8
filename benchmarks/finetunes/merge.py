"""Merge the five fine-tunes by every method, and test each merge with every task's own head.

    python -m benchmarks.finetunes.train
    python -m benchmarks.finetunes.merge                         all rows
    python -m benchmarks.finetunes.merge --anew ties della       these again

Scales, densities and the like are chosen on held-out training sentences: the candidate of the
highest mean of accuracies over those of the fine-tunes. It is then merged anew from a document, by
`merge_checkpoints` from folders into a folder, which `from_pretrained` reads; that result is
compared bit by bit with the one in memory, and tested. What was measured is kept; a stopped run
goes on. Rows are measured side by side, each on one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from benchmarks.finetunes.candidates import TASKS, WAYS, Way
from benchmarks.finetunes.merging import State, candidates, document, merged_folder
from benchmarks.finetunes.network import HEAD, linear_probe, load_encoder, load_head
from benchmarks.finetunes.scoring import Bench, bench, equal, normalised, state_of
from benchmarks.finetunes.texts import TASKS as TITLES
from benchmarks.finetunes.texts import Parts
from benchmarks.finetunes.train import RESULTS, keep, side_by_side
from benchmarks.finetunes.training import base_folder, state_folder, versions

SEED = 0  # of the fine-tunes that are merged
NAMES = tuple(f"{task}-{SEED}" for task in TASKS)


def folders(root: Path) -> dict[str, Path]:
    """The folders of the fine-tunes by task."""
    return {task: root / name for task, name in zip(TASKS, NAMES, strict=True)}


def references(root: Path) -> dict[str, Any]:
    """The fine-tunes, each in its own task, and the encoder before with two kinds of heads."""
    places, base = folders(root), load_encoder(root / "base")
    own = bench(places)
    tuned: dict[str, Any] = {"held": {}, "test": {}}
    for task, place in places.items():
        alone = Bench({task: own.parts[task]}, {task: own.heads[task]})
        encoder = load_encoder(place)
        tuned["held"] |= alone.on_held(encoder)
        tuned["test"] |= alone.on_test(encoder)
    probes = {task: probe(task, base, own.parts[task], root / "probes") for task in places}
    return {
        "fine-tuned": tuned,
        "base, trained heads": {"held": own.on_held(base), "test": own.on_test(base)},
        "base, linear probes": {
            "held": Bench(own.parts, probes).on_held(base),
            "test": Bench(own.parts, probes).on_test(base),
        },
    }


def probe(task: str, base: nn.Module, parts: Parts, folder: Path) -> nn.Linear:
    """The linear probe of a task, which is fitted once."""
    if not (folder / task / HEAD).exists():
        (folder / task).mkdir(parents=True, exist_ok=True)
        head = linear_probe(base, parts, TITLES[task].classes)
        save_file(head.state_dict(), folder / task / f"{HEAD}.part")
        (folder / task / f"{HEAD}.part").replace(folder / task / HEAD)
    return load_head(folder / task)


@lru_cache(maxsize=1)
def known(root: Path) -> tuple[Bench, dict[str, State], State]:
    """The bench, the fine-tunes and the encoder before; read once by a process."""
    return (
        bench(folders(root)),
        {name: state_of(root / name) for name in NAMES},
        state_of(root / "base"),
    )


def measured(way: Way, root: Path, whole: dict[str, float]) -> dict[str, Any]:
    """One row: the grid on held-out sentences, the chosen settings, and the test.

    Args:
        way: the way.
        root: the folder of the fine-tunes.
        whole: accuracy of the fine-tunes on the held-out sentences.
    """
    began = time.process_time()
    own, states, base = known(root)
    encoder = load_encoder(root / "base")
    grid, best, most, kept = [], {}, -1.0, {}
    for chosen, state in candidates(way, states, base):
        encoder.load_state_dict(state)
        found = own.on_held(encoder)
        mean = normalised(found, whole)
        grid.append({"settings": chosen, "held": found, "normalised": mean})
        print(way.name, chosen, f"{100 * mean:.2f}", flush=True)
        if mean > most:
            best, most, kept = chosen, mean, state
    text = document(way, best, NAMES, "base")
    place = root / "merged" / way.name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    made = state_of(merged_folder(text, root, place / "out"))
    shutil.rmtree(place)
    encoder.load_state_dict(made)
    test = own.on_test(encoder)
    return {
        "way": way.name,
        "settings": best,
        "document": text,
        "held": most,
        "test": test,
        "folder equals memory": equal(made, kept),
        "greatest difference": max(float((made[k] - kept[k]).abs().max()) for k in kept),
        "cpu seconds": round(time.process_time() - began, 1),
        "grid": grid,
    }


def _named(name: str, root: Path, whole: dict[str, float]) -> dict[str, Any]:
    return measured(next(way for way in WAYS if way.name == name), root, whole)


def run(out: Path, root: Path, ways: tuple[str, ...], processes: int = 2) -> dict[str, Any]:
    """All rows that are not in the file yet."""
    record: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    if "references" not in record:
        record = {"versions": versions(), "references": references(root), "rows": {}}
        keep(record, out)
    todo = [name for name in ways if name not in record["rows"]]
    row = partial(_named, root=root, whole=record["references"]["fine-tuned"]["held"])
    for found in side_by_side(row, todo, processes):
        record["rows"][found["way"]] = found
        record["rows"] = {name: record["rows"][name] for name in ways if name in record["rows"]}
        keep(record, out)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = tuple(way.name for way in WAYS)
    parser.add_argument("--anew", nargs="*", choices=names, default=[])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "merges.json")
    arguments = parser.parse_args()
    if arguments.anew:
        record = json.loads(arguments.out.read_text())
        for name in arguments.anew:
            record["rows"].pop(name, None)
        keep(record, arguments.out)
    base_folder()
    run(arguments.out, state_folder(), names, arguments.processes)


if __name__ == "__main__":
    main()
