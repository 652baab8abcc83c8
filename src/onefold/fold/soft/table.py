"""The gates as a table: gated parts in rows, members in columns, and who is out and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from onefold.report import Column, Table


@dataclass(frozen=True, eq=False)
class GateTable:
    """The gates without noise.

    Attributes:
        names: of the gated parts.
        values: (parts, members).
        dropped: member -> why it takes no part.
        masked: (part, member) -> why that gate is shut.
        pruned: member -> why it was left out after the gates were learned.
    """

    names: list[str]
    values: Tensor
    dropped: dict[int, str] = field(default_factory=dict)
    masked: dict[tuple[str, int], str] = field(default_factory=dict)
    pruned: dict[int, str] = field(default_factory=dict)

    def fates(self) -> dict[int, str]:
        """Member -> its fate, in words.

        It is screened out or gated out, with the reason, or kept in some of the parts.
        """
        told = {}
        for k in range(self.values.shape[1]):
            column = self.values[:, k]
            count = int((column != 0).sum())
            if k in self.dropped:
                told[k] = f"screened out: {self.dropped[k]}"
            elif k in self.pruned:
                told[k] = f"gated out: {self.pruned[k]}"
            elif count == 0:
                told[k] = "gated out: every gate is exactly 0"
            else:
                told[k] = (
                    f"kept in {count} of {len(self.names)} parts, mean gate"
                    f" {float(column.mean()):.3f}"
                )
        return told

    def table(self) -> Table:
        """A table for a report or a terminal."""
        columns = (
            Column(name="part"),
            *(Column(name=f"member {k}", digits=3) for k in range(self.values.shape[1])),
        )
        rows: Any = tuple(
            (name, *row) for name, row in zip(self.names, self.values.tolist(), strict=True)
        )
        return Table(
            columns=columns,
            rows=rows,
            caption="Gates without noise; 0.000 may stand for less than 0.0005",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "parts": self.names,
            "gates": self.values.tolist(),
            "members": {str(k): what for k, what in self.fates().items()},
            "masked": [
                {"part": part, "member": k, "why": why} for (part, k), why in self.masked.items()
            ],
        }

    def __str__(self) -> str:
        width = max(len(name) for name in ["part", *self.names])
        members = range(self.values.shape[1])
        lines = [f"{'part':<{width}}" + "".join(f"{f'member {k}':>11}" for k in members)]
        lines += [
            f"{name:<{width}}" + "".join(f"{float(v):>11.3f}" for v in row)
            for name, row in zip(self.names, self.values, strict=True)
        ]
        lines += [f"member {k}: {what}" for k, what in self.fates().items()]
        lines += [f"{part}, member {k}: masked, {why}" for (part, k), why in self.masked.items()]
        return "\n".join(lines)
