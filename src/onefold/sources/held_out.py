"""A test split that files do not have: a share of their rows, drawn by a seed (`?test_share=`)."""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.sources.data import Request, none_left

OPTIONS = ("test_share", "seed")


def check_share(request: Request) -> None:
    """Refuse impossible values of `test_share` and `seed`.

    Raises:
        SettingError: the share is no number between 0 and 1, or the seed no whole number.
    """
    options, text = request.name.options, request.name.text
    share, seed = options.get("test_share"), options.get("seed", 0)
    if share is None and "seed" in options:
        raise SettingError(
            f"The option seed of '{text}' needs a test_share, whose rows it draws; give both."
        )
    if share is not None and (
        isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1
    ):
        raise SettingError(
            f"The option test_share of '{text}' must be a number between 0 and 1, not {share!r}."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise SettingError(
            f"The option seed of '{text}' must be a whole number of at least 0, not {seed!r}."
        )


def split_rows(request: Request, total: int, whole: bool, lacking: str) -> Tensor:
    """The rows (n,) of a split, int64, in order, before `skip` and `limit`.

    Args:
        request: the request, with the options `test_share` and `seed`.
        total: number of rows.
        whole: the rows are those of the wanted split already.
        lacking: how a user gives a test split instead, as the end of a sentence.

    Raises:
        DataError: there are no rows, or a test split is wanted and not held out, or no row would be
            on one of the sides.
        SettingError: a share is asked for of rows that are one split already.
    """
    share = request.name.options.get("test_share")
    if whole and share is not None:
        raise SettingError(
            f"The test split of '{request.name.text}' has rows of its own; leave out test_share."
        )
    if total == 0:
        raise none_left(request, 0)
    if whole or (share is None and request.split == "train"):
        return torch.arange(total)
    if share is None:
        raise DataError(
            f"'{request.name.text}' has no test split; add test_share=0.2 to hold out a fifth of"
            f" its rows, {lacking}, or read the train split."
        )
    count = round(share * total)
    if not 0 < count < total:
        raise DataError(
            f"'{request.name.text}' has {total} rows, of which test_share={share:g} leaves one side"
            " empty; give more rows or another share."
        )
    seed = request.name.options.get("seed", 0)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen = order[:count] if request.split == "test" else order[count:]
    return chosen.sort().values


def cut(rows: Tensor, request: Request) -> Tensor:
    """The rows after `skip`, at most `limit`.

    Raises:
        DataError: none is left.
    """
    if request.skip >= len(rows):
        raise none_left(request, len(rows))
    return rows[request.skip : request.end]
