"""Which of the tensors that a network returns is meant.

Evaluation, barriers, folds, distillation, gates and ensembles all read outputs by this rule, and
the axis of the classes by that of `class_axis.py`.

A tensor by itself is meant. So is the entry `logits` of a mapping or an object, and the entry `out`
of a mapping whose other entries begin with `aux` (torchvision's segmentation). Numbers without an
axis are losses and are passed over, and so are caches for a next call, as `past_key_values` of
transformers. A single floating-point tensor that is left is meant. Several are refused: the
argument `output` says which one, by a name, an index or a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from onefold.batches import Batch
from onefold.caches import is_returned_cache
from onefold.errors import DataError, SettingError, nearest
from onefold.forward import forward

Select: TypeAlias = str | int | Callable[[Any], Any]


@dataclass(frozen=True)
class Output:
    """Which output of a network is meant, and where its classes lie.

    Attributes:
        select: a key or attribute, an index, or a function from what the network returns to a
            tensor. None: the one tensor, or `logits`, or `out` beside auxiliary outputs.
        class_axis: of that tensor, with the batch as axis 0; negative ones count from the end.
            None: it is told from the shapes of outputs and labels.
    """

    select: Select | None = None
    class_axis: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.select, bool) or not (
            self.select is None or isinstance(self.select, str | int) or callable(self.select)
        ):
            raise SettingError(
                f"The output to use is {self.select!r}; give a name, an index or a function."
            )
        if self.class_axis is not None and (
            isinstance(self.class_axis, bool) or not isinstance(self.class_axis, int)
        ):
            raise SettingError(
                f"The class axis is {self.class_axis!r}; give the number of an axis, as 1 or -1."
            )
        if self.class_axis == 0:
            raise SettingError(
                "The class axis is 0, which is the axis of the examples; give another, as 1 or -1."
            )

    def of(self, returned: Any, network: nn.Module | None = None) -> Tensor:
        """The meant tensor among those that a network returned.

        Args:
            returned: by the network.
            network: which returned it. Ensembles and mixtures of this library select for their
                members, and return the tensor itself; they say so by the attribute
                `selects_output`.

        Raises:
            DataError: it cannot be known which tensor is meant, or there is no such output.
        """
        if self.select is None or (
            isinstance(returned, Tensor) and getattr(network, "selects_output", False)
        ):
            return _the_one(returned)
        found = self.select(returned) if callable(self.select) else _entry(returned, self.select)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            what = (
                str(found.dtype).removeprefix("torch.")
                if isinstance(found, Tensor)
                else type(found).__name__
            )
            shown = "the function `output`" if callable(self.select) else f"output={self.select!r}"
            raise DataError(
                f"What {shown} gives is a {what} and not a floating-point tensor;"
                f" {_told(returned)}."
            )
        return found

    def to_dict(self) -> dict[str, str | int | None]:
        """Plain data for JSON; a function becomes its name."""
        name = (
            getattr(self.select, "__name__", "a function") if callable(self.select) else self.select
        )
        return {"select": name, "class_axis": self.class_axis}


def described(output: Output) -> dict[str, str | int | None]:
    """An Output as plain data for a file, from which `restored` makes it again.

    Raises:
        SettingError: the output is a function.
    """
    if callable(output.select):
        raise SettingError(
            "A network whose output is chosen by a function cannot be written to a file; choose it"
            " by a name or an index."
        )
    return output.to_dict()


def restored(facts: Any) -> Output:
    """The inverse of `described`; None gives ANY.

    Raises:
        ValueError: the data is damaged.
    """
    if facts is None:
        return ANY
    if not isinstance(facts, Mapping) or not isinstance(facts.get("select"), str | int | None):
        raise ValueError("its output is described in another way")
    return Output(facts.get("select"), facts.get("class_axis"))


OutputChoice: TypeAlias = Output | Select | None
ANY = Output()  # nothing is said: the rules decide


def as_output(output: OutputChoice) -> Output:
    """The Output that an argument `output=` stands for.

    Raises:
        SettingError: the argument is no name, index, function or Output.
    """
    return output if isinstance(output, Output) else Output(output)


def run(
    network: nn.Module, batch: Batch, output: Output = ANY, dtype: torch.dtype | None = None
) -> Tensor:
    """The meant output of `network` on `batch`, in its own axes.

    Args:
        network: runs in its present mode.
        batch: on the network's device.
        output: which output is meant.
        dtype: to which floating inputs are cast; None leaves them.

    Raises:
        DataError: as `onefold.batches.forward` and `Output.of`.
    """
    return output.of(forward(network, batch, dtype), network)


def floating_outputs(
    returned: Any, output: Output = ANY, network: nn.Module | None = None
) -> list[Tensor]:
    """The meant tensor if it is known, else every floating-point tensor that has an axis.

    It is for callers that need no scores.
    """
    if output.select is None:
        try:
            return [_the_one(returned)]
        except DataError:
            return [tensor for _, tensor in _tensors(returned)]
    return [output.of(returned, network)]


def _the_one(returned: Any) -> Tensor:
    if isinstance(returned, Tensor):
        return returned
    named = _named(returned, "logits")
    if isinstance(named, Tensor):
        return named
    if isinstance(returned, Mapping):
        out, others = returned.get("out"), [str(key) for key in returned if key != "out"]
        if isinstance(out, Tensor) and all(key.startswith("aux") for key in others):
            return out
    found = _tensors(returned)
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise DataError(
            f"The network returned a {type(returned).__name__} without a floating-point tensor;"
            " wrap it so that it returns its logits."
        )
    raise DataError(
        f"The network returns several outputs, {_listed(found)}, and nothing says which is meant;"
        " say it by output=, a name, an index or a function."
    )


def _entry(returned: Any, select: str | int) -> Any:
    if isinstance(select, str):
        found = _named(returned, select)
        if found is None:
            known = (
                [str(key) for key in returned]
                if isinstance(returned, Mapping)
                else [path for path, _ in _tensors(returned)]
            )
            raise DataError(
                f"The network returns no output named '{select}'; {_told(returned, select, known)}."
            )
        return found
    values = list(returned.values()) if isinstance(returned, Mapping) else returned
    if isinstance(values, tuple | list) and -len(values) <= select < len(values):
        return values[select]
    raise DataError(f"The network returns no output {select}; {_told(returned)}.")


def _named(returned: Any, name: str) -> Any:
    if isinstance(returned, Tensor):
        return None
    return returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)


def _told(returned: Any, name: str = "", known: list[str] | None = None) -> str:
    """What the network returns instead, as words that end a sentence."""
    if isinstance(returned, Tensor):
        return f"it returns one tensor {tuple(returned.shape)}, so leave output= out"
    found = _tensors(returned)
    close = (
        f"{nearest(name, known)} "
        if name and known and nearest(name, known).startswith("did")
        else ""
    )
    return (
        f"{close}it returns {_listed(found)}"
        if found
        else f"it returns a {type(returned).__name__} without a floating-point tensor"
    )


def _listed(found: list[tuple[str, Tensor]]) -> str:
    shown = [f"{path} {tuple(tensor.shape)}" for path, tensor in found[:6]]
    return ", ".join(shown) + (f" and {len(found) - 6} more" if len(found) > 6 else "")


def _tensors(returned: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Every different floating-point tensor with an axis, and its path in the returned value."""
    if isinstance(returned, Tensor):
        return (
            [(path or "a tensor", returned)]
            if returned.is_floating_point() and returned.dim()
            else []
        )
    entries: list[tuple[Any, Any]] = []
    if isinstance(returned, Mapping):
        entries = [(repr(key) if path else str(key), value) for key, value in returned.items()]
    elif isinstance(returned, tuple | list):
        names = getattr(returned, "_fields", range(len(returned)))
        entries = list(zip(names, returned, strict=True))
    elif hasattr(returned, "__dict__") and not isinstance(returned, nn.Module | type):
        entries = list(vars(returned).items())
    found: list[tuple[str, Tensor]] = []
    for key, value in entries:
        if is_returned_cache(key, value):
            continue
        inner = f"{path}[{key}]" if path or isinstance(key, int) else str(key)
        for place, tensor in _tensors(value, inner):
            if not any(tensor is other for _, other in found):
                found.append((place, tensor))
    return found


def broken_rows(logits: Tensor) -> Tensor:
    """(n,) bool: which rows of logits (n, classes) have no softmax.

    A class masked by -inf is no fault as long as another class is finite.
    """
    top = logits.amax(-1)  # NaN wins the maximum
    return ~top.isfinite()
