"""A document compared with its method, before any file of a model is looked at.

What mergekit would compute as something else than was meant is refused, or told if the document is
read as mergekit reads it. What needs names of tensors is checked by `Values.merge_at`, and by
`fitting.py`.
"""

from __future__ import annotations

from onefold.checkpoints.document.content import (
    Document,
    Entry,
    Input,
    Module,
    Parameters,
    Reference,
    Slice,
)
from onefold.checkpoints.document.doubtful import doubtful_values
from onefold.checkpoints.document.findings import Findings
from onefold.checkpoints.document.methods import method_class, method_file
from onefold.checkpoints.document.misplaced import TOP
from onefold.checkpoints.document.parameters import CLAMPED, OUTSIDE, Values, cancelling
from onefold.checkpoints.document.scalars import scalar_of
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.checkpoints.document.sole_weight import sole_weight
from onefold.checkpoints.document.structure import ROOT
from onefold.checkpoints.document.unused import unused_values
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.methods.calibration import filters
from onefold.checkpoints.methods.parameters import Parameter, settings_of
from onefold.documents.problems import Keys
from onefold.errors import SettingError, nearest

BASE_LISTED = "{} is the base, so that the others are compared with it and it adds nothing itself"
HARMLESS = ("int8_mask",)  # it saves memory in mergekit, and changes no result


class Check:
    """Compares a document with its method.

    Args:
        document: the document.
        findings: where what is ignored is told.
    """

    def __init__(self, document: Document, findings: Findings) -> None:
        self.document, self.findings = document, findings
        file = method_file(document.method)
        if file is not None and not findings.trust:
            findings.refuse(
                ("merge_method",),
                f"it runs the code of {file}; read it, and give --trust (trust=True) if you trust"
                " it",
            )
        try:
            self.kind: type[Method] = method_class(document.method)
        except SettingError as error:
            findings.refuse(("merge_method",), str(error))
        self.shared = {one.name: one for one in settings_of(self.kind)}
        self.per_model = {one.name: one for one in self.kind.per_model}

    def all(self) -> None:
        """Check everything that needs no file.

        Raises:
            RecipeError: something is wrong; the message names the line.
        """
        document = self.document
        self.level(document.parameters, ("parameters",))
        self.finish()
        for module in document.modules:
            self.level(module.parameters, (*module.at, "parameters"))
            for part in module.slices:
                self.level(part.parameters, (*part.at, "parameters"))
            for part in parts_of(module):
                for one in part.inputs:
                    self.own_level(one, document.base_of(part))
                self.members(part)
                self.values(module, with_base(document, part))
        for at in unused_values(document):
            self.findings.note(at, "it is never used, as nearer ones are for all tensors")
        for at, text in doubtful_values(document):
            self.findings.doubt(at, text)

    def level(self, parameters: Parameters, at: Keys) -> None:
        """Check the values of a document, a module or a slice."""
        for name, setting in parameters.items():
            known = self.shared.get(name) or self.per_model.get(name)
            if known is None:
                self._unknown(name, (*at, name))
            else:
                self._setting(known, setting, (*at, name))

    def finish(self) -> None:
        """Check what is done behind the method."""
        finish, findings = self.document.finish, self.findings
        if finish is None:
            return
        if finish.name not in filters:
            reason = f"there is no such step; {nearest(finish.name, filters.names())}"
            findings.refuse(finish.at, reason, finish.name)
        known = {one.name: one for one in settings_of(filters.get(finish.name))}
        for name, value in finish.settings.items():
            if name not in known:
                findings.unknown((*finish.at, name), ("name", *known))
                continue
            problem = known[name].problem(scalar_of(value, known[name].scalar_kind))
            if problem is not None:
                findings.refuse((*finish.at, name), f"it {problem}")
        if self.document.base is None or self.kind.takes_base_as_model:
            findings.refuse(
                finish.at, f"{finish.name} needs a base, and {self.document.method} has none"
            )

    def own_level(self, one: Input, base: Reference | None) -> None:
        """Check the values of one model."""
        for name, setting in one.parameters.items():
            at = (*one.at, "parameters", name)
            if name in self.shared and name not in self.per_model:
                where = "of the slice or the document" if one.layers else "of the document"
                self.findings.ignore(
                    at, f"it is one value for the whole merge; write it under 'parameters' {where}"
                )
            elif name not in self.per_model:
                self._unknown(name, at)
            elif one.model == base and not self.kind.takes_base_as_model:
                self.findings.ignore(
                    at,
                    f"{self.document.method} reads no '{name}' of the base, which the other models"
                    " are compared with; leave it out",
                )
            else:
                self._setting(self.per_model[name], setting, at)

    def members(self, part: Slice) -> None:
        """Check the models of a slice: once each, the base as the method needs it, the number."""
        kind, method, document = self.kind, self.document.method, self.document
        base, seen = document.base_of(part), set()
        for one in part.inputs:
            if one.model in seen:
                self.findings.refuse(
                    (*one.at, "model"), "it is listed twice; list it once", str(one.model)
                )
            seen.add(one.model)
            listed = one.model == base and one.at[:1] != ("base_model",)
            if listed and not part.layered and not kind.takes_base_as_model and kind.most != 1:
                tell = self.findings.doubt if self.findings.source.option else self.findings.note
                tell((*one.at, "model"), BASE_LISTED.format(one.model))
        if kind.needs_base and base is None:
            self.findings.refuse(("merge_method",), f"{method} needs a base; give {{base_model}}")
        if base is not None and base not in seen:
            if part.layered and not kind.takes_base_as_model:
                reason = f"the base {base} must be one of the sources of each slice; list it"
                self.findings.refuse((*part.at, "sources"), reason)
            if kind.takes_base_as_model and not part.layered:
                text = f"{method} has no base, so that {base} is one more of the models"
                self.findings.note(("base_model",), text)
        self._count(with_base(document, part))

    def values(self, module: Module, part: Slice) -> None:
        """Check what can be computed without names: missing values, and values that do not fit."""
        values = Values(self.document, module, part)
        for parameter in values.shared:
            self._given(values, parameter, None, part.at)
        merged = [one for one in part.inputs if values.merges(one.model)]
        for one in merged:
            for parameter in values.per_model:
                self._given(values, parameter, one.model, one.at)
        levels = [*values.levels(), *(one.parameters for one in part.inputs)]
        if any(entry.filter for level in levels for some in level.values() for entry in some):
            return
        models = {one.model: "" for one in part.inputs}
        for place in (OUTSIDE, 1.0):
            method, given = values.merge_at("", models, place)
            weights = [given[model] for model in models if values.merges(model)]
            reason = cancelling(method, weights)
            if reason is not None:
                self.findings.ignore(part.at, reason)
                return
            if (text := sole_weight(method, weights)) is not None:
                self.findings.note(part.at, text)
                return

    def _given(
        self, values: Values, parameter: Parameter, model: Reference | None, at: Keys
    ) -> None:
        """Refuse a parameter without a default that no level mentions."""
        if parameter.required and not any(
            level.get(parameter.name) for level in values.levels(model)
        ):
            if self.findings.source.option:
                self.findings.missing(("parameters", parameter.name))
            of = f" of {model}" if model is not None else ""
            self.findings.refuse(
                at,
                f"{self.document.method} needs a value for '{parameter.name}'{of}; give it under"
                " 'parameters'",
            )

    def _setting(self, known: Parameter, setting: tuple[Entry, ...], at: Keys) -> None:
        for entry in setting:
            points = entry.value if isinstance(entry.value, tuple) else (entry.value,)
            gradient = isinstance(entry.value, tuple)
            for i, point in enumerate(points):
                value = scalar_of(point, known.scalar_kind)
                problem = known.problem(value)
                if problem is None:
                    continue
                where = (*entry.at, i) if gradient else entry.at
                if known.name in CLAMPED and not isinstance(value, bool | str):
                    taken = ", and is taken for the nearest" if self.findings.as_mergekit else ""
                    self.findings.ignore(where, f"it {problem}{taken}")
                else:
                    self.findings.refuse(where, f"it {problem}")
        unused = not known.used and known.name not in HARMLESS
        if unused and any(entry.value != known.default for entry in setting):
            self.findings.ignore(at, f"{self.document.method} does not use it; leave it out")

    def _unknown(self, name: str, at: Keys) -> None:
        known = sorted({*self.shared, *self.per_model})
        if name in ROOT and name not in ("models", "slices", "modules", "parameters"):
            hint = TOP
        elif not known:
            hint = f"{self.document.method} has no parameters; leave it out"
        else:
            near = nearest(name, known, f"it has {', '.join(known)}.")
            hint = f"{self.document.method} has no such parameter; {near}"
        self.findings.unknown(at, known, hint)

    def _count(self, part: Slice) -> None:
        kind, base = self.kind, self.document.base_of(part)
        as_model = kind.takes_base_as_model
        count = sum(as_model or one.model != base for one in part.inputs)
        if kind.least <= count <= (kind.most or count):
            return
        wanted = f"at least {kind.least}" if kind.most is None else f"at most {kind.most}"
        if kind.least == kind.most:
            wanted = f"exactly {kind.least}"
        plural = "model" if wanted.endswith(" 1") else "models"
        beside = " beside the base" if base is not None and not as_model else ""
        with_it = ", the base among them" if base is not None and as_model else ""
        are = "is" if count == 1 else "are"
        reason = f"{self.document.method} takes {wanted} {plural}{beside}, and {count} {are} given"
        self.findings.refuse(part.at, f"{reason}{with_it}")
