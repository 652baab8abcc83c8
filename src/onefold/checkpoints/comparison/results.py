"""What a comparison of checkpoints holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from onefold.notebook import card

Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Change:
    """How the members changed one tensor, one layer, or everything.

    Attributes:
        name: of the tensor or layer.
        tensors: how many tensors it is.
        norm: the length of the origin's weights.
        relative: for each member, the length of its task vector over that of the origin's weights,
            of the tensors that both have in one shape; None: there is none, or the weights are 0.
        cosines: for every two members, the cosine of their task vectors; None: one of them is 0.
        conflicts: for every two members, the share of places where the signs of their largest
            changes differ, among those where both are large; None: there are none.
        equal: for each member, the tensors that are equal to the origin's, bit for bit or in value.
    """

    name: str
    tensors: int
    norm: float
    relative: tuple[float | None, ...]
    cosines: Matrix
    conflicts: Matrix
    equal: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NonFinite:
    """A tensor with values that are not finite.

    Attributes:
        checkpoint: its name.
        file: the file.
        tensor: the tensor.
        nans: the number of NaN.
        infinite: the number of infinite values.
    """

    checkpoint: str
    file: str
    tensor: str
    nans: int
    infinite: int


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer file that is not the same in all checkpoints.

    Attributes:
        file: its name.
        hashes: checkpoint -> SHA-256, None where it is missing.
        tokens: checkpoint -> the number of tokens, of tokenizer.json alone.
        moved: checkpoint -> tokens of the origin that have another number there or are missing.
    """

    file: str
    hashes: Mapping[str, str | None]
    tokens: Mapping[str, int] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Differences:
    """What is not a matter of values.

    Attributes:
        dtypes: checkpoint -> dtype -> number of tensors; empty if all have the same.
        missing: checkpoint -> tensors of the origin that it lacks.
        extra: checkpoint -> tensors that the origin lacks.
        shapes: tensor -> checkpoint -> shape, of those whose shapes differ.
        config: key -> checkpoint -> value, of the keys that decide how weights are used.
        tokenizers: the tokenizer files that differ.
        quantised: checkpoint -> a tensor of numbers that mean nothing without their scales.
    """

    dtypes: Mapping[str, Mapping[str, int]]
    missing: Mapping[str, tuple[str, ...]]
    extra: Mapping[str, tuple[str, ...]]
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]]
    config: Mapping[str, Mapping[str, Any]]
    tokenizers: tuple[TokenizerFile, ...]
    quantised: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointComparison:
    """How checkpoints differ.

    Attributes:
        paths: of all checkpoints by name, the origin first.
        origin: the name of the checkpoint that changes are measured from.
        origin_is: "given" as the base; "likely" the base, as told from the weights; or "unknown":
            one is as good as another.
        members: the names of the others.
        total: the change of all tensors. Its `relative` counts tensors of two axes or more, if
            there are any: norms and biases are alike in networks that were trained apart.
        layers: the change of each layer.
        tensors: the change of each tensor.
        non_finite: the tensors with NaN or infinite values; their places are left out of all sums.
        differences: what is not a matter of values.
        advice: one sentence each.
        ancestors: checkpoint -> the models that it says it was merged from.
    """

    paths: Mapping[str, str]
    origin: str
    origin_is: str
    members: tuple[str, ...]
    total: Change
    layers: tuple[Change, ...]
    tensors: tuple[Change, ...]
    non_finite: tuple[NonFinite, ...]
    differences: Differences
    advice: tuple[str, ...] = ()
    ancestors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """What the changes are measured from, in one sentence."""
        if self.origin_is == "given":
            return f"Changes from the base {self.origin}."
        if self.origin_is == "likely":
            return f"Changes from {self.origin}, which is likely the base; give another by --base."
        return f"Changes from {self.origin}, as no base is known; give it by --base."

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of `rows`."""
        return ("member", "change (%)", "cosine", "conflicts (%)", "equal tensors", "NaN/inf")

    def rows(self) -> list[list[str]]:
        """A row for each member.

        Its change relative to the weights, the mean cosine and the mean share of conflicts with the
        other members, the tensors that it did not change, and its values that are not finite.
        """
        found = []
        for k, name in enumerate(self.members):
            bad = sum(o.nans + o.infinite for o in self.non_finite if o.checkpoint == name)
            relative = self.total.relative[k]
            cosine, conflicts = (
                mean_of(matrix[k], k) for matrix in (self.total.cosines, self.total.conflicts)
            )
            found.append(
                [
                    name,
                    "–" if relative is None else f"{100 * relative:.3g}",
                    "–" if cosine is None else f"{cosine:+.3f}",
                    "–" if conflicts is None else f"{100 * conflicts:.1f}",
                    f"{self.total.equal[k]}/{self.total.tensors}",
                    str(bad),
                ]
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        return f"CheckpointComparison({len(self.members)} members from {self.origin})"

    def __str__(self) -> str:
        cells = [list(self.headings), *self.rows()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        return "\n".join([self.heading, *lines, *self.advice])

    def _repr_html_(self) -> str:
        """The short form in a notebook."""
        title = f"{len(self.paths)} checkpoints compared"
        return card(title, (self.heading, *self.advice), self.headings, self.rows())


def mean_of(row: tuple[float | None, ...], own: int) -> float | None:
    """The mean of a row of a matrix without its own place; None: nothing is known."""
    known = [value for k, value in enumerate(row) if k != own and value is not None]
    return math.fsum(known) / len(known) if known else None
