"""What a loader yields, taken apart into inputs and labels.

The form tells it: a tensor is inputs, a pair is (inputs, labels), and the entry "labels" of a dict,
or else "label" or "label_ids", holds the labels. `Batches` says it where the form does not. Arrays
of numpy are taken as tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onefold.errors import DataError, SettingError, kind_of, nearest, shown

LABEL_KEYS = ("labels", "label", "label_ids")  # the entry of a dict that holds labels
Place = int | str  # of an entry: its position or its key


@dataclass(frozen=True)
class Batches:
    """Data whose batches have more entries than inputs and labels, and which entry is what.

        onefold.merge(models, onefold.Batches(loader, inputs=0, labels=1))
        onefold.evaluate(model, onefold.Batches(loader, inputs="image", labels="label"))

    Every function takes it as data. Other attributes of the data are its attributes too.

    Attributes:
        data: batches that are tuples, dicts or objects with attributes.
        inputs: the position or the key of the network's input; several, as ("image", "mask"), for
            a network of several positional inputs; a dict, as {"pixel_values": "image"}, for one
            that takes keywords.
        labels: the position or the key of the labels, or several that lead into an entry, as
            (1, "class") for batches (inputs, {"class": labels}); None: there are none.

    Raises:
        SettingError: an entry is neither a position nor a key.
        DataError: the data is no iterable of batches.
    """

    data: Iterable[Any]
    inputs: Place | Sequence[Place] | Mapping[str, Place] = 0
    labels: Place | tuple[Place, ...] | None = 1

    def __post_init__(self) -> None:
        if isinstance(self.data, str | Mapping | Tensor | nn.Module) or not (
            isinstance(self.data, Iterable) or hasattr(self.data, "__getitem__")
        ):
            raise DataError(
                f"Batches takes data as a list or DataLoader of batches, not {shown(self.data)}."
            )
        places = self.inputs
        if isinstance(places, Mapping):
            for name in places:
                if not isinstance(name, str):
                    raise SettingError(
                        f"Batches takes inputs by keyword with names as keys, not {shown(name)}."
                    )
            places = list(places.values())
        elif not isinstance(places, list | tuple):
            places = [places]  # type: ignore[list-item]
        if not places:
            raise SettingError("Batches takes at least one entry as inputs, not none.")
        given: list[tuple[str, Any]] = [("inputs", place) for place in places]
        given += [("labels", place) for place in _path(self.labels)]
        for name, place in given:
            if isinstance(place, bool) or not isinstance(place, int | str):
                raise SettingError(
                    f"Batches takes {name} as positions or keys, such as 0 or 'image', not"
                    f" {shown(place)}."
                )

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, labels) of every batch.

        Raises:
            DataError: a batch has no such entry.
        """
        for index, item in enumerate(self.data):
            labels = None if self.labels is None else item
            for place in _path(self.labels):
                labels = _entry(labels, place, index)
            inputs: Any
            if isinstance(self.inputs, Mapping):
                inputs = {name: _entry(item, at, index) for name, at in self.inputs.items()}
            elif isinstance(self.inputs, int | str):
                inputs = _entry(item, self.inputs, index)
            else:
                inputs = tuple(_entry(item, at, index) for at in self.inputs)
            yield inputs, labels

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        """Attributes of the data, such as the sampler of a DataLoader."""
        if name.startswith("_") or name == "data":
            raise AttributeError(name)
        return getattr(self.data, name)

    def __repr__(self) -> str:
        return (
            f"Batches({type(self.data).__name__}, inputs={self.inputs!r}, labels={self.labels!r})"
        )


def _path(labels: Any) -> tuple[Any, ...]:
    """The entries that lead to the labels, one in the other."""
    if labels is None:
        return ()
    return labels if isinstance(labels, tuple) and labels else (labels,)


def in_memory(data: Iterable[Any]) -> bool:
    """Whether data is a list of batches, which are the same ones in every pass."""
    if isinstance(data, Batches):
        return in_memory(data.data)
    return isinstance(data, list | tuple)


def taken_apart(
    item: Any, index: int, what: str
) -> tuple[tuple[Any, ...], dict[str, Any], Tensor | None, str]:
    """The positional inputs, keyword inputs, labels, and what labels are that nothing could score.

    Args:
        item: what a loader yields.
        index: its number, for messages.
        what: name of the data in messages.

    Raises:
        DataError: the item is of no known kind.
    """
    labels = None
    if isinstance(item, tuple | list) and len(item) == 2:
        item, labels = item
    elif isinstance(item, tuple | list) and len(item) == 1:
        item = item[0]
    elif isinstance(item, Mapping):
        item = dict(item)
        named = next((key for key in LABEL_KEYS if key in item), None)
        labels = None if named is None else item.pop(named)
    item = as_tensor(item)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(item, Tensor):
        args = (item,)
    elif isinstance(item, tuple | list):
        args = tuple(as_tensor(value) for value in item)
    elif isinstance(item, Mapping):
        kwargs = {name: as_tensor(value) for name, value in item.items()}
    else:
        raise DataError(
            f"Batch {index} of the {what} is {kind_of(item)}; yield tensors, (inputs, labels)"
            " tuples, or dicts for keyword networks, or say what is what by onefold.Batches."
        )
    return args, kwargs, *_labels(labels)


def parted(item: Any, every: int) -> tuple[Any, Any] | None:
    """What a loader yields, as two: without every n-th example, and these alone.

    Args:
        item: a tensor, a pair (inputs, labels), or a dict, of tensors or arrays whose first axis
            counts examples.
        every: n.

    Returns:
        The two in the form of the item; None if its parts do not count the same examples, or if
        there are fewer than 2 n.
    """
    parts = list(_leaves(item))
    sizes = {len(value) for value in parts if value.ndim}
    if len(sizes) != 1 or any(value.ndim == 0 for value in parts) or sizes.pop() < 2 * every:
        return None
    chosen = torch.zeros(len(parts[0]), dtype=torch.bool, device="cpu")
    chosen[every - 1 :: every] = True
    return _rows(item, ~chosen), _rows(item, chosen)


def _leaves(item: Any) -> Iterator[Any]:
    """The tensors and arrays of an item; anything else has no examples and is an empty array."""
    if isinstance(item, Tensor | np.ndarray):
        yield item
    elif isinstance(item, tuple | list):
        for value in item:
            yield from _leaves(value)
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _leaves(value)
    elif item is not None:
        yield np.empty(())


def _rows(item: Any, chosen: Tensor) -> Any:
    if isinstance(item, Tensor):
        return item[chosen.to(item.device)]
    if isinstance(item, np.ndarray):
        return item[chosen.numpy()]
    if isinstance(item, tuple | list):
        return tuple(_rows(value, chosen) for value in item)
    if isinstance(item, Mapping):
        return {key: _rows(value, chosen) for key, value in item.items()}
    return item


def as_tensor(value: Any) -> Any:
    """An array of numpy, or a tensor that torch.inference_mode() made, as a tensor like any other.

    Anything else, and an array that torch has no type for, is returned as it is.
    """
    if isinstance(value, np.ndarray | np.generic):
        # torch takes neither bytes in another order nor negative strides, and shares memory that
        # must not be written to under a warning.
        native = np.array(value, dtype=value.dtype.newbyteorder("="))
        with contextlib.suppress(TypeError):
            return torch.as_tensor(native)
    if isinstance(value, Tensor) and value.is_inference() and not torch.is_inference_mode_enabled():
        return value.clone()
    return value


def which_is_what(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What to do if inputs hold labels and more, as words that go on with a sentence; "" if not."""
    if len(args) > 2:
        return (
            "; if the batches are (inputs, labels, ...), pass onefold.Batches(data, inputs=0,"
            " labels=1)"
        )
    if kwargs:
        keys = list(kwargs)
        # Labels of a usual name are no longer among the entries.
        named = next((key for key in keys if "label" in key or key in ("target", "y")), "label")
        return (
            "; if not all entries are inputs, pass onefold.Batches(data,"
            f" inputs={keys[0]!r}, labels={named!r})"
        )
    return ""


def _entry(item: Any, place: Place, index: int) -> Any:
    """One entry of a batch.

    Raises:
        DataError: there is none at that place.
    """
    if isinstance(item, Mapping):
        if place in item:
            return item[place]
        near = nearest(str(place), [str(key) for key in item])
        raise DataError(f"Batch {index} of the data has no entry {place!r}; {_ended(near)}")
    if isinstance(place, str) and not isinstance(item, Tensor) and hasattr(item, place):
        return getattr(item, place)
    if isinstance(place, int) and isinstance(item, tuple | list):
        if -len(item) <= place < len(item):
            return item[place]
        raise DataError(
            f"Batch {index} of the data has {len(item)} entries and none at {place}; give a"
            f" position from 0 to {len(item) - 1}."
        )
    todo = "a position" if isinstance(item, tuple | list) else "data of tuples or dicts"
    raise DataError(
        f"Batch {index} of the data is {kind_of(item)} and has no entry {place!r}; give {todo}."
    )


def _ended(words: str) -> str:
    return words if words.endswith((".", "?")) else f"{words}."


def _labels(given: Any) -> tuple[Tensor | None, str]:
    """The labels as a tensor and "", or None and what they are if they cannot be a tensor.

    A dict of one entry, or with an entry "labels", has that entry as its labels.
    """
    if isinstance(given, Mapping) and ("labels" in given or len(given) == 1):
        given = given["labels"] if "labels" in given else next(iter(given.values()))
    given = as_tensor(given)
    if given is None or isinstance(given, Tensor):
        return given, ""
    if not isinstance(given, Mapping | str | bytes):
        with contextlib.suppress(TypeError, ValueError, RuntimeError, OverflowError):
            return torch.as_tensor(given), ""
    inside = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
    if isinstance(given, Mapping):
        inside = f" with the keys {', '.join(repr(key) for key in given)[:200]}"
    return None, f"{kind_of(given)}{inside}"
