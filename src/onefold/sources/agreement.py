"""Whether all processes were given the same members, data and settings.

Processes that fold together exchange sums of statistics. If one of them had other members, or the
same ones in another order, the sums would be of no network, and every process would return another
result without a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from onefold.batches import Data, RankShare, shard_for_rank
from onefold.distributed import check_agreement, raise_together, several_ranks
from onefold.weights.checksums import state_checksum


def check_ranks_agree(
    models: Sequence[nn.Module], data: Data | None = None, **settings: object
) -> None:
    """Refuse, on every rank, members, data or settings that differ between ranks.

    Nothing is done if there is one process. The members are read once.

    Args:
        models: the members of this rank.
        data: batches of all ranks; their number is compared if it is known.
        settings: further arguments, compared by their text.

    Raises:
        RanksError: something differs; the sentence names what.
        DataError: the members of another rank cannot be read. This rank's own error if it is here.
    """
    if not several_ranks():
        return
    facts: dict[str, Any] = {"members (their number differs)": len(models)}
    with raise_together():
        states = [model.state_dict() for model in models]
        sums = [state_checksum({k: v for k, v in s.items() if hasattr(v, "dtype")}) for s in states]
    facts["members (their weights or their order differ)"] = sums
    facts |= {f"settings ('{name}' differs)": _text(value) for name, value in settings.items()}
    share = None if data is None else shard_for_rank(data)
    if isinstance(share, RankShare) and not share.sharded:
        facts["data (the number of batches differs)"] = _length(share.data)
    check_agreement(facts)


def _text(value: object) -> str:
    """The text of a setting without addresses, which every process has its own of."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _length(data: object) -> int | None:
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None
