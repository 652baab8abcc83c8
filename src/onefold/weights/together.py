"""The files of one result: finished one by one under hidden names, then all placed at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import nn

from onefold.errors import OutputError
from onefold.weights.atomic import check_output, explain, fill, staged
from onefold.weights.checksums import checksum
from onefold.weights.placing import place_together
from onefold.weights.writer import save


class FilesTogether:
    """Files that are written one by one, and that appear together; see `together`.

    Args:
        folder: a hidden folder, which is there.
        places: where the files shall come, in this order.
    """

    def __init__(self, folder: Path, places: Sequence[Path]) -> None:
        self._folder = folder
        self._ready = {
            place: folder / f"{number}{place.suffix}" for number, place in enumerate(places)
        }

    def save(self, network: nn.Module, place: Path, metadata: Mapping[str, str]) -> str:
        """Write a checkpoint for one of the places, as `onefold.save` does.

        Returns:
            The SHA-256 of the file.

        Raises:
            OutputError: the disk is full or refuses; the message names the place.
            WeightsError: the network is not finite.
        """
        finished = self._ready[place]
        try:
            save(network, finished, metadata=metadata)
        except OutputError as error:
            raise OutputError(str(error).replace(str(finished), str(place))) from error
        return checksum(finished)

    def write(self, text: str, place: Path) -> None:
        """Write a text for one of the places. Raises OutputError if the disk refuses."""
        fill(self._ready[place], text, place)

    def place(self, *, force: bool = False, remove: Iterable[Path] = ()) -> None:
        """Put all files into their places.

        Args:
            force: existing files are replaced.
            remove: files that go when the others have come.

        Raises:
            OutputError: a file has appeared meanwhile and `force` is false, or the operating system
                refuses.
        """
        for place in self._ready:
            check_output(place, force)
        try:
            place_together(self._folder, self._ready, remove)
        except OSError as error:
            raise explain(error, next(iter(self._ready))) from error


@contextlib.contextmanager
def together(target: Path, places: Sequence[Path]) -> Iterator[FilesTogether]:
    """Files that belong together. What is not placed when the block ends is removed.

    Args:
        target: the name beside which the hidden folder lies, and by which the next writer finds
            what this one left if it is killed.
        places: where the files shall come, in this order.
    """
    with staged(target) as folder:
        folder.mkdir()
        yield FilesTogether(folder, places)
