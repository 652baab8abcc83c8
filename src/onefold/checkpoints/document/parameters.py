"""The value of a parameter for one tensor of one model in one layer.

Levels, from the highest precedence: the model's own `parameters`, those of its slice, of the
module, of the document, and the default of the method. On each level the first entry whose filter
is part of the tensor's name counts; if none fits, the next level is asked.

A gradient v of length L is read at the position t of a layer within its slice, from 0 for the
first layer to 1 for the last:

    s = t (L - 1),  i = floor(s),  value = v_i + (s - i) (v_{i+1} - v_i)

Truth values and texts are not interpolated: v_i counts. The only layer of a slice has t = 1. What
stands before the first layer and behind the last one, such as embeddings and heads, has t = 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onefold.checkpoints.document.content import (
    Document,
    Entry,
    Input,
    Module,
    Parameters,
    Reference,
    Scalar,
    Slice,
)
from onefold.checkpoints.document.methods import method_class
from onefold.checkpoints.document.scalars import scalar_of
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.methods.parameters import Parameter, Value, settings_of
from onefold.documents.problems import Keys
from onefold.errors import RecipeError, SettingError

OUTSIDE = 0.0  # the position of tensors that belong to no layer
SUMMED = ("breadcrumbs", "dare_linear", "della_linear", "nuslerp", "task_arithmetic")
LEAST = 1e-8  # a sum of weights that is divided by
CLAMPED = ("density",)  # mergekit keeps everything from 1 on, and nothing below 0


def position(layer: int, layers: int) -> float:
    """Where a layer of a slice reads gradients.

    Args:
        layer: its number within the slice, from 0.
        layers: the number of layers of the slice.
    """
    return layer / (layers - 1) if layers > 1 else 1.0


def read_at(entry: Entry, kind: type, place: float) -> Scalar:
    """The value of an entry at a position; a gradient is interpolated.

    Args:
        entry: a value; if it is a gradient, of one point or more.
        kind: float, int or bool.
        place: the position, from 0 to 1.
    """
    if not isinstance(entry.value, tuple):
        return scalar_of(entry.value, kind)
    points = [scalar_of(point, kind) for point in entry.value]
    scaled = place * (len(points) - 1)
    first = int(scaled)
    start, end = points[first], points[min(first + 1, len(points) - 1)]
    if any(isinstance(point, bool | str) for point in points):
        return start
    between = scaled - first
    return scalar_of((1 - between) * start + between * end, kind)  # type: ignore[operator]


class Values:
    """The values of all parameters for one slice of the output.

    Args:
        document: the document.
        module: the module that the slice is part of.
        part: the slice; of a module that lists models, the one that `fitting.slices_of` makes.

    Raises:
        SettingError: the document's method is unknown.
    """

    def __init__(self, document: Document, module: Module, part: Slice) -> None:
        self.document, self.module, self.part = document, module, part
        self.kind: type[Method] = method_class(document.method)
        self.base = document.base_of(part)
        self._own: dict[Reference, list[Input]] = {}
        for one in part.inputs:
            self._own.setdefault(one.model, []).append(one)
        self.shared, self.per_model = settings_of(self.kind), self.kind.per_model

    def merges(self, model: Reference) -> bool:
        """Whether a model is merged, rather than the base that others are compared with."""
        return model != self.base or self.kind.takes_base_as_model

    def levels(self, model: Reference | None = None) -> Iterator[Parameters]:
        """The levels that are asked, from the highest precedence.

        Args:
            model: of a parameter that each model has; None: of one for the whole merge.
        """
        yield from (level for _, level in self.placed_levels(model))

    def placed_levels(self, model: Reference | None = None) -> Iterator[tuple[Keys, Parameters]]:
        """As `levels`, each with its place in the document."""
        for one in self._own.get(model, ()) if model is not None else ():
            yield (*one.at, "parameters"), one.parameters
        yield (*self.part.at, "parameters"), self.part.parameters
        yield (*self.module.at, "parameters"), self.module.parameters
        yield ("parameters",), self.document.parameters

    def entry(self, name: str, tensor: str, model: Reference | None = None) -> Entry | None:
        """The entry that sets a parameter; None: its default counts.

        Args:
            name: the name of the parameter.
            tensor: the name of the tensor, in the model if one is given, else in the output.
            model: the model; None: the parameter is one for the whole merge.
        """
        for level in self.levels(model):
            for entry in level.get(name, ()):
                if entry.filter is None or entry.filter in tensor:
                    if entry.value == ():  # it fits and sets nothing
                        break
                    return entry
        return None

    def value(
        self,
        parameter: Parameter,
        tensor: str,
        place: float = OUTSIDE,
        model: Reference | None = None,
    ) -> Value:
        """The value of a parameter.

        Args:
            parameter: one of the method's.
            tensor: the name of the tensor, in the model if one is given, else in the output.
            place: where gradients are read.
            model: the model; None: the parameter is one for the whole merge.

        Raises:
            RecipeError: it is missing, of a wrong type or out of range.
        """
        entry = self.entry(parameter.name, tensor, model)
        if entry is None:
            if parameter.required:
                raise self._missing(parameter, tensor, model)
            return parameter.default
        found = read_at(entry, parameter.scalar_kind, place)
        if parameter.name in CLAMPED and not isinstance(found, bool | str):
            found = min(max(found, parameter.low), parameter.high)
        if problem := parameter.problem(found):
            raise self.document.error(entry.at, f"{self._where(tensor)}it {problem}")
        return found  # type: ignore[return-value]

    def method_at(self, tensor: str, place: float = OUTSIDE) -> Method:
        """The method with its settings for one tensor of the output.

        Args:
            tensor: the name of the tensor in the output.
            place: where gradients are read.

        Raises:
            RecipeError: a setting is missing, of a wrong type or out of range.
        """
        given = {one.field: self.value(one, tensor, place) for one in self.shared}
        try:
            return self.kind(**given)
        except RecipeError:
            raise
        except SettingError as error:
            raise self.document.error(
                ("parameters",), f"{self._where(tensor)}{_begun(str(error))}"
            ) from None

    def of(self, model: Reference, tensor: str, place: float = OUTSIDE) -> dict[str, Value]:
        """The parameters that one model has for one of its tensors; of a base that is none, {}.

        Args:
            model: the model.
            tensor: the name of the tensor in this model.
            place: where gradients are read.

        Raises:
            RecipeError: one is missing, of a wrong type or out of range.
        """
        if not self.merges(model):
            return {}
        return {one.name: self.value(one, tensor, place, model) for one in self.per_model}

    def merge_at(
        self, tensor: str, names: Mapping[Reference, str], place: float = OUTSIDE
    ) -> tuple[Method, dict[Reference, dict[str, Value]]]:
        """The method for one tensor, and the parameters of all models, checked together.

        Args:
            tensor: the name of the tensor in the output.
            names: its name in each model that has it.
            place: where gradients are read.

        Raises:
            RecipeError: a value is missing or wrong, or the values do not go together, as weights
                that sum to 0.
        """
        method = self.method_at(tensor, place)
        given = {model: self.of(model, name, place) for model, name in names.items()}
        merged = [values for model, values in given.items() if self.merges(model)]
        problem = method.problem(merged) if merged else None
        if problem is None and not self.document.as_mergekit:
            problem = cancelling(method, merged)
        if problem is not None:
            raise self.document.error(self.part.at, self._where(tensor) + _begun(problem))
        return method, given

    def _where(self, tensor: str) -> str:
        return f"at '{tensor}', " if tensor else ""

    def _missing(self, parameter: Parameter, tensor: str, model: Reference | None) -> RecipeError:
        at, of = self.part.at, ""
        if model is not None:
            of = f" of {model}"
            at = next((one.at for one in self._own.get(model, ())), at)
        return self.document.error(
            at,
            f"{self._where(tensor)}'{parameter.name}'{of} has no value; give one under"
            " 'parameters' without a filter, behind those with filters",
        )


def _begun(sentence: str) -> str:
    """A sentence as the rest of one."""
    return sentence[:1].lower() + sentence[1:]


def cancelling(method: Method, merged: Sequence[Mapping[str, Value]]) -> str | None:
    """A sentence on weights whose sum is 0, by which mergekit quietly does not divide; else None.

    Args:
        method: the method with its settings.
        merged: the parameters of the models that are merged.
    """
    if method.label not in SUMMED or not getattr(method, "normalize", True):
        return None
    weights = [float(values["weight"] or 0.0) for values in merged]
    if abs(sum(weights)) >= LEAST or not (any(weights) or method.label == "nuslerp"):
        return None
    return f"The weights of {method.label} sum to 0, by which nothing can be divided; change one."
