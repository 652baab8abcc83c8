"""What a merge did, or would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onefold.checkpoints.document import Document
from onefold.checkpoints.plan.estimate import Estimate, Room
from onefold.printable import counted


@dataclass(frozen=True)
class MergedCheckpoint:
    """What `merge_checkpoints` did, or would do.

    Attributes:
        path: the folder of the result.
        written: whether it was written; False: the plan was made alone.
        document: the document of the result.
        merged: number of tensors that were merged.
        copied: number of tensors that were copied.
        donor: the model whose config the result has.
        files: the files of weights.
        estimate: bytes, memory and the least time.
        seconds: how long it took.
        notes: one sentence for each thing that was decided and may surprise.
        warned: those of the notes that cast doubt on the merge.
        task_vectors: model -> the length of its task vector over that of its base's weights, told
            from a sample; empty without a base.
        seed: that of random masks, if it was given; else None.
        tokenizer: the model whose tokenizer the result has; None: the donor's, if it has one.
        rows: for each model how many rows of the vocabulary are from where.
        resumed: number of files of weights that an earlier run had finished.
        before: the results of the documents that this one refers to.
        room: of a plan, what all results take on the disk and what is free there; else None.
    """

    path: Path
    written: bool
    document: Document
    merged: int
    copied: int
    donor: str
    files: tuple[str, ...]
    estimate: Estimate
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    task_vectors: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    tokenizer: str | None = None
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    resumed: int = 0
    before: tuple[MergedCheckpoint, ...] = ()
    room: Room | None = None

    def __str__(self) -> str:
        """What was done, in a few sentences."""
        done, copied = ("Merged", "copied") if self.written else ("Would merge", "copy")
        lines = [
            f"{done} {counted(self.merged, 'tensor')} by {self.document.method} and"
            f" {copied} {self.copied} into {self.path} ({counted(len(self.files), 'file')} of"
            f" weights; {self.donors})."
        ]
        if not self.written:
            lines += [self.estimate.text, *([] if self.room is None else [self.room.text])]
        return "\n".join([*self.notes, *lines])

    @property
    def donors(self) -> str:
        """Whose config and tokenizer it has; of a single file, whose metadata."""
        if self.path.suffix == ".safetensors":
            return f"metadata of {self.donor}"
        if self.tokenizer in (None, self.donor):
            return f"config and tokenizer of {self.donor}"
        return f"config of {self.donor}, tokenizer of {self.tokenizer}"
