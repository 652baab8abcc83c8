"""Spoiled merge documents, read strictly and as mergekit reads them.

    python benchmarks/checkpoints/mutations.py [--files 1000]   writes the counts
    python benchmarks/checkpoints/mutations.py --file 17        one file, in words

Every file is one of the documents in shapes.py whose keys, values, structure or letters were
changed. Reading one strictly ends in an error of onefold of one sentence that names the document,
or in a document in which nothing is ignored: whatever key is changed, the document that is read is
another one, or is refused. Read as mergekit reads it, whatever a strict reader refuses is refused
as well, or is told to be ignored.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.checkpoints.shapes import OWN, VALID  # noqa: E402
from onefold.checkpoints.document import Document, parse_documents, yaml_of  # noqa: E402
from onefold.checkpoints.document.findings import Findings  # noqa: E402
from onefold.checkpoints.document.reading import checked_document  # noqa: E402
from onefold.documents.problems import Source  # noqa: E402
from onefold.documents.yaml_text import plain_documents, text_from  # noqa: E402
from onefold.errors import OnefoldError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "checkpoints" / "mutations.json"
WHAT = "The document spoiled.yml"
Path_ = tuple[int | str, ...]
KEYS = (
    *("weight", "density", "dtype", "out_dtype", "parameters", "models", "model", "slices"),
    *("normalize", "t", "lambda", "filter", "value", "base_model", "revision", "name", "scale"),
    *("layer_range", "tokenizer", "tokenizer_source", "source", "residual_weight", "select_topk"),
    *("smooth", "dare_pruning_rate", "note", "merge_method", "int8_mask", "epsilon", "force"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 2, 1e300, -0.0, float("nan"), float("inf"), 2**70, "", " "),
    *("a", "union", "base", "linear", "ties", "a@b", "a+b", "a+b+c", "@", "1e-5", "nan", "{", "*"),
    *([], {}, [0], [0, 1], [1, 0], [[0]], [None], [{"value": 1}], {"value": 0.5}, {"filter": "x"}),
    *({"filter": "mlp", "value": [0, 1]}, {"kind": "zero"}, {"path": "a"}, {"model": "a"}, ["a"]),
)


@dataclass(frozen=True)
class Spoiled:
    """A spoiled document: its text, and how it was made."""

    text: str
    how: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What came of reading a document. fault: what is wrong with that; empty if nothing is."""

    message: str | None
    ignored: int
    fault: str


def spoiled(number: int) -> Spoiled:
    """The spoiled document of a number."""
    chance = random.Random(number)
    shapes = {**VALID, **OWN}
    name = sorted(shapes)[number % len(shapes)]
    text, how = shapes[name], [name]
    parts = [part.content for part in plain_documents(text)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        change = chance.choice(CHANGES)
        how.append(change(parts, chance))
    text = "---\n".join(text_from(part) for part in parts)
    if chance.random() < 0.25:
        text = _letters(text, chance)
        how.append("letters")
    return Spoiled(text, tuple(how))


def places(content: Any, at: Path_ = ()) -> Iterator[Path_]:
    """The keys and entries of plain data."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield (*at, key)
            yield from places(value, (*at, key))


def at_place(content: Any, at: Path_) -> Any:
    """What is at a place."""
    for key in at:
        content = content[key]
    return content


def _place(parts: list[Any], chance: random.Random) -> tuple[Any, Any]:
    found = list(places(parts))
    at = chance.choice(found)
    return at_place(parts, at[:-1]), at[-1]


def _mapping(parts: list[Any], chance: random.Random) -> dict[str, Any]:
    found = [at for at in [(), *places(parts)] if isinstance(at_place(parts, at), dict)]
    return at_place(parts, chance.choice(found)) if found else {}


def _other_value(parts: list[Any], chance: random.Random) -> str:
    holder, key = _place(parts, chance)
    holder[key] = copy.deepcopy(chance.choice(VALUES))
    return f"the value of {key}"


def _misspelt(parts: list[Any], chance: random.Random) -> str:
    holder = _mapping(parts, chance)
    if not holder:
        return "nothing"
    key = chance.choice(list(holder))
    i = chance.randrange(len(key))
    kept = list(holder.items())
    other = chance.choice((key[:i] + key[i + 1 :], key[:i] + "x" + key[i:], key.upper(), key + "s"))
    holder.clear()
    holder.update({(other if name == key else name): value for name, value in kept})
    return f"{key} misspelt"


def _added(parts: list[Any], chance: random.Random) -> str:
    key = chance.choice(KEYS)
    _mapping(parts, chance)[key] = copy.deepcopy(chance.choice(VALUES))
    return f"{key} added"


def _moved(parts: list[Any], chance: random.Random) -> str:
    holder = _mapping(parts, chance)
    if not holder:
        return "nothing"
    key = chance.choice(list(holder))
    target, value = _mapping(parts, chance), holder.pop(key)
    target[key] = value if not _holds(value, target) else 1
    return f"{key} moved"


def _holds(value: Any, target: Any) -> bool:
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return False
    return value is target or any(_holds(one, target) for one in inner)


def _removed(parts: list[Any], chance: random.Random) -> str:
    holder, key = _place(parts, chance)
    if holder is not parts:
        del holder[key]
    return f"{key} removed"


def _repeated(parts: list[Any], chance: random.Random) -> str:
    found = [at for at in places(parts) if isinstance(at_place(parts, at), list)]
    holder = at_place(parts, chance.choice(found)) if found else parts
    if holder:
        holder.append(copy.deepcopy(chance.choice(holder)))
    return "an entry repeated"


def _letters(text: str, chance: random.Random) -> str:
    i = chance.randrange(len(text))
    other = chance.choice(
        (" ", "\n", ":", "-", "[", "}", "'", "#", "&", "*", "\t", "é", "0", "---\n")
    )
    return chance.choice((text[:i] + text[i + 1 :], text[:i] + other + text[i:], text[:i]))


def _nudged(parts: list[Any], chance: random.Random) -> str:
    found = [at for at in places(parts) if type(at_place(parts, at)) in (int, float)]
    if not found:
        return "nothing"
    at = chance.choice(found)
    holder = at_place(parts, at[:-1])
    holder[at[-1]] = type(holder[at[-1]])(holder[at[-1]] * chance.uniform(0.5, 1))
    return f"{at[-1]} smaller"


def _shuffled(parts: list[Any], chance: random.Random) -> str:
    holder = _mapping(parts, chance)
    kept = list(holder.items())
    chance.shuffle(kept)
    holder.clear()
    holder.update(kept)
    return "another order"


CHANGES: tuple[Callable[[list[Any], random.Random], str], ...] = (
    _other_value,
    _misspelt,
    _added,
    _moved,
    _removed,
    _repeated,
    *(_nudged, _nudged, _nudged),
    _shuffled,
)


def verdict(text: str) -> Verdict:
    """Read a document in both ways, and judge what came of it."""
    strict, message = _read(text, False)
    lenient, other = _read(text, True)
    if message is not None:
        fault = _fault_of(message)
        if lenient is not None and not any(one.ignored for one in lenient):
            fault = fault or f"as mergekit nothing is told, and strictly: {message}"
        if other is not None:
            fault = fault or _fault_of(other)
        return Verdict(message, sum(len(one.ignored) for one in lenient or ()), fault)
    assert strict is not None
    if other is not None or lenient is None or lenient != strict:
        return Verdict(None, 0, f"read as mergekit reads it, it is another one: {other}")
    if any(one.ignored for one in lenient):
        return Verdict(None, 0, f"as mergekit something is ignored: {lenient[0].ignored}")
    if parse_documents(yaml_of(strict), WHAT) != strict:
        return Verdict(None, 0, "it is another one when it was written and read")
    return Verdict(None, 0, _ignored(text, strict))


def _read(text: str, as_mergekit: bool) -> tuple[tuple[Document, ...] | None, str | None]:
    try:
        return parse_documents(text, WHAT, as_mergekit), None
    except OnefoldError as error:
        return None, str(error)


def _fault_of(message: str) -> str:
    if "\n" in message or message[-1:] not in (".", "?") or len(message) > 700:
        return f"it is no sentence: {message!r}"
    return "" if message.startswith(WHAT) else f"the document is not named: {message!r}"


def _ignored(text: str, strict: tuple[Document, ...]) -> str:
    """The first key whose change changes nothing of what is read; empty if there is none."""
    parts = [part.content for part in plain_documents(text)]
    for content in parts:
        known = checked_document(content, Findings(Source(WHAT)), alone=len(parts) == 1)
        for at in places(content):
            other = copy.deepcopy(content)
            at_place(other, at[:-1])[at[-1]] = _changed(at_place(content, at))
            try:
                read = checked_document(other, Findings(Source(WHAT)), alone=len(parts) == 1)
            except OnefoldError:
                continue
            if read == known:
                return f"nothing changes with {'.'.join(map(str, at))}"
    return ""


def _changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 0.5 * value + 0.1234
    if isinstance(value, str):
        return f"{value}x"
    return 7  # in place of lists, mappings and nothing


def main() -> None:
    """Read all files, print every fault, and write the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--file", type=int, help="this one alone; prints instead of writing")
    options = parser.parse_args()
    if options.file is not None:
        made = spoiled(options.file)
        print(made.text, made.how, verdict(made.text), sep="\n")
        return
    counts: Counter[str] = Counter()
    for number in range(options.files):
        made = spoiled(number)
        found = verdict(made.text)
        counts["refused" if found.message else "read"] += 1
        counts["ignored_as_mergekit"] += found.ignored > 0
        counts["faults"] += bool(found.fault)
        if found.fault:
            print(f"file {number}, {', '.join(made.how)}: {found.fault}", flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    written = {"files": options.files, **counts}
    RESULTS.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
