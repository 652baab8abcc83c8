"""The memory that a network would take, told before any of it is taken.

The network is built on the device "meta" first, where tensors have shapes and no numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

from onefold.errors import SettingError
from onefold.sources.names import Name

GIB = 2**30


def check_size(build: Callable[..., nn.Module], name: Name) -> None:
    """Refuse a network whose weights alone are more than this machine's memory.

    A network that cannot be built without numbers is not checked.

    Args:
        build: makes the network from the options of the name.
        name: the name of the model.

    Raises:
        SettingError: it is too large; the message tells the estimate.
    """
    have = memory()
    if have is None:
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = build(**name.options)
        tensors = [*model.parameters(), *model.buffers()]
        needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    except Exception as error:  # building it in earnest tells what else is wrong
        if "overflow" not in str(error).lower():
            return
        size = f"more than {2**63 // GIB:,}"
    else:
        if needed <= have:
            return
        size = f"{needed / GIB:,.0f}"
    raise SettingError(
        f"The network '{name.text[:80]}' would take {size} GiB, and this machine has"
        f" {have / GIB:,.0f}; give smaller options."
    )


def memory() -> int | None:
    """The bytes of this machine's memory; None if the system does not tell them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
