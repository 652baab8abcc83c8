"""Recorded solutions: in memory or as one safetensors file each, exact or in a lower precision.

In a lower precision the way from the start is stored and not the value, since the way may be
smaller than the rounding error of a value. Exact files are checkpoints of the network, as
`onefold.load` reads them. Buffers are always exact.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onefold.distributed import from_first_rank, rank
from onefold.errors import OnefoldError, PersistentError
from onefold.explore.persistent.snapshot import Snapshot
from onefold.weights.atomic import explain
from onefold.weights.checksums import checksum
from onefold.weights.writer import save

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, eq=False)
class Solution:
    """The end of one round.

    Attributes:
        round: its number, from 0.
        score: as it was given to `record`; higher is better.
        file: its file, or None if it is in memory.
        displaced: whether the way from the start is stored, in a lower precision.
        checksum: of the file; "" if it is in memory.
        held: the tensors in memory; empty if there is a file.
        start: the initialisation.
    """

    round: int
    score: float
    file: Path | None
    displaced: bool
    checksum: str = field(repr=False)
    held: Mapping[str, Tensor] = field(repr=False)
    start: Snapshot = field(repr=False)

    def snapshot(self) -> Snapshot:
        """A copy of parameters and buffers, on the CPU, as exact as they are stored.

        Raises:
            PersistentError: as `stored`.
        """
        stored, parameters = self.stored(), {}
        for name, start in self.start.parameters.items():
            parameters[name] = (
                (start.cpu() + stored[name].to(start.dtype))
                if self._is_displaced(name)
                else stored[name].clone()
            )
        return Snapshot(parameters, {name: stored[name].clone() for name in self.start.buffers})

    def stored(self) -> Mapping[str, Tensor]:
        """The tensors as they are stored.

        Raises:
            PersistentError: the file is gone, or is not the file that was written.
        """
        if self.file is None:
            return self.held
        from safetensors.torch import load_file

        if not self.file.is_file():
            raise PersistentError(
                f"The solution of round {self.round} is no longer there: {self.file} is missing;"
                " put the file back."
            )
        if checksum(self.file) != self.checksum:
            raise PersistentError(
                f"{self.file} is not the solution that round {self.round} wrote, as its checksum"
                " differs; put that file back."
            )
        return load_file(self.file)

    def _is_displaced(self, name: str) -> bool:
        return self.displaced and self.start.parameters[name].is_floating_point()


class Solutions:
    """All solutions recorded so far, in order.

    Args:
        start: the initialisation.
        folder: where they are written; it is made if it is missing. None holds them in memory.
        precision: "bfloat16", "float16" or "float32", or None for exact values.

    Raises:
        PersistentError: there is no such precision.
        OutputError: the folder cannot be made.
    """

    def __init__(
        self,
        start: Snapshot,
        folder: str | os.PathLike[str] | None = None,
        precision: str | None = None,
    ) -> None:
        if precision is not None and precision not in PRECISIONS:
            raise PersistentError(
                f"Solutions are kept in {', '.join(PRECISIONS)} or, with None, as they are, not in"
                f" '{precision}'."
            )
        self.start, self.precision, self.all = start, precision, list[Solution]()
        self.folder = None if folder is None else Path(folder).expanduser()
        self._mine = False  # whether the files in the folder are of this run
        if self.folder is not None:
            try:
                self.folder.mkdir(exist_ok=True)
            except OSError as error:
                raise explain(error, self.folder) from error

    def add(self, number: int, score: float, network: nn.Module) -> None:
        """Record the network as it is now.

        Args:
            number: of the round.
            score: of the network; higher is better.
            network: as it is at the end of the round.

        Raises:
            PersistentError: a weight is not finite.
            OutputError: the solution cannot be written.
        """
        now = Snapshot.of(network)
        unfit = [
            name
            for name, tensor in (now.parameters | now.buffers).items()
            if _broken(tensor, name in now.parameters)
        ]
        if unfit:
            hold = f" and {len(unfit) - 1} other tensors hold" if len(unfit) > 1 else " holds"
            raise PersistentError(
                f"Round {number} ended in no solution: '{unfit[0]}'{hold} NaN or infinity; lower"
                " the learning rate or the strength and repeat the round with"
                " restart(abandon=True)."
            )
        tensors = {name: self._kept(name, tensor) for name, tensor in now.parameters.items()}
        tensors |= {name: tensor.cpu() for name, tensor in now.buffers.items()}
        file, digest = None, ""
        if self.folder is not None:
            # A file has all names of shared weights.
            aliases = {name: tensors[first] for name, first in _aliases(network).items()}
            file, digest = self._write(number, score, tensors | aliases)
        held = {} if file else tensors
        displaced = self.precision is not None
        self.all.append(Solution(number, score, file, displaced, digest, held, self.start))

    def check_free(self) -> None:
        """Check that the folder holds no solutions of another run, which this one would replace.

        Raises:
            PersistentError: it does.
        """
        if self.folder is None or self._mine:
            return
        there = sorted(self.folder.glob("round-*.safetensors")) if rank() == 0 else []
        if there:
            raise PersistentError(
                f"{there[0]} is a solution of another run; choose an empty folder, or load that"
                " run's state to continue it."
            )
        self._mine = True

    def state(self) -> list[dict[str, Any]]:
        """All solutions as plain data: the tensors, or the names and checksums of the files."""
        return [
            {
                "round": s.round,
                "score": s.score,
                "displaced": s.displaced,
                "file": s.file and s.file.name,
                "checksum": s.checksum,
                "tensors": dict(s.held),
            }
            for s in self.all
        ]

    def load(self, state: list[dict[str, Any]], start: Snapshot) -> None:
        """Replace the solutions by those of a `state`.

        Raises:
            PersistentError: a file is missing or changed, or there is no folder to look in.
        """
        found = []
        for each in state:
            if each["file"] and self.folder is None:
                raise PersistentError(
                    f"The solution of round {each['round']} lies in the file {each['file']}; pass"
                    " store=, the folder that holds it."
                )
            file = self.folder / each["file"] if each["file"] and self.folder is not None else None
            held = {name: tensor.cpu() for name, tensor in each["tensors"].items()}
            found.append(
                Solution(
                    each["round"],
                    each["score"],
                    file,
                    each["displaced"],
                    each["checksum"],
                    held,
                    start,
                )
            )
            found[-1].stored()
        self.start, self.all, self._mine = start, found, True

    def _kept(self, name: str, tensor: Tensor) -> Tensor:
        if self.precision is None or not tensor.is_floating_point():
            return tensor.cpu()
        way = (tensor - self.start.parameters[name].to(tensor.device)).to(
            "cpu", PRECISIONS[self.precision]
        )
        if not bool(way.isfinite().all()):
            raise PersistentError(
                f"'{name}' went too far from its start for {self.precision}; keep the solutions in"
                " bfloat16 or float32."
            )
        return way

    def _write(self, number: int, score: float, tensors: dict[str, Tensor]) -> tuple[Path, str]:
        """Write one file, by rank 0. All ranks get its path and checksum, or its error."""
        assert self.folder is not None
        self.check_free()
        file, failure = self.folder / f"round-{number:02d}.safetensors", None
        if rank() == 0:
            texts = {"onefold.round": str(number), "onefold.score": repr(score)} | (
                {} if self.precision is None else {"onefold.displacement": "true"}
            )
            # A run that was killed after it wrote the file and before it wrote its state writes the
            # round again, so that the file is replaced.
            try:
                save(tensors, file, metadata=texts, force=True, check_finite=False)
            except OnefoldError as error:
                failure = error
        failure = from_first_rank(failure)
        if failure is not None:
            raise failure
        return file, from_first_rank(checksum(file) if rank() == 0 else "")


def check_score(score: Any) -> float:
    """The score as a number.

    Raises:
        PersistentError: it is no number, or NaN.
    """
    try:
        value = float(score)
    except (TypeError, ValueError) as error:
        raise PersistentError(
            f"A round's score is a number, higher is better, not {score!r}."
        ) from error
    if math.isnan(value):
        raise PersistentError(
            "The score is NaN, which cannot be compared; record a number, such as the accuracy on"
            " validation data."
        )
    return value


def _aliases(network: nn.Module) -> dict[str, str]:
    """The further names of shared parameters, each with the first name."""
    first: dict[int, str] = {}
    return {
        n: first[id(p)]
        for n, p in network.named_parameters(remove_duplicate=False)
        if first.setdefault(id(p), n) != n
    }


def _broken(tensor: Tensor, weight: bool) -> bool:
    """Whether a tensor holds NaN, or a weight an infinity.

    Buffers may hold infinities, as masks do.
    """
    return tensor.is_floating_point() and not bool(
        tensor.isfinite().all() if weight else ~tensor.isnan().any()
    )
