"""What a user's own function returned: batches or a network, or a sentence on what else it is.

Nothing is iterated here, as that may take long, or change the order of the next pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from inspect import isfunction, ismethod
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from onefold.batches import check_reiterable
from onefold.errors import DataError, SettingError, kind_of
from onefold.sources.loader import ImageBatches
from onefold.sources.names import Name

LOADER = "return torch.utils.data.DataLoader({}, batch_size=128)"
LIST = "return a list of batches, a DataLoader, or an object whose __iter__ begins anew"
MOST = 100_000  # batches of data that do not say how many there are


def check_network(made: Any, name: Name) -> nn.Module:
    """The network that a function returned.

    Raises:
        SettingError: it returned something else.
    """
    if isinstance(made, nn.Module):
        return made
    what, cure = kind_of(made), "return a torch.nn.Module"
    if made is None:
        what, cure = "nothing", "let it end with return and the torch.nn.Module"
    elif isinstance(made, type):
        cure = f"return a network of it, as {made.__name__}()"
    elif isinstance(made, Mapping) and any(isinstance(one, Tensor) for one in made.values()):
        what, cure = "weights", "return the network, and give the weights as a file"
    elif isinstance(made, tuple | list) and any(isinstance(one, nn.Module) for one in made):
        what, cure = f"{what} with more than a network in it", "return the torch.nn.Module alone"
    raise SettingError(f"The factory of '{name.text}' returned {what}; {cure}.")


def check_batches(data: Any, name: Name) -> Iterable[Any]:
    """The batches that a function returned, which are refused later if they do not end.

    Raises:
        DataError: they are no batches, or can be read only once.
    """
    if wrong := _no_batches(data):
        what, cure = wrong
        raise DataError(f"The function of '{name.text}' returned {what}; {cure}.")
    check_reiterable(data, f"data of '{name.text}'")
    ends = isinstance(data, list | tuple | ImageBatches) or (
        isinstance(data, DataLoader) and not isinstance(data.dataset, IterableDataset)
    )
    return data if ends else Bounded(data, name)


def _no_batches(data: Any) -> tuple[str, str] | None:
    """What else was returned, and what to return instead; None if it may be batches."""
    if data is None:
        return "nothing", LIST
    if isinstance(data, type):
        return kind_of(data), f"return an object of it, as {data.__name__}(...)"
    if isfunction(data) or ismethod(data):
        return f"the function {data.__name__}", "return what it returns"
    if isinstance(data, str | bytes):
        return "a text", LIST
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return f"the dataset {type(data).__name__} of single examples", LOADER.format("it")
    if isinstance(data, Mapping):
        return f"a {type(data).__name__} with the keys {_keys(data)}", "return one split's batches"
    if isinstance(data, Iterator):
        return f"a {type(data).__name__}, which can be read only once", LIST
    if isinstance(data, tuple) and _is_pair(data):
        whole = "torch.utils.data.TensorDataset(inputs, labels)"
        return "inputs and labels as a whole", LOADER.format(whole)
    if (example := _first(data)) is not None and _is_example(example):
        return "single examples", LOADER.format("them")
    return None


def _keys(data: Mapping[Any, Any]) -> str:
    shown = ", ".join(repr(key)[:40] for key in list(data)[:4])
    return shown + (", ..." if len(data) > 4 else "")


def _is_pair(data: tuple[Any, ...]) -> bool:
    """Whether these are the inputs and the labels of all examples, and no two batches."""
    if len(data) != 2 or not all(isinstance(one, Tensor) and one.dim() for one in data):
        return False
    inputs, labels = data
    return len(inputs) == len(labels) and labels.dim() == 1 and inputs.dim() > 1


def _first(data: Any) -> Any:
    """The first item of a list, or of what counts its items like one; None of anything else."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        with contextlib.suppress(Exception):
            return data[0] if len(data) else None
    return None


def _is_example(item: Any) -> bool:
    """Whether an item is an example with one label, and not a batch."""
    label = None
    if isinstance(item, tuple | list) and len(item) == 2:
        label = item[1]
    elif isinstance(item, Mapping):
        label = item.get("labels", item.get("label"))
    if isinstance(label, Tensor):
        return label.dim() == 0
    return isinstance(label, int | float)


class Bounded:
    """Batches that do not say how many they are, refused once they are far too many.

    Everything else is that of the batches.

    Args:
        data: the batches.
        name: the name of the source, for the message.
    """

    def __init__(self, data: Iterable[Any], name: Name) -> None:
        self._data, self._name = data, name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # as while it is unpickled
            raise AttributeError(attribute)
        return getattr(self._data, attribute)

    def __iter__(self) -> Iterator[Any]:
        most = MOST
        with contextlib.suppress(TypeError):
            most = max(MOST, 2 * len(self._data))  # type: ignore[arg-type]
        for number, item in enumerate(self._data):
            if number >= most:
                raise DataError(
                    f"The data of '{self._name.text}' did not end after {number:,} batches; let"
                    " them end, or say how many examples to read (--samples)."
                )
            yield item
