"""Damaged safetensors files, made from a number: the same number makes the same bytes."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save

Header = dict[str, Any]
NUMBERS = (0, 1, -1, 2, 7, 255, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**40, -(2**63))
DTYPES = (
    "F8_E4M3",
    "F4",
    "F16",
    "BF16",
    "F64",
    "I64",
    "BOOL",
    "C64",
    "f32",
    "",
    "Q8",
    "U64",
    None,
    3,
)
KEYS = ("__metadata__", "dtype", "", "a.weight", "\ud800", "é", "x" * 5000, "a\nb", "../a", "0")
LENGTHS = (0, 1, 7, 100_000_000, 100_000_001, 2**31, 2**63, 2**64 - 1)


@functools.cache
def sound() -> tuple[bytes, ...]:
    """Sound files: usual weights, all kinds of numbers, tied names and empty tensors."""
    torch.manual_seed(0)
    usual = {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4), "n": torch.tensor(3)}
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.uint8, torch.bool)
    many = {f"k{i}": torch.ones(i + 1).to(kind) for i, kind in enumerate(kinds)}
    odd = {"empty": torch.empty(0, 5), "scalar": torch.tensor(1.0), "ü.w": torch.ones(2, 2)}
    tied = {"onefold.tied": json.dumps({"head": "a.weight"}), "format": "pt"}
    return save(usual), save(many, {"by": "x"}), save(odd), save(usual, tied)


def damaged(number: int) -> tuple[str, bytes]:
    """The kind of damage and the bytes of input `number`."""
    random_ = random.Random(number)
    data = random_.choice(sound())
    kind = random_.choice(sorted(KINDS))
    data = KINDS[kind](data, random_)
    if random_.random() < 0.2:
        data = _bytes(data, random_)
    return kind, data


def _parts(data: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(text: str | bytes, body: bytes) -> bytes:
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def _bytes(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 8))):
        if changed:
            reach = len(changed) if random_.random() < 0.5 else min(len(changed), 200)
            changed[random_.randrange(reach)] = random_.randrange(256)
    return bytes(changed)


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data))]


def _longer(data: bytes, random_: random.Random) -> bytes:
    return data + random_.randbytes(random_.choice((1, 8, 1000)))


def _length(data: bytes, random_: random.Random) -> bytes:
    old = int.from_bytes(data[:8], "little")
    new = random_.choice(
        (*LENGTHS, old - 1, old + 1, old + 8, random_.randrange(2 * old), len(data))
    )
    return (new % 2**64).to_bytes(8, "little") + data[8:]


def _numbers(data: bytes, random_: random.Random) -> bytes:
    """A shape or an offset of other numbers: huge, negative, overlapping, with a gap, too many."""
    header, body = _parts(data)
    entry = header[random_.choice([name for name in header if name != "__metadata__"])]
    key = random_.choice(("shape", "data_offsets"))
    old = entry[key]
    near = old[0] + random_.choice((-8, -4, -1, 1, 4, 8)) if old else 1
    new = random_.choice((*NUMBERS, near, 1.5, float("inf"), float("nan"), True, None, "4"))
    if random_.random() < 0.3 or not old:
        entry[key] = random_.choice(
            (
                [new],
                [new, new],
                [2**32, 2**32],
                [0, 2**62, 2**62],
                [1] * 65,
                [1] * 3000,
                [new] * 8,
                [],
                new,
                {"0": new},
                [old],
            )
        )
    else:
        old[random_.randrange(len(old))] = new
    return _joined(json.dumps(header), body)


def _moved(data: bytes, random_: random.Random) -> bytes:
    """A tensor moved as a whole: over another one, behind a gap, or out of the file."""
    header, body = _parts(data)
    names = [name for name in header if name != "__metadata__"]
    entry = header[random_.choice(names)]
    far = random_.choice((1, 4, 8, 16, len(body), 2**40))
    move = random_.choice((-1, 1)) * far
    entry["data_offsets"] = [max(0, offset + move) for offset in entry["data_offsets"]]
    if random_.random() < 0.5:
        entry["data_offsets"] = header[random_.choice(names)]["data_offsets"]
    return _joined(json.dumps(header), body + bytes(random_.choice((0, 0, far % 1000))))


def _swapped(data: bytes, random_: random.Random) -> bytes:
    """The offsets, shapes or dtypes of two tensors exchanged or made the same."""
    header, body = _parts(data)
    names = [name for name in header if name != "__metadata__"]
    one, two = (header[random_.choice(names)] for _ in range(2))
    key = random_.choice(("shape", "data_offsets", "dtype"))
    if random_.random() < 0.5:
        one[key], two[key] = two[key], one[key]
    else:
        one[key] = two[key]
    return _joined(json.dumps(header), body)


def _keys(data: bytes, random_: random.Random) -> bytes:
    """An entry renamed, left out, of another type, or with another dtype."""
    header, body = _parts(data)
    name = random_.choice(list(header))
    what = random_.randrange(6)
    if what == 0:
        header[random_.choice(KEYS)] = header.pop(name)
    elif what == 1:
        del header[name]
    elif what == 2:
        header[name] = random_.choice((None, 1, "x", [], [[]], {}, {"dtype": "F32"}, True))
    elif what == 3 and isinstance(header[name], dict):
        header[name]["dtype"] = random_.choice(DTYPES)
    elif what == 4 and isinstance(header[name], dict):
        header[name][random_.choice(("shape", "more", "dtype"))] = random_.choice(NUMBERS)
    else:
        tied = random_.choice(
            ("{", "[]", '{"a.bias": "a.bias"}', '{"b": "c"}', '{"b": [1]}', 3, {})
        )
        header["__metadata__"] = random_.choice(({"onefold.tied": tied}, tied, {"": ""}, None))
    return _joined(json.dumps(header), body)


def _json(data: bytes, random_: random.Random) -> bytes:
    """Text that is no JSON, or JSON that is nested, long, doubled or in another coding."""
    header, body = _parts(data)
    text = json.dumps(header)
    depth = random_.choice((10, 500, 900, 980, 1000, 5000, 100_000))
    name = next(name for name in header if name != "__metadata__")
    entry = json.dumps(header[name])
    value: str | bytes = random_.choice(
        (
            "[" * depth,
            "[" * depth + "]" * depth,
            text[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}",
            text[:-1] + ', "deep": ' + '{"a":' * depth + "1" + "}" * depth + "}",
            '{"a": {"dtype": "F32", "shape": '
            + "[" * depth
            + "]" * depth
            + ', "data_offsets": [0, 0]}}',
            '{"a": {"dtype": '
            + "[" * depth
            + "]" * depth
            + ', "shape": [], "data_offsets": [0, 4]}}',
            text[:-1] + f', "{name}": {entry}}}',
            text[:-1] + ', "n": ' + "9" * random_.choice((20, 4000, 5000, 100_000)) + "}",
            text[: random_.randrange(len(text))],
            text + random_.choice(("}", " ", "\0", "x", "\ufeff", "  " * 500)),
            " " + text,
            text.encode("utf-16"),
            text.encode("utf-32"),
            text.encode().replace(b"a", random_.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0"))),
            text.replace("a", "\\ud800"),
            text.replace('"F32"', random_.choice(('"F\\u0033\\u0032"', "F32", "NaN", "1e999"))),
            text.replace(":", random_.choice(("", "::", "=", ","))),
            "null",
            "{}",
            '{"__metadata__": {}}',
            "{" + ",".join(f'"{i}":[]' for i in range(2000)) + "}",
        )
    )
    return _joined(value, body)


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes": _bytes,
    "cut short": _cut,
    "made longer": _longer,
    "length of the header": _length,
    "shapes and offsets": _numbers,
    "entries exchanged": _swapped,
    "tensors moved": _moved,
    "keys and dtypes": _keys,
    "JSON": _json,
}
