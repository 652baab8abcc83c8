"""Values that can be carried out and most likely are mistakes: each gets a warning.

mergekit runs them without a word, so that none is refused here. A value counts where no filter and
no gradient gives tensors another one.
"""

from __future__ import annotations

from collections.abc import Iterator

from onefold.checkpoints.document.content import Document, Entry, Reference
from onefold.checkpoints.document.parameters import Values
from onefold.checkpoints.document.scalars import scalar_of
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.checkpoints.methods.parameters import Parameter
from onefold.documents.problems import Keys

BASE = "the result is the base"
NOTHING = {  # a setting that makes all of it nothing where it is 0 -> what then is
    "lambda": BASE,
    "select_topk": f"no element is kept and {BASE}",
}
BETWEEN = ("slerp",)  # methods whose t leads from one model to the other
Doubt = tuple[Keys, str]


def doubtful_values(document: Document) -> list[Doubt]:
    """The places of such values, each with the end of a sentence.

    Args:
        document: a document whose values fit its method.
    """
    found: dict[Doubt, None] = {}
    for module in document.modules:
        for part in parts_of(module):
            values = Values(document, module, with_base(document, part))
            found.update(dict.fromkeys(_of_settings(values)))
            found.update(dict.fromkeys(_of_models(values)))
    return list(found)


def _of_settings(values: Values) -> Iterator[Doubt]:
    for one in values.shared:
        entries = list(_reached(values, one, None))
        points = _points(one, entries)
        if one.name in NOTHING and points and not any(points):
            yield entries[0].at, f"it is 0, so that {NOTHING[one.name]}"
        if one.name == "t" and values.document.method in BETWEEN:
            for entry in entries:
                beyond = [p for p in _numbers(one, [entry]) if not 0 <= p <= 1]
                if beyond:
                    yield (
                        entry.at,
                        f"{beyond[0]:g} lies beyond both models, as 0 is the base and 1 the other"
                        " model",
                    )


def _of_models(values: Values) -> Iterator[Doubt]:
    merged = [one.model for one in values.part.inputs if values.merges(one.model)]
    known = {one.name: one for one in values.per_model if one.used}
    for name in ("weight", "scale"):
        if name in known and merged:
            entries = [list(_reached(values, known[name], model)) for model in merged]
            points = [_points(known[name], one) for one in entries]
            if all(one and not any(one) for one in points):
                compared = values.base is not None and not values.kind.takes_base_as_model
                effect = BASE if compared else "every merged number is 0"
                which = f"every {name} is" if len(merged) > 1 else f"the {name} is"
                yield entries[0][0].at, f"{which} 0, so that {effect}"
    if "density" in known:
        for model in merged:
            entries_ = list(_reached(values, known["density"], model))
            points_ = _points(known["density"], entries_)
            if points_ and not any(points_):
                text = f"the density of {model} is 0, so that nothing of its changes is kept"
                yield entries_[0].at, text


def _reached(values: Values, one: Parameter, model: Reference | None) -> Iterator[Entry]:
    """The entries that give some tensor its value, from the highest precedence."""
    for level in values.levels(model):
        entries = [entry for entry in level.get(one.name, ()) if entry.value != ()]
        yield from entries
        if any(entry.filter is None for entry in entries):
            return


def _points(one: Parameter, entries: list[Entry]) -> list[float]:
    """All numbers of the entries; [] if they leave tensors to the default."""
    whole = entries and entries[-1].filter is None
    return _numbers(one, entries) if whole else []


def _numbers(one: Parameter, entries: list[Entry]) -> list[float]:
    """All numbers of the entries; [] if one of them is none."""
    found = []
    for entry in entries:
        points = entry.value if isinstance(entry.value, tuple) else (entry.value,)
        for point in points:
            value = scalar_of(point, one.scalar_kind)
            if isinstance(value, bool) or not isinstance(value, int | float):
                return []
            found.append(float(value))
    return found
