"""The archive of a torch file: a zip whose records are one pickle and the bytes of the storages.

Records lie in the file as they are, so that tensors are mapped rather than read. Records that
another program has compressed are unpacked.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from typing import Any

import torch

from onefold.weights.binary import Binary, of_bytes
from onefold.weights.torch_tensors import Stored, build, claim
from onefold.weights.unpickling import DamagedPickleError, Made, unpickle

PICKLE = "data.pkl"
LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # in front of each record: its name's length is the last
MOST_UNPACKED = 100  # times the archive's size; zeros can be packed into less, and so can traps
BLOCK = 1 << 22


class DamagedArchiveError(ValueError):
    """The directory of an archive and its records contradict each other."""


class Archive:
    """The records of a zip, by name.

    Args:
        file: the bytes of the zip.

    Raises:
        DamagedArchiveError: the directory cannot be read, or contradicts the file.
    """

    def __init__(self, file: Binary) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(file.stream)
            self._records = {info.filename: info for info in self._zip.infolist()}
        # The module fails in many ways on a damaged directory, and has no common class of errors.
        except Exception as error:
            raise DamagedArchiveError(_first_line(error)) from error
        if len(self._records) < len(self._zip.infolist()):
            raise DamagedArchiveError("a record is listed twice")
        unpacked = sum(info.file_size for info in self._records.values())
        if unpacked > MOST_UNPACKED * file.size:
            raise DamagedArchiveError(f"it claims to unpack to {unpacked} bytes")

    @property
    def names(self) -> list[str]:
        """The names of the records."""
        return list(self._records)

    def read(self, name: str) -> bytes:
        """The bytes of a record, unpacked and checked. Raises DamagedArchiveError."""
        info = self._records[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedArchiveError(f"'{name}' is packed by a method that torch does not read")
        if info.compress_type == zipfile.ZIP_STORED:
            begin = self._begin(info)
            self._check(info, begin)
            return self.file.text(begin, info.file_size)
        try:
            return self._zip.read(info)
        except Exception as error:
            raise DamagedArchiveError(_first_line(error)) from error

    def storage(self, name: str) -> torch.UntypedStorage:
        """The bytes of a record as a storage, mapped if it is not compressed."""
        info = self._records[name]
        if info.file_size == 0:
            return self.file.part(0, 0)
        if info.compress_type != zipfile.ZIP_STORED:
            return of_bytes(self.read(name), name).values
        begin = self._begin(info)
        self._check(info, begin)
        return self.file.part(begin, info.file_size)

    def size(self, name: str) -> int:
        """The bytes of a record, unpacked."""
        return self._records[name].file_size

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a record begin."""
        head = self.file.text(info.header_offset, LOCAL_HEADER.size)
        if len(head) < LOCAL_HEADER.size:
            raise DamagedArchiveError(f"'{info.filename}' lies behind the end")
        mark, _, flags, *_, name, extra = LOCAL_HEADER.unpack(head)
        begin = info.header_offset + LOCAL_HEADER.size
        named = self.file.text(begin, name)
        if mark != b"PK\3\4" or flags & 1 or named != info.orig_filename.encode(_coding(info)):
            raise DamagedArchiveError(f"'{info.filename}' is not where the directory says")
        begin += name + extra
        if info.file_size != info.compress_size or begin + info.file_size > self.file.size:
            raise DamagedArchiveError(f"'{info.filename}' does not end within the file")
        return int(begin)

    def _check(self, info: zipfile.ZipInfo, begin: int) -> None:
        """Compare the checksum of a record; torch can be told to write none, which is 0."""
        if info.CRC == 0:
            return
        found = 0
        for start in range(begin, begin + info.file_size, BLOCK):
            size = min(BLOCK, begin + info.file_size - start)
            found = zlib.crc32(self.file.text(start, size), found)
        if found != info.CRC:
            raise DamagedArchiveError(
                f"the bytes of '{info.filename}' are not those that were written"
            )


def root_of(archive: Archive) -> str | None:
    """The folder of the archive in which the pickle and the storages lie; None if there is none."""
    for name in archive.names:
        if name.endswith(f"/{PICKLE}") and name.count("/") == 1:
            return name.removesuffix(PICKLE)
    return "" if PICKLE in archive.names else None


def read_archive(archive: Archive, root: str) -> tuple[Any, set[str]]:
    """The object in a torch archive, and the names in its pickle.

    Args:
        archive: the records.
        root: the folder in it, from `root_of`.

    Raises:
        DamagedArchiveError, DamagedPickleError: it contradicts itself.
    """
    order = f"{root}byteorder"
    if order in archive.names and archive.read(order) != sys.byteorder.encode():
        raise DamagedArchiveError("its numbers are in the byte order of another kind of machine")
    found: dict[str, Stored] = {}

    def stored(persistent: Any) -> Stored | Made:
        claimed = claim(persistent)
        if claimed is None:
            return Made("a storage of quantised numbers")
        key, dtype, count = claimed
        if key not in found:
            record = f"{root}data/{key}"
            if record not in archive.names:
                raise DamagedPickleError(f"the storage '{key[:40]}' is missing")
            found[key] = Stored(key, dtype, count, archive.storage(record))
        if (found[key].dtype, found[key].count) != (dtype, count):
            raise DamagedPickleError(f"the storage '{key[:40]}' is described in two ways")
        if found[key].values.nbytes() != count * dtype.itemsize:
            raise DamagedPickleError(
                f"the storage '{key[:40]}' is of another length than is claimed"
            )
        return found[key]

    return unpickle(io.BytesIO(archive.read(f"{root}{PICKLE}")), build, stored)


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:100] or type(error).__name__


def _coding(info: zipfile.ZipInfo) -> str:
    return "utf-8" if info.flag_bits & 0x800 else "cp437"
