"""The names of a checkpoint's tensors as the network that it fills calls them.

Training programs put prefixes before all names (`model.` by Lightning, `backbone.`), and wrappers
put components into them (`module`, `_orig_mod`), in front or further in. The names of the network
say what is to be taken off, or put before. Nothing is guessed: every name that the network needs
must be found, no other may be left, and there must be one way only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from onefold.errors import WeightsError
from onefold.weights.checks import listed

# Components that torch.compile, DataParallel, FSDP and activation checkpoints put into names.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
AVERAGED = "n_averaged"  # the count of torch's AveragedModel, which is no weight

Groups = Sequence[Collection[str]]  # of the names in one group (tied names) one is enough


def names_for(
    names: Iterable[str], needed: Groups, known: Iterable[str], where: str, network: str
) -> dict[str, str]:
    """Name in the network -> name in the file.

    Args:
        names: those in the file.
        needed: the names that the network must get.
        known: all names of the network.
        where: the file, for the messages.
        network: the class of the network, for the messages.

    Returns:
        The names as they are if they fit. If no change makes them fit, the names as they fit best,
        for a message on what is missing.

    Raises:
        WeightsError: the names fit in several ways, or names of the file are left over.
    """
    known = set(known)
    same = {name: name for name in names if name != AVERAGED or name in known}
    if known.issuperset(same) and _complete(needed, same):
        return same
    # Both sides without the components of wrappers, if that makes no two names one.
    given = _unwrapped(same)
    wanted = _unwrapped(known)
    plain = {name: short for short, name in wanted.items()}
    groups = [[plain[name] for name in group] for group in needed]
    ways = _ways(given, wanted, groups)
    complete = {prefix: found for prefix, found in ways.items() if _complete(groups, found)}
    if not complete:
        best = max(ways.values(), key=len, default={})
        if 2 * len(best) < len(groups):
            return same
        used = set(best.values())
        left = {name: name for old, name in given.items() if old not in used}
        return {**left, **_joined(best, wanted, given)}
    if len(complete) > 1:
        prefixes = listed(complete)
        raise WeightsError(
            f"{where} has all names of the network {network} {len(complete)} times, behind"
            f" {prefixes}; say which by prefix=, or leave the others out by drop=."
        )
    ((prefix, found),) = complete.items()
    used = set(found.values())
    rest = [name for old, name in given.items() if old not in used]
    if rest and prefix:
        raise WeightsError(
            f"{where} has all names of the network {network} behind '{prefix}', but also"
            f" {listed(rest)}; take the former alone by prefix='{prefix}'."
        )
    if rest:
        raise WeightsError(
            f"{where} does not fit the network {network}: it has {listed(rest)}, which the network"
            " does not know; check architecture and options, or leave them out by drop=."
        )
    return _joined(found, wanted, given)


def change_of(names: Mapping[str, str]) -> tuple[str, str]:
    """The prefix that was taken off every name, and a sentence on what was changed.

    Args:
        names: name in the network -> name in the file.

    Returns:
        Two empty texts if no name was changed.
    """
    if all(new == old for new, old in names.items()):
        return "", ""
    if all(old.endswith(new) for new, old in names.items()):
        prefixes = {old.removesuffix(new) for new, old in names.items()}
        if len(prefixes) == 1:
            (prefix,) = prefixes
            return prefix, f"Took the prefix '{prefix}' off every name."
    new, old = next((new, old) for new, old in names.items() if new != old)
    return "", f"Took the names as the network calls them, such as '{old}' for '{new}'."


def _ways(
    given: Collection[str], wanted: Collection[str], groups: Groups
) -> dict[str, dict[str, str]]:
    """Prefix -> name in the network -> name in the file.

    A prefix is taken off the names of the file, or put before all of them.
    """
    ways = _behind(given, wanted)
    if any(_complete(groups, found) for found in ways.values()):
        return ways
    for prefix, found in _behind(wanted, given).items():
        if prefix and len(found) == len(given):
            ways[prefix] = {new: old for old, new in found.items()}
    return ways


def _behind(longer: Iterable[str], shorter: Collection[str]) -> dict[str, dict[str, str]]:
    """Prefix -> shorter name -> longer name, which is the shorter one behind the prefix."""
    ways: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in longer:
        start = 0
        while start >= 0:
            if name[start:] in shorter:
                ways[name[:start]][name[start:]] = name
            start = name.find(".", start) + 1 or -1
    return dict(ways)


def _complete(groups: Groups, found: Collection[str]) -> bool:
    return all(any(name in found for name in group) for group in groups)


def _unwrapped(names: Collection[str]) -> dict[str, str]:
    """Name without the components of wrappers -> name; as they are if two would be one."""
    plain = {_plain(name): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS) or name


def _joined(
    found: Mapping[str, str], wanted: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    return {wanted[new]: given[old] for new, old in found.items()}
