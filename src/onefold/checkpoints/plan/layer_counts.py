"""Numbers of layers in a config, where slices write other numbers than the donor has.

A config may say several of them: of the text and of the vision, of the encoder and of the decoder.
The one that is meant is told by its key, or by the part of the config that it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.content import WHOLE
from onefold.checkpoints.layouts.layers import COUNTS
from onefold.checkpoints.plan.regions import is_language, words
from onefold.errors import WeightsError
from onefold.printable import counted

Layers = Mapping[str, tuple[int, int]]  # module -> the number of layers before and after
TEXT = "text_config"
KEYS = (*COUNTS, "num_encoder_layers", "num_decoder_layers", "decoder_layers")
EACH = ("layer_types", "sliding_window_pattern")  # keys of lists with an entry for each layer
SIDES = ("encoder", "decoder")
STEM = 3  # letters by which words are alike, as "vision" and "visual"
DEPTH = 3  # parts of a config within one another


def parts_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The config itself and its part on the text."""
    inner = config.get(TEXT)
    return [config, *([inner] if isinstance(inner, dict) else [])]


def set_layers(config: dict[str, Any], module: str, old: int, new: int, path: Path) -> None:
    """Enter the number of layers of a module.

    Args:
        config: is changed.
        module: the name of the module.
        old: the number that stands there.
        new: the number that is written.
        path: where the config is from, for errors.

    Raises:
        WeightsError: the config does not say the number, or says another.
    """
    places = list(_places(config, module, old))
    for part, key in places:
        part[key] = new
        for each in EACH:
            value = part.get(each)
            if isinstance(value, list) and len(value) == old and len(set(map(str, value))) == 1:
                part[each] = value[:1] * new
    if not places:
        of = "" if module == WHOLE else f" for the module '{module}'"
        raise WeightsError(
            f"{path} does not say {counted(old, 'layer')}{of} under any of {', '.join(KEYS)}, so"
            f" that {new} cannot be written there; merge without slices."
        )


def _places(config: dict[str, Any], module: str, old: int) -> list[tuple[dict[str, Any], str]]:
    """Where a config says the number of layers of a module."""
    every = [
        (way, part, key)
        for way, part in _all_parts(config, ())
        for key in KEYS
        if part.get(key) == old and not isinstance(part[key], bool)
    ]
    if module == WHOLE:
        return [(part, key) for way, part, key in every if way in ((), (TEXT,)) and key in COUNTS]
    if is_language(module):
        inner = [(part, key) for way, part, key in every if way == (TEXT,)]
        return inner or [(part, key) for way, part, key in every if not way]
    stems = {word[:STEM] for word in words(module)}
    told = [
        (part, key)
        for way, part, key in every
        if stems & {word[:STEM] for name in (*way, key) for word in words(name)}
    ]
    if told:
        return told
    others = {side[:STEM] for side in SIDES} - stems  # num_layers beside num_decoder_layers
    return [
        (part, key)
        for way, part, key in every
        if not way and not others & {word[:STEM] for word in words(key)}
    ]


def _all_parts(
    part: dict[str, Any], way: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    yield way, part
    for key, value in part.items():
        if isinstance(value, dict) and len(way) < DEPTH:
            yield from _all_parts(value, (*way, key))
