"""Damaged torch files, made from a number: the same number makes the same bytes."""

from __future__ import annotations

import functools
import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable

import torch

NAMES = (
    *("os system", "builtins eval", "builtins getattr", "builtins bytearray", "builtins list"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_tensor_v3", "torch Size"),
    *("torch._utils _rebuild_parameter", "torch._tensor _rebuild_from_type_v2", "torch float32"),
    *("collections OrderedDict", "collections Counter", "torch DoubleStorage", "torch ByteStorage"),
    *("torch.storage UntypedStorage", "torch.nn.parameter Parameter", "copyreg _reconstructor"),
    *("numpy.core.multiarray scalar", "torch QInt8Storage", "torch", "a.b c"),
)
NUMBERS = (0, 1, 2, 3, 64, 255, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, -1, -(2**31))
EOCD, CENTRAL, LOCAL = b"PK\5\6", b"PK\1\2", b"PK\3\4"


@functools.cache
def sound() -> tuple[bytes, ...]:
    """Sound files: a state dict, one within a checkpoint, the old format, one in an archive."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    state = net.state_dict()
    kinds = {str(d): torch.ones(2).to(d) for d in (torch.bfloat16, torch.float8_e5m2, torch.int16)}
    run = {
        "state_dict": state,
        "epoch": 3,
        "optimizer": {"state": {0: {"m": torch.ones(3)}}, **kinds},
    }
    plain = [_saved(state), _saved({**run, "size": torch.Size([2]), "text": "é"})]
    old = _saved(run, old=True)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", plain[0])
        archive.writestr("data", "{}")
    packed = _packed(_records(plain[0]), zipfile.ZIP_DEFLATED)
    return *plain, old, outer.getvalue(), packed


def damaged(number: int) -> tuple[str, bytes]:
    """The kind of damage and the bytes of input `number`."""
    random_ = random.Random(number)
    data = random_.choice(sound())
    kind = random_.choice(sorted(KINDS))
    data = KINDS[kind](data, random_)
    if random_.random() < 0.1:
        data = _bytes(data, random_)
    return kind, data


def _saved(content: object, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def _records(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, value in records.items():
            archive.writestr(name, value)
    return file.getvalue()


def _bytes(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 8))):
        if changed:
            changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def _cut(data: bytes, random_: random.Random) -> bytes:
    begin = random_.choice((0, 0, 0, random_.randrange(len(data))))
    return data[begin : random_.randrange(len(data))]


def _blocks(data: bytes, random_: random.Random) -> bytes:
    """A block of zeros, or one written over another, left out or twice."""
    size = random_.choice((1, 8, 64, 512))
    begin, other = (random_.randrange(len(data)) for _ in range(2))
    block = data[other : other + size]
    return random_.choice(
        (
            data[:begin] + bytes(size) + data[begin + size :],
            data[:begin] + block + data[begin + size :],
            data[:begin] + data[begin + size :],
            data[:begin] + block + data[begin:],
        )
    )


def _directory(data: bytes, random_: random.Random) -> bytes:
    """A field of the directory, of its end or of a record's own header."""
    mark = random_.choice((EOCD, CENTRAL, LOCAL))
    places = [i for i in range(len(data)) if data.startswith(mark, i)]
    if not places:
        return _bytes(data, random_)
    begin = random_.choice(places) + random_.randrange(4, 22 if mark == EOCD else 46)
    form = random_.choice(("<H", "<I"))
    size = struct.calcsize(form)
    new = random_.choice(
        (0, 1, 8, 9, 12, 14, 0xFFFF, len(data), random_.randrange(2**16), 2**32 - 1)
    )
    return data[:begin] + struct.pack(form, new % 2 ** (8 * size)) + data[begin + size :]


def _pickle(data: bytes, random_: random.Random) -> bytes:
    """Instructions of a pickle changed, in an archive that is sound otherwise."""
    if not data.startswith(b"PK"):
        return _instructions(data, random_)
    records = _records(data)
    name = next((name for name in records if name.endswith("data.pkl")), None)
    if name is None:
        return _packed({"policy.pth": _pickle(records["policy.pth"], random_)})
    return _packed({**records, name: _instructions(records[name], random_)})


def _instructions(data: bytes, random_: random.Random) -> bytes:
    starts = [position or 0 for _, _, position in pickletools.genops(data)]
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(random_.choice((1, 1, 2, 4))):
        k = random_.randrange(len(parts))
        what = random_.randrange(6)
        if what == 0:
            del parts[k]
        elif what == 1:
            parts.insert(k, random_.choice(parts))
        elif what == 2:
            parts[k] = random_.choice(parts)
        elif what == 3:
            calls = [i for i, part in enumerate(parts) if part[:1] == b"c"] or [k]
            parts[random_.choice(calls)] = (
                b"c" + random_.choice(NAMES).replace(" ", "\n").encode() + b"\n"
            )
        elif what == 4:
            numbers = [i for i, part in enumerate(parts) if part[:1] in b"KMJ"] or [k]
            parts[random_.choice(numbers)] = _number(random_.choice(NUMBERS))
        else:
            parts.insert(k, random_.choice(ODD))
        if not parts:
            break
    return b"".join(parts)


def _number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


ODD = (  # instructions that torch does not write, or with huge operands
    *(
        bytes([code])
        for code in b"(.012lptsuaed)}]NQRbo\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"
    ),
    *(b"r\xff\xff\xff\xff", b"j\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"\x8e" + b"\xff" * 8),
    *(b"X\xff\xff\xff\xff", b"T\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x95" + b"\xff" * 8),
    *(
        b"I" + b"9" * 5000 + b"\n",
        b"L" + b"9" * 5000 + b"L\n",
        b"F1e999\n",
        b"Vx\\ud800\n",
        b"g9\n",
    ),
    *(b"(" * 3000, b"]" * 3000, b")" + b"\x85" * 3000, b"\x82\x01", b"ios\nsystem\n", b"Pid\n"),
)


def _records_changed(data: bytes, random_: random.Random) -> bytes:
    """A record missing, longer, exchanged or renamed, in an archive with sound checksums."""
    if not data.startswith(b"PK"):
        return _blocks(data, random_)
    records = _records(data)
    name, other = (random_.choice(list(records)) for _ in range(2))
    what = random_.randrange(5)
    if what == 0:
        del records[name]
    elif what == 1:
        records[name] = random_.choice((b"", records[name][:-1], records[name] + bytes(9)))
    elif what == 2:
        records[name], records[other] = records[other], records[name]
    elif what == 3:
        renamed = random_.choice(("data.pkl", "x/data.pkl", "a.pt", "../x", "x", "x/data/0", "é"))
        records[renamed] = records.pop(name)
    else:
        records[name] = bytes(random_.choice((100_000, 3_000_000)))
    method = random_.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    return _packed(records, method)


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes": _bytes,
    "cut short": _cut,
    "blocks": _blocks,
    "directory": _directory,
    "instructions": _pickle,
    "records": _records_changed,
}
