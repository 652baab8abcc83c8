"""Tensors beside the weights: constants that are copied, and averages of weights.

A file of Stable Diffusion holds the schedule of its noise and the positions of its text encoder,
which are no weights: a sum of them with weights other than 1 would be a wrong schedule. It may hold
an exponential moving average of its weights (`model_ema.*`), which means something only for the
weights that it stands beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from onefold.checkpoints.layouts.layout import Layout
from onefold.printable import counted

COUNTS = ("position_ids", "num_batches_tracked")  # ends of names
CONSTANTS = frozenset(
    {
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "denoiser.sigmas",
        "model_sampling.sigmas",
        "scale_factor",
        "model_ema.decay",
        "model_ema.num_updates",
    }
)
AVERAGE = "model_ema."

K = TypeVar("K")


def is_constant(name: str) -> bool:
    """Whether a tensor holds constants or counts, as its name tells."""
    return name in CONSTANTS or name.rpartition(".")[2] in COUNTS


def with_whole_averages(layouts: Mapping[K, Layout]) -> dict[K, Layout]:
    """The layouts without averages of weights, unless all of them have the same ones.

    What is left out or merged is told in a note of the layout.
    """
    names = {
        model: [name for name in layout.tensors if name.startswith(AVERAGE)]
        for model, layout in layouts.items()
    }
    if not any(names.values()):
        return dict(layouts)
    if len({frozenset(own) for own in names.values()}) == 1:
        note = (
            f"{counted(len(next(iter(names.values()))), 'tensor')} with averages of weights"
            f" ({AVERAGE}*) are merged like weights, and filters do not fit their names."
        )
        return {
            model: replace(layout, notes=(*layout.notes, note)) for model, layout in layouts.items()
        }
    found = {}
    for model, layout in layouts.items():
        kept = {name: held for name, held in layout.tensors.items() if name not in names[model]}
        note = (
            f"The averages of weights ({AVERAGE}*, {counted(len(names[model]), 'tensor')}) of"
            f" {model} are left out, as not all models have them and they would not fit the merged"
            " weights."
        )
        notes = (*layout.notes, note) if names[model] else layout.notes
        found[model] = replace(layout, tensors=kept, notes=notes)
    return found
