"""`onefold.compare_checkpoints`: before a merge, how do these checkpoints differ."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from onefold.checkpoints.comparison.advice import advice_of
from onefold.checkpoints.comparison.companions import config_differences, tokenizer_differences
from onefold.checkpoints.comparison.entries import Entry, Opened, open_checkpoint
from onefold.checkpoints.comparison.groups import Measured, change_of, layer_of, relative_of
from onefold.checkpoints.comparison.results import (
    Change,
    CheckpointComparison,
    Differences,
    NonFinite,
)
from onefold.checkpoints.layouts.ancestry import ancestors_of
from onefold.errors import SettingError, WeightsError, shown
from onefold.weights.header import read_header

PathLike = str | os.PathLike[str]
PACKED = ("I8", "U8", "I32")
DEFAULT_THREADS = 4  # more wait for the disk


def compare_checkpoints(
    paths: Sequence[PathLike],
    base: PathLike | None = None,
    *,
    threads: int | None = None,
    told: Callable[[str], None] | None = None,
) -> CheckpointComparison:
    """Say how checkpoints of one architecture differ, before they are merged.

    No network is built and no data is needed. Files are mapped and read once; memory stays bounded
    whatever the size of the checkpoints. Numbers are summed in float64.

    Args:
        paths: two or more folders, files of weights or indices of shards; with a base, one will do.
        base: the checkpoint that the others were trained from. None: of three or more, the one that
            all others are nearest to, told from a sample; of two, the first.
        threads: how many read and compute; the result is the same bits on any number. None: as many
            as there are cores, at most 4.
        told: is called with a sentence when the reading begins.

    Raises:
        WeightsError: a checkpoint is missing or damaged, or has no weights.
        SettingError: there are too few, or `threads` is below 1.
    """
    _check(paths, base, threads, told)
    opened, given = open_all(paths, base)
    from onefold.checkpoints.comparison.passes import likely_base, measured  # imports numpy

    names, kind = list(opened), "given" if given else "unknown"
    if not given and len(names) > 2:
        nearest, likely = likely_base(list(opened.values()))
        names.insert(0, names.pop(nearest))
        opened = {name: opened[name] for name in names}
        kind = "likely" if likely else "unknown"
    if told is not None:
        size = sum(one.nbytes for one in opened.values())
        told(f"Reading {len(names)} checkpoints, {size / 1e9:.2f} GB.")
    workers = threads or min(os.cpu_count() or 1, DEFAULT_THREADS)
    found = list(measured(list(opened.values()), workers))
    return _result(opened, kind, found)


def _check(paths: object, base: object, threads: object, told: object) -> None:
    """Refuse arguments of a wrong type; nothing here imports torch, as `checked` would.

    Raises:
        SettingError: one is.
    """
    listed = isinstance(paths, Sequence) and not isinstance(paths, str | bytes)
    if not listed or not all(isinstance(path, str | os.PathLike) for path in paths):  # type: ignore[attr-defined]
        raise SettingError("compare_checkpoints needs a list of paths; give [first, second].")
    if base is not None and not isinstance(base, str | os.PathLike):
        raise SettingError(f"compare_checkpoints takes base as a path, not {shown(base)}.")
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (whole and threads > 0):  # type: ignore[operator]
        raise SettingError(f"threads must be a whole number of at least 1, not {shown(threads)}.")
    if told is not None and (isinstance(told, type) or not callable(told)):
        raise SettingError(f"compare_checkpoints takes told as a function, not {shown(told)}.")


def open_all(
    paths: Sequence[PathLike], base: PathLike | None = None
) -> tuple[dict[str, Opened], bool]:
    """The headers of all checkpoints by short names, a given base first; and whether it is given.

    Raises:
        WeightsError, SettingError: as `compare_checkpoints`.
    """
    opened: list[Opened] = []
    for path in ([] if base is None else [base]) + list(paths):
        one = open_checkpoint(path)
        if base is None or not opened or not os.path.samefile(one.path, opened[0].path):
            opened.append(one)
    if len(opened) < 2:
        raise SettingError(
            "A comparison needs two checkpoints or more; give another one, or the base."
        )
    _check_adapters(opened)
    return dict(zip(_names([one.path for one in opened]), opened, strict=True)), base is not None


def _check_adapters(opened: Sequence[Opened]) -> None:
    """Refuse adapters beside whole models, as they share no tensors.

    Raises:
        WeightsError: so it is.
    """
    adapters = [one for one in opened if one.is_adapter]
    if adapters and len(adapters) < len(opened):
        whole = next(one for one in opened if not one.is_adapter)
        raise WeightsError(
            f"{adapters[0].path} holds an adapter and {whole.path} a whole model, which share no"
            " tensors; add the adapter to its base first, as with merge_and_unload of peft, and"
            " compare what that writes."
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; a path that is given twice has a number."""
    whole = [path.absolute() for path in paths]
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(set(whole)):
            break
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _result(
    opened: Mapping[str, Opened], kind: str, measured: Sequence[Measured]
) -> CheckpointComparison:
    names = list(opened)
    compared = [one for one in measured if one.holders[0] == 0]
    groups: dict[str, list[Measured]] = {}
    for one in compared:
        groups.setdefault(layer_of(one.name), []).append(one)
    count = len(names)
    result = CheckpointComparison(
        paths={name: str(one.path) for name, one in opened.items()},
        origin=names[0],
        origin_is=kind,
        members=tuple(names[1:]),
        total=_total(compared, count),
        layers=tuple(change_of(name, group, count) for name, group in groups.items()),
        tensors=tuple(change_of(one.name, [one], count) for one in compared),
        non_finite=_non_finite(opened, measured),
        differences=_differences(opened),
        ancestors=_ancestors(opened),
    )
    return replace(result, advice=advice_of(result))


def _total(compared: Sequence[Measured], count: int) -> Change:
    whole = change_of("all", compared, count)
    matrices = [one for one in compared if one.axes > 1]
    if not matrices:
        return whole
    return replace(whole, relative=tuple(relative_of(matrices, k) for k in range(1, count)))


def _non_finite(
    opened: Mapping[str, Opened], measured: Sequence[Measured]
) -> tuple[NonFinite, ...]:
    names = list(opened)
    return tuple(
        NonFinite(
            names[k],
            str(opened[names[k]].entries[one.name].file),
            one.name,
            int(one.sums.nans[at]),
            int(one.sums.infinite[at]),
        )
        for one in measured
        for at, k in enumerate(one.holders)
        if one.sums.nans[at] or one.sums.infinite[at]
    )


def _ancestors(opened: Mapping[str, Opened]) -> dict[str, tuple[str, ...]]:
    """What the checkpoints say that they were merged from."""
    found = {}
    for name, one in opened.items():
        first = next(iter(one.entries.values()))
        if first.tensor is None and (own := ancestors_of(read_header(first.file).metadata)):
            found[name] = own
    return found


def _differences(opened: Mapping[str, Opened]) -> Differences:
    names = list(opened)
    first = opened[names[0]].entries
    dtypes = {
        name: dict(Counter(entry.dtype for entry in one.entries.values()))
        for name, one in opened.items()
    }
    differ = any(
        one.entries[name].dtype != entry.dtype
        for one in opened.values()
        for name, entry in first.items()
        if name in one.entries
    )
    missing = {n: tuple(k for k in first if k not in opened[n].entries) for n in names[1:]}
    extra = {n: tuple(k for k in opened[n].entries if k not in first) for n in names[1:]}
    shapes = {}
    for name, entry in first.items():
        held = {n: one.entries[name].shape for n, one in opened.items() if name in one.entries}
        if any(shape != entry.shape for shape in held.values()):
            shapes[name] = held
    return Differences(
        dtypes=dtypes if differ else {},
        missing={name: lacking for name, lacking in missing.items() if lacking},
        extra={name: more for name, more in extra.items() if more},
        shapes=shapes,
        config=config_differences(opened),
        tokenizers=tokenizer_differences(opened, names[0]),
        quantised={
            name: next(tensor for tensor, entry in one.entries.items() if _is_packed(entry))
            for name, one in opened.items()
            if any(map(_is_packed, one.entries.values()))
        },
    )


def _is_packed(entry: Entry) -> bool:
    """Whether a tensor is a matrix of small integers or of 8-bit floats."""
    return len(entry.shape) > 1 and (entry.dtype in PACKED or entry.dtype.startswith("F8"))
