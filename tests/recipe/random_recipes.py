"""Recipes that are spoiled at random, and what may come of reading one."""

from __future__ import annotations

import copy
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from onefold.errors import OnefoldError
from onefold.recipe.document import Document
from onefold.recipe.merge.document import Recipe
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.reading import read_as, text_of
from onefold.recipe.soft.document import SoftRecipe
from onefold.recipe.subspace.document import SubspaceRecipe

SECONDS = 20.0  # for one file, on a busy machine; most take some milliseconds
ALLOWED = 48 * 2**20  # bytes that reading may add to the most that the process had before,
# besides SPARE times the size of the file
SPARE = 16
LONGEST = 700  # characters of a message, without the path
METHODS = "methods.py"  # a file under `use`
OUTSIDE = "pwned"  # what a hostile recipe tries to make

DATA = {"source": "sklearn:digits", "split": "train", "samples": 300, "skip": 10, "batch_size": 64}
MEMBERS = ["a.safetensors", {"path": "b.safetensors", "sha256": "ab" * 32}, "sub/c.safetensors"]
RECORD = {
    "onefold": "0.1.0",
    "torch": "2.5.0",
    "numpy": "2.0.0",
    "scipy": "1.14.0",
    "python": "3.11.0",
    "threads": 2,
    "data_sha256": "cd" * 32,
    "result_sha256": "ef" * 32,
}
MERGE: dict[str, Any] = {
    "model": "net.py:build?width=4",
    "use": [METHODS],
    "members": MEMBERS,
    "data": DATA,
    "evaluation": {"source": "imagefolder:pictures?size=32", "split": "test", "samples": None},
    "align": {"name": "cca", "regularization": 0.5},
    "fold": {"name": "least_squares", "ridge": 1e-3},
    "reference": 1,
    "max_positions": 8,
    "weights": [0.5, 0.25, 0.25],
    "repair": "full",
    "polish": {"passes": 2, "lr": 0.05, "views": "crops+mixed", "warmup": 0.1},
    "ensemble": {"name": "classes", "shares": [0.5, 0.5]},
    "network_output": {"select": 0, "class_axis": -1},
    "barrier": True,
    "devices": 1,
    "seed": 3,
    "device": "cpu",
    "output": "out/folded.safetensors",
    "html": "out/folded.html",
}
SOFT: dict[str, Any] = {
    "model": "digits",
    "members": MEMBERS[:2],
    "data": DATA,
    "held_out": {"samples": 50},
    "soft": {"level": "module", "include": ["conv*"], "steps": 20, "penalty": 0.1, "lr": 0.1},
    "seed": 1,
    "output": "soft.safetensors",
}
TRAINING = {"epochs": 3, "lr": 0.1, "momentum": 0.9, "warm_up": 0.5, "augment": "flip-crop"}
SUBSPACE: dict[str, Any] = {
    "model": "vgg11?width=0.25&norm=true",
    "data": DATA,
    "subspace": {"shape": "simplex", "vertices": 3},
    "training": TRAINING,
    "evaluation": {"split": "test"},
    "output": "folder",
}
PERSIST: dict[str, Any] = {
    "model": "smallcnn",
    "data": DATA,
    "rounds": {"number": 3, "kernel": "gaussian", "anneal": [0.25, 0.75], "scope": ["first"]},
    "training": TRAINING,
    "validation": {"skip": 400, "samples": 100},
    "output": "rounds",
}
KINDS: dict[str, tuple[type[Document], dict[str, Any]]] = {
    "merge": (Recipe, MERGE),
    "soft": (SoftRecipe, SOFT),
    "subspace": (SubspaceRecipe, SUBSPACE),
    "persist": (PersistRecipe, PERSIST),
    "saved": (Recipe, {**MERGE, "record": RECORD}),
}


@dataclass(frozen=True)
class Spoiled:
    """A file as bytes, the kind of recipe that it was made of, and how it was spoiled."""

    number: int
    kind: str
    how: tuple[str, ...]
    content: bytes


@dataclass(frozen=True)
class Verdict:
    """What came of reading a file: the message of an error of ours, or None for a valid recipe;
    what is wrong with that, or ""; the seconds that it took, and the bytes that it added to the
    most that the process had before.
    """

    message: str | None
    fault: str
    seconds: float
    peak: int


# Values that YAML can hold, some of them as text that is put in as it is.
RAW = "@raw:"
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    -(10**19),
    "",
    " ",
    "no",
    "null",
    [],
    {},
    [[]],
    [None],
    {"name": "cca"},
    {"name": None},
    {"path": "x", "sha256": 5},
    ["a", 1, {"b": [2]}],
    "~nobody-of-that-name/x",
    "~",
    "../" * 50,
    "x" * 5000,
    "a\0b",
    "\ud800",
    "line\nbreak",
    "\u2028\u202e\x1b[31m",
    "{data} {seed} {nothing}",
    "file.py:",
    "x.py:f?a=1&a=2",
    "parquet:",
    "hf:~nobody-of-that-name",
    "sklearn:digits?classes=1,1",
    "word " * 30000,
    "€" * 1000,
    RAW + "9" * 4000,
    RAW + "9" * 6000,
    RAW + "1e999",
    RAW + "-.inf",
    RAW + ".nan",
    RAW + "0x" + "f" * 400,
    RAW + "1:30:00",
    RAW + "0b" + "1" * 99,
    RAW + "0o9",
    RAW + "2024-02-30",
    RAW + "2024-01-01 12:00:00",
    RAW + "!!binary aGVsbG8=",
    RAW + "!!set {a, b}",
    RAW + "!!omap [a: 1]",
    RAW + "!!int words",
    RAW + "!!float ''",
    RAW + "!!bool perhaps",
    RAW + "!!timestamp x",
    RAW + "!!str 5",
    RAW + "!own 5",
    RAW + "!!python/name:os.system",
    RAW + f"!!python/object/apply:os.mkdir [{OUTSIDE}]",
    RAW + f"!!python/object/new:os.mkdir {{args: [{OUTSIDE}]}}",
    RAW + "!!python/tuple [1, 2]",
    RAW + "&x [*x]",
    RAW + "&x {y: *x}",
    RAW + "*nothing",
    RAW + "[" * 30 + "]" * 30,
    RAW + "[" * 300 + "]" * 300,
    RAW + "[" * 30000,
    RAW + "{a: " * 3000,
    RAW + "- " * 2000,
    RAW + "=",
    RAW + "<<",
    RAW + "? [a, b]\n: c",
    RAW + "'unclosed",
    RAW + '"\\x"',
    RAW + "|\n  text\n text",
    RAW + "@at",
    RAW + "[" + "a, " * 25000 + "]",
)
TOKENS = (
    *("\t", "\t\t", "\r", "\n\n", ":", ": ", "- ", "#", "?", "? ", "&a ", "*a", "!", "!!", "|\n"),
    *(">\n", "{", "}", "[", "]", ",", "'", '"', "%YAML 9.9\n", "---\n", "...\n", "<<: *a", "\\"),
    *(
        "\x00",
        "\x07",
        "\ufeff",
        "\u0085",
        "\u2028",
        "é",
        "\U0001f600",
        "`",
        "@",
        "=",
        "~",
        "0",
        "e9",
    ),
)


def files(kinds: tuple[str, ...] = tuple(KINDS)) -> Callable[[int], Spoiled]:
    """The file of a number: the same for the same number."""

    def one(number: int) -> Spoiled:
        draw = random.Random(number)
        kind = kinds[number % len(kinds)]
        content, how = copy.deepcopy(KINDS[kind][1]), []
        raw: list[str] = []
        for _ in range(draw.choice((0, 1, 1, 2, 3))):
            how.append(draw.choice(STRUCTURE)(draw, content, raw))
        text = _written(content, raw)
        for _ in range(draw.choice((0, 1, 1, 2))) if how else (0, 0):
            name, change = draw.choice(TEXT)
            text = change(draw, text)
            how.append(name)
        coding, spoil = draw.choice(CODINGS) if draw.random() < 0.12 else ("", _plainly)
        return Spoiled(number, kind, (*how, *([coding] if coding else [])), spoil(draw, text))

    return one


def _written(content: Any, raw: list[str]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, width=10**6)
    for k, part in enumerate(raw):
        text = text.replace(f"@{k}@", part).replace(f"'{part}'", part)
    return text


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner: Any = ()
    if isinstance(content, dict):
        inner = content.items()
    elif isinstance(content, list):
        inner = enumerate(content)
    for key, value in inner:
        yield from _places(value, (*path, key))


def _place(draw: random.Random, content: Any) -> tuple[Any, Any]:
    """The list or dict of a random place, and the key in it."""
    path = draw.choice(list(_places(content)) or [("seed",)])
    for key in path[:-1]:
        content = content[key]
    return content, path[-1]


def _value(draw: random.Random, raw: list[str]) -> Any:
    value = copy.deepcopy(draw.choice(VALUES))
    if isinstance(value, str) and value.startswith(RAW):
        raw.append(value.removeprefix(RAW))
        return f"@{len(raw) - 1}@"
    return value


def _replace(draw: random.Random, content: Any, raw: list[str]) -> str:
    inner, key = _place(draw, content)
    inner[key] = _value(draw, raw)
    return f"value of {key}"


def _wrap(draw: random.Random, content: Any, raw: list[str]) -> str:
    inner, key = _place(draw, content)
    inner[key] = draw.choice(([inner[key]], {"name": inner[key]}, {str(key): inner[key]}))
    return f"wrapped {key}"


def _delete(draw: random.Random, content: Any, raw: list[str]) -> str:
    inner, key = _place(draw, content)
    del inner[key]
    return f"no {key}"


def _misspell(draw: random.Random, content: Any, raw: list[str]) -> str:
    inner, key = _place(draw, content)
    if not isinstance(inner, dict):
        return "nothing"
    at = draw.randrange(max(1, len(str(key))))
    other = draw.choice((str(key)[:at] + str(key)[at + 1 :], 5, None, True, "x" * 3000, "a.b", ""))
    inner[other] = inner.pop(key)
    return f"misspelt {key}"


def _exchange(draw: random.Random, content: Any, raw: list[str]) -> str:
    first, key = _place(draw, content)
    second, other = _place(draw, content)
    if key not in (first if isinstance(first, dict) else range(len(first))):
        return "nothing"
    first[key] = copy.deepcopy(second[other])
    return f"{other} at {key}"


def _add(draw: random.Random, content: Any, raw: list[str]) -> str:
    inner, _ = _place(draw, content)
    name = draw.choice(
        ("modle", "name", "file", "path", "main", "__class__", "record", "soft", "use")
    )
    if isinstance(inner, dict):
        inner[name] = _value(draw, raw)
    else:
        inner.append(_value(draw, raw))
    return f"added {name}"


STRUCTURE = (_replace, _replace, _replace, _wrap, _delete, _misspell, _exchange, _add)


def _twice(draw: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    line = draw.choice(lines) if lines else ""
    lines.insert(draw.randrange(len(lines) + 1), line)
    return "".join(lines)


def _token(draw: random.Random, text: str) -> str:
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice(TOKENS) * draw.choice((1, 1, 1, 3)) + text[at:]


def _cut(draw: random.Random, text: str) -> str:
    begin = draw.randrange(len(text) + 1)
    return text[:begin] + text[begin + draw.choice((1, 5, 50, 10**6)) :]


def _indent(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    lines[at] = draw.choice(("\t", " ", "   ", "\t ")) + lines[at]
    return "\n".join(lines)


def _bomb(draw: random.Random, text: str) -> str:
    levels = draw.choice((2, 9, 30))
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]")
    lines.append(f"members: *a{levels - 1}")
    return "\n".join(lines) + "\n" + text


def _merge_bomb(draw: random.Random, text: str) -> str:
    lines = ["b0: &b0 {x: 1}"]
    for k in range(1, 25):
        lines.append(f"b{k}: &b{k} {{<<: [*b{k - 1}, *b{k - 1}, *b{k - 1}]}}")
    return "\n".join(lines) + "\n" + text


def _long_bomb(draw: random.Random, text: str) -> str:
    return f"use: [&s {'y' * 20000}, {', '.join(['*s'] * 5000)}]\n{text}"


def _many(draw: random.Random, text: str) -> str:
    count = draw.choice((10, 100, 100, 100, 100, 1000, 1000, 25000))
    return text + "".join(f"k{k}: {k}\n" for k in range(count))


def _merged(draw: random.Random, text: str) -> str:
    return text.replace("data:\n", "data: &d\n", 1) + "other: {<<: *d, split: test}\n"


def _two(draw: random.Random, text: str) -> str:
    return text + draw.choice(("---\n", "...\n---\n", "--- x\n", "...\nx")) + text


def _none(draw: random.Random, text: str) -> str:
    return draw.choice(
        ("", "\n", "# nothing\n", "---\n", "null\n", "5", "- a\n", "text", "{}", "\0")
    )


TEXT: tuple[tuple[str, Callable[[random.Random, str], str]], ...] = (
    ("a line twice", _twice),
    ("a line twice", _twice),
    ("a token", _token),
    ("a token", _token),
    ("a token", _token),
    ("cut", _cut),
    ("cut", _cut),
    ("indented", _indent),
    ("aliases of aliases", _bomb),
    ("merges of merges", _merge_bomb),
    ("aliases of a long text", _long_bomb),
    ("many keys", _many),
    ("merged keys", _merged),
    ("two documents", _two),
    ("no document", _none),
)


def _plainly(draw: random.Random, text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _flipped(draw: random.Random, text: str) -> bytes:
    content = bytearray(_plainly(draw, text))
    for _ in range(draw.choice((1, 4)) if content else 0):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


CODINGS: tuple[tuple[str, Callable[[random.Random, str], bytes]], ...] = (
    ("UTF-16", lambda _, text: text.encode("utf-16", "surrogatepass")),
    ("UTF-32", lambda _, text: text.encode("utf-32", "surrogatepass")),
    ("latin-1", lambda _, text: f"# é\n{text}".encode("latin-1", "replace")),
    ("a mark of the byte order", lambda draw, text: b"\xef\xbb\xbf" + _plainly(draw, text)),
    ("carriage returns", lambda draw, text: _plainly(draw, text).replace(b"\n", b"\r\n")),
    ("changed bytes", _flipped),
    ("changed bytes", _flipped),
    ("random bytes", lambda draw, text: draw.randbytes(draw.choice((1, 50, 5000)))),
    ("two megabytes", lambda draw, text: _plainly(draw, text) + b"# " + b"x" * 2**21),
)


class TooSlow(Exception):  # noqa: N818
    """Reading a file took longer than it may."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TooSlow inside if it takes longer. Works in the main thread only."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def verdict(spoiled: Spoiled, folder: Path) -> Verdict:
    """Read the file, which is written to `folder`, as the kind of recipe that it was."""
    path, kind = folder / "spoiled.yaml", KINDS[spoiled.kind][0]
    path.write_bytes(spoiled.content)
    fault, message = "", None
    before, start = _most_memory(), time.perf_counter()
    try:
        with limited(SECONDS):
            recipe = read_as(kind, path, trust=True)
            fault = _not_kept(recipe, folder)
    except OnefoldError as error:
        message = str(error)
        fault = no_sentence(message, str(path))
    except TooSlow:
        fault = f"took more than {SECONDS:g} s"
    except Exception as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    seconds, peak = time.perf_counter() - start, _most_memory() - before
    if peak > ALLOWED + SPARE * len(spoiled.content) and not fault:
        fault = f"took {peak / 2**20:.0f} MiB for a file of {len(spoiled.content)} bytes"
    if (folder / OUTSIDE).exists() or Path(OUTSIDE).exists():
        fault = "ran what the file says"
    return Verdict(message, fault, seconds, peak)


def _most_memory() -> int:
    """The most memory, in bytes, that this process had at any time."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _not_kept(recipe: Document, folder: Path) -> str:
    """What is wrong if a valid recipe is not the same once it was written and read."""
    again = folder / "again.yaml"
    again.write_text(text_of(recipe, again), encoding="utf-8")
    same = read_as(type(recipe), again, trust=True)
    return "" if same == recipe else "is another recipe once it was written"


def no_sentence(message: str, path: str) -> str:
    """What keeps a message from being one short sentence."""
    short = message.replace(path, "")
    if not message.isprintable():
        return f"unprintable: {message[:200]!r}"
    if not message.endswith((".", "?", path)):
        return f"no end: {message[-100:]}"
    if len(short) > LONGEST:
        return f"{len(short)} characters: {message[:200]}"
    if ". " in short.split("'")[0]:
        return f"several sentences: {short[:200]}"
    return ""
