"""A pickle is read without running anything, in time and memory that its own size allows."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import tracemalloc
from typing import Any

import pytest

from onefold.weights.unpickling import DamagedPickleError, Made, Named, unpickle


def read(data: bytes) -> Any:
    return unpickle(io.BytesIO(data), Made, lambda _: "stored")[0]


VALUES: list[Any] = [
    None,
    [True, False, 0, -1, 255, 65535, 1 << 40, -(1 << 70)],
    (1.5, float("inf"), "é\n", b"\xff", "x" * 300),
    {"a": {"b": [1, (2, (3, [4]))]}, 1: {2.5: (), (1, "x"): []}, None: 3},
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    collections.OrderedDict(a=1, b=[2]),
    collections.Counter(a=2, b=1),
    collections.defaultdict(list, a=[1]),
    [list(range(3000)), {str(k): k for k in range(3000)}],
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES)
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    if protocol < 3 and value == VALUES[2]:
        value = value[:3]  # these protocols have no bytes
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_shared_or_lies_in_itself(protocol: int) -> None:
    inner: list[Any] = [1]
    inner.append(inner)
    found = read(pickle.dumps({"a": inner, "b": inner}, protocol))
    assert found["a"] is found["b"]
    assert found["a"][1] is found["a"]


def test_objects_are_described_and_not_made() -> None:
    assert isinstance(read(pickle.dumps(print)), Named)
    assert read(pickle.dumps(print)).name == "builtins.print"
    made = read(b"cos\nsystem\n(S'echo hi'\ntR.")
    assert (made.kind, made.given) == ("os.system", ("echo hi",))
    found = unpickle(io.BytesIO(pickle.dumps([print, len])), Made, Made)
    assert found[1] == {"builtins.print", "builtins.len"}


def long_counts() -> bytes:
    """One list of pairs, made a dictionary again and again."""
    pairs = b"](" + b"K\x01K\x02\x86" * 2000 + b"eq\x00"
    again = b"ccollections\nOrderedDict\nh\x00\x85R" * 3000
    return b"(" + pairs + again + b"t."


BAD = {
    "nothing": b"",
    "no end": b"]",
    "two objects": b"]].",
    "no object": b".",
    "open mark": b"(].",
    "no operands": b"u.",
    "no mark": b"t.",
    "no memo": b"h\x05.",
    "unknown": b"\xff.",
    "calls a list": b"]]R.",
    "calls with no tuple": b"cos\nsystem\n]R.",
    "names no text": b"]]\x93.",
    "appends to a number": b"K\x01]a.",
    "a key without a value": b"}(K\x01u.",
    "a key that is a list": b"}]K\x01s.",
    "a key of nested tuples": b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.",
    "a long key": b"}(" + b"K\x01" * 1000 + b"tK\x01s.",
    "a huge key": b"}\x8b" + struct.pack("<i", 5000) + b"\x01" * 5000 + b"K\x01s.",
    "a number of many digits": b"I" + b"9" * 10_000 + b"\n.",
    "a persistent text": b"Pid\n.",
    "an extension": b"\x82\x01.",
    "a text without an end": b"X\xff\xff\xff\xff.",
    "bytes without an end": b"\x8e" + b"\xff" * 8 + b".",
    "half a character": b"X\x02\x00\x00\x00\xed\xa0.",
    "the same pairs again": long_counts(),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_pickles_are_refused_and_take_no_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DamagedPickleError):
            read(BAD[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(BAD[name]) + 500_000


@pytest.mark.parametrize(
    "data",
    [
        b"]r\xff\xff\xff\xff.",  # a place in the memo that would be an array of 32 GB
        b"]" + b"q\x00h\x00a" * 10_000 + b".",
        b"(" * 50_000 + b"t" * 50_000 + b".",
        b"]" * 50_000 + b"a" * 49_999 + b".",
    ],
)
def test_odd_but_sound_pickles_take_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400 * len(data) + 500_000
