"""Configs that say unlike things of what weights mean, as another base of positions.

Sizes need no look here, since shapes tell them; tokens, heads and numbers of layers are told where
they are merged.
"""

from __future__ import annotations

from collections.abc import Mapping

from onefold.checkpoints.comparison.companions import differing_values
from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Layout

TOLD_ELSEWHERE = frozenset(
    (
        *("architectures", "vocab_size", "tie_word_embeddings", "num_labels", "num_classes"),
        *("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers"),
        *("max_position_embeddings", "n_positions", "quant_method"),
    )
)
SHOWN = 3  # keys in the sentence


class ConfigWarning(UserWarning):
    """Configs of models that are merged differ in what decides how weights are used."""


def config_doubts(layouts: Mapping[Reference, Layout], donor: Reference) -> tuple[str, ...]:
    """A sentence on the keys that differ where all configs have them; none where none does.

    There is none either if the donor has no config, as none is written then.

    Args:
        layouts: the models.
        donor: the model whose config is written.
    """
    configs = {str(model): layout.config for model, layout in layouts.items() if layout.config}
    found = {
        key: values
        for key, values in differing_values(configs).items()
        if key.rpartition(".")[2] not in TOLD_ELSEWHERE and None not in values.values()
    }
    if not found or str(donor) not in configs:
        return ()
    told = []
    for key, values in list(found.items())[:SHOWN]:
        own = values.get(str(donor))
        other = next(model for model, value in values.items() if value != own)
        told.append(f"{key} ({own} in {donor}, {values[other]} in {other})")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"The configs differ in {', '.join(told)}{more}; that of {donor} is written, and weights"
        " that were trained with another one may not fit it.",
    )
