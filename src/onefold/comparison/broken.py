"""Networks that cannot be right: numbers that are not finite, in weights or in what layers put out.

The first place is named: a tensor, or the first layer in the order of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onefold.batches import Data, batches, device_of
from onefold.forward import forward
from onefold.inference.running import eval_mode
from onefold.sources import on_disk


def broken_weights(models: Sequence[nn.Module]) -> dict[int, str]:
    """Network -> where its weights are not finite, as "NaN in layer3.weight (12 of 300 numbers)".

    Members on disk were checked as their files were found.
    """
    if on_disk(models):
        return {}
    found = ((k, _weights(model)) for k, model in enumerate(models))
    return {k: text for k, text in found if text}


def broken_outputs(model: nn.Module, data: Data) -> str:
    """Which layer of a network is the first to put out what is not finite, on the first batch.

    "" if none does.
    """
    names = {module: name for name, module in model.named_modules()}
    found: list[str] = []

    def look(module: nn.Module, _: object, value: object) -> None:
        if not found and isinstance(value, Tensor) and value.is_floating_point():
            text = _told(value)
            if text:
                found.append(f"{text} in what {names[module] or 'the network'} puts out")

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        with eval_mode([model]):
            forward(model, next(batches(data, device_of(model), "data to compare on")))
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _weights(model: nn.Module) -> str:
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            text = _told(tensor)
            if text:
                return f"{text} in {name}"
    return ""


def _told(tensor: Tensor) -> str:
    """What is not finite, and how much of it; "" if all is finite."""
    wrong = ~torch.isfinite(tensor.detach())
    count = int(wrong.sum())
    if not count:
        return ""
    kind = "NaN" if bool(tensor.detach().isnan().any()) else "infinity"
    return f"{kind} ({count} of {tensor.numel()} numbers)"
