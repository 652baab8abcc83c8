"""Alignment: one map for each group and member, which is applied, printed, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batchnorm import fold_norms
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.errors import AlignmentError
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, fold_scales
from onefold.symmetry.coverage import shortfall
from onefold.weights import load, read, save

M = TypeVar("M", bound=nn.Module)
PLAIN = (  # the fields that are saved as JSON, in this order
    "method",
    "reference",
    "members",
    "conditions",
    "matchers",
    "fallbacks",
    "probes",
    "examples",
    "numbers",
    "settings",
    "folds_norms",
    "folds_scales",
)


@dataclass(frozen=True, repr=False)
class Alignment:
    """The maps of the features of K networks onto the reference's, or into a common basis.

    Attributes:
        method: the name of the matcher that was asked for.
        spec: the symmetries of the networks; of the reference if widths differ.
        reference: the member that keeps its basis; None: all are mapped into a common one.
        members: K.
        maps: group -> one map for each member. The reference's is the identity, except with
            matchers that map all members at once.
        scores: group -> (K, C) correlations of matched features: canonical correlations if the map
            is dense, ones for the reference.
        conditions: group -> the condition number of each member's map.
        matchers: group -> the name of the matcher that solved it.
        fallbacks: group -> why another matcher than `method` solved it, or why it stayed in place.
        probes: group -> the nodes where it was read.
        folds_norms: batch norms are folded into their layers before the maps act.
        folds_scales: the learned scales of norms are folded into the weights behind them before
            the maps act.
        examples: how many calibration examples were read.
        numbers: how many float64 numbers of moments were in memory at once.
        seconds: phase -> seconds; neither saved nor compared.
        specs: the symmetries of each member, if they have unequal widths; else None.
        settings: the settings of the matcher and of the reading, as plain data.
    """

    method: str
    spec: SymmetrySpec
    reference: int | None
    members: int
    maps: dict[str, tuple[GroupMap, ...]]
    scores: dict[str, Tensor]
    conditions: dict[str, tuple[float, ...]]
    matchers: dict[str, str]
    fallbacks: dict[str, str] = field(default_factory=dict)
    probes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folds_norms: bool = False
    folds_scales: bool = False
    examples: int = 0
    numbers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    specs: tuple[SymmetrySpec, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @checked
    @isolated
    def apply_to_state(self, state: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """The state dict of `member` in the reference's basis.

        Tensors that moved are new, `state` is not modified.

        Raises:
            AlignmentError: there is no such member.
        """
        if not 0 <= member < self.members:
            raise AlignmentError(
                f"The alignment was computed for {self.members} members, so there is no member"
                f" {member}."
            )
        spec = self.specs[member] if self.specs else self.spec
        if self.folds_norms:
            state = fold_norms(state, spec.layers)
        if self.folds_scales:
            state = fold_scales(state, spec)
        return apply_maps(state, spec, {group: maps[member] for group, maps in self.maps.items()})

    @checked
    @isolated
    def apply(self, models: Sequence[M]) -> list[M]:
        """Copies of the networks in one common basis, in the same order.

        The inputs stay as they are. With permutations each copy computes what its original does.
        Dense maps are exact only up to the nonlinearities: evaluate each copy alone to see what the
        map cost.

        Raises:
            AlignmentError: another number of networks than the alignment was computed for.
        """
        if len(models) != self.members:
            raise AlignmentError(
                f"The alignment was computed for {self.members} members but {len(models)} were"
                " given; pass all of them, in order."
            )
        return list(self.each(models))

    def each(self, models: Sequence[M]) -> Iterator[M]:
        """The copies of `apply` one after the other, so that no two need be in memory."""
        for k, model in enumerate(models):
            twin = copied(models[self.reference or 0] if self.specs else model)
            twin.load_state_dict(self.apply_to_state(model.state_dict(), k))
            clear_eval_caches(twin)
            yield twin

    def table(self) -> list[dict[str, Any]]:
        """One row of facts for each group, as plain data.

        Its keys are "group", "features", "matcher", "probe", "mean correlation" and "least
        correlation" over the members but the reference, "condition number" (the worst) and "note"
        (the fallback).
        """
        rows = []
        for group in self.spec.groups:
            if group.name not in self.maps:
                continue
            others = [k for k in range(self.members) if k != self.reference]
            scores = self.scores[group.name][others]
            rows.append(
                {
                    "group": group.name,
                    "features": group.size,
                    "matcher": self.matchers[group.name],
                    "probe": _shown_probes(self.probes.get(group.name, ())),
                    "mean correlation": float(scores.mean()) if scores.numel() else 1.0,
                    "least correlation": float(scores.min()) if scores.numel() else 1.0,
                    "condition number": max(self.conditions[group.name]),
                    "note": self.fallbacks.get(group.name, ""),
                }
            )
        return rows

    @property
    def warnings(self) -> list[str]:
        """Notes on what could not be done as asked, one sentence each.

        They say that little can move, which groups another matcher served or stayed in place, and
        why.
        """
        short = shortfall(self.spec) if self.method != "identity" else None
        groups: dict[str, list[str]] = {}
        for group, reason in self.fallbacks.items():
            served = self.matchers[group]
            note = f"{served} instead of {self.method} ({reason})"
            groups.setdefault(reason if served == self.method else note, []).append(group)
        notes = [f"{', '.join(names)}: {note}" for note, names in groups.items()]
        return [short, *notes] if short else notes

    def __repr__(self) -> str:
        return (
            f"Alignment({self.members} members, {self.method}, reference={self.reference},"
            f" {len(self.maps)} groups, {self.examples} examples)"
        )

    def _repr_html_(self) -> str:
        """The short form in a notebook: how well each group matches."""
        aim = "a common basis" if self.reference is None else f"member {self.reference}"
        rows = [
            (
                row["group"],
                f"{row['features']:,}",
                row["matcher"],
                f"{row['mean correlation']:.3f}",
                f"{row['least correlation']:.3f}",
            )
            for row in self.table()
        ]
        return card(
            f"{self.members} networks mapped to {aim} by {self.method}",
            [f"Note: {one}." for one in self.warnings],
            ("group", "features", "matcher", "mean correlation", "least"),
            rows,
            more=f"From {self.examples:,} examples; print(alignment) tells all.",
        )

    def __str__(self) -> str:
        lines = [
            f"{'group':<8}{'features':>9}  {'matcher':<13}{'mean corr.':>10}{'least':>8}"
            f"{'condition':>11}  probe"
        ]
        for row in self.table():
            note = f"  ({row['note']})" if row["note"] else ""
            lines.append(
                f"{row['group']:<8}{row['features']:>9}  {row['matcher']:<13}"
                f"{row['mean correlation']:>10.3f}{row['least correlation']:>8.3f}"
                f"{row['condition number']:>11.3g}  {row['probe']}{note}"
            )
        aim = "a common basis" if self.reference is None else f"member {self.reference}"
        lines.append(
            f"{self.members} members mapped to {aim} by {self.method}, from {self.examples}"
            " examples."
        )
        if self.method != "identity" and (short := shortfall(self.spec)):
            lines.append(f"note: {short}")
        return "\n".join(lines)

    @checked
    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything but the seconds to one safetensors file.

        Equal alignments give equal bytes.

        Args:
            path: the file.
            force: replace a file that is there.

        Raises:
            OutputError: the path exists and `force` is not given, or it cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for group, maps in self.maps.items():
            tensors[f"scores/{group}"] = self.scores[group]
            for k, m in enumerate(maps):
                tensors[f"forward/{group}/{k}"] = m.forward
                if m.inverse is not None:
                    tensors[f"inverse/{group}/{k}"] = m.inverse
        facts = {name: getattr(self, name) for name in PLAIN}
        facts["kinds"] = {g: [m.kind for m in maps] for g, maps in self.maps.items()}
        metadata = {"onefold.alignment": json.dumps(facts), "onefold.spec": self.spec.to_json()}
        for k, spec in enumerate(self.specs or ()):
            metadata[f"onefold.spec.{k}"] = spec.to_json()
        save(tensors, path, metadata=metadata, force=force)

    @staticmethod
    @checked
    def load(path: str | Path) -> Alignment:
        """The alignment that `save` wrote.

        Raises:
            WeightsError: the file cannot be read.
            AlignmentError: it holds no alignment.
        """
        metadata = read(path).metadata
        if "onefold.alignment" not in metadata:
            raise AlignmentError(
                f"{path} holds no alignment; give a file written by Alignment.save or `onefold"
                " align`."
            )
        facts, tensors = json.loads(metadata["onefold.alignment"]), load(path)
        maps = {
            group: tuple(
                GroupMap(kind, tensors[f"forward/{group}/{k}"], tensors.get(f"inverse/{group}/{k}"))
                for k, kind in enumerate(kinds)
            )
            for group, kinds in facts.pop("kinds").items()
        }
        scores = {group: tensors[f"scores/{group}"] for group in maps}
        facts["probes"] = {group: tuple(nodes) for group, nodes in facts["probes"].items()}
        facts["conditions"] = {
            group: tuple(values) for group, values in facts["conditions"].items()
        }
        keys = [f"onefold.spec.{k}" for k in range(facts["members"])]
        texts = [metadata[key] for key in keys if key in metadata]
        specs = tuple(SymmetrySpec.from_json(text) for text in texts) or None
        return Alignment(
            spec=SymmetrySpec.from_json(metadata["onefold.spec"]),
            specs=specs,
            maps=maps,
            scores=scores,
            **facts,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alignment):
            return NotImplemented
        return bool(_flat(self) == _flat(other))

    __hash__ = None  # type: ignore[assignment]


def _shown_probes(probes: tuple[str, ...]) -> str:
    return probes[0] + (f" and {len(probes) - 1} more" if len(probes) > 1 else "") if probes else ""


def _flat(value: Any) -> Any:
    """A structure without tensors, for comparison."""
    if isinstance(value, Tensor):
        return (value.dtype, tuple(value.shape), value.tolist())
    if isinstance(value, SymmetrySpec):
        return value
    if isinstance(value, Alignment | GroupMap):
        fields = [name for name in value.__dataclass_fields__ if name != "seconds"]
        return {name: _flat(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {k: _flat(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_flat(v) for v in value]
    return value
