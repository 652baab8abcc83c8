"""Mixtures in files: a description of where they are, which a state dict does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from onefold.errors import WeightsError
from onefold.fold.soft.mixture import Mixture
from onefold.inference import ANY, described, restored

KEY = "onefold.mixture"  # of a checkpoint's metadata
MOST = 10_000  # parts that are believed; a file may come from somebody else


def describe(network: nn.Module) -> dict[str, str]:
    """Metadata that names the Mixtures in `network` ("" for the whole).

    It is empty for a plain network.
    """
    outermost: dict[str, Mixture] = {}
    for name, module in network.named_modules():
        if isinstance(module, Mixture) and not any(
            other == "" or name.startswith(f"{other}.") for other in outermost
        ):
            outermost[name] = module
    facts: dict[str, dict[str, Any]] = {
        name: {"parts": len(m.parts), "outputs": m.outputs} for name, m in outermost.items()
    }
    for name, mixture in outermost.items():
        if mixture.output != ANY:
            facts[name]["output"] = described(mixture.output)
    return {KEY: json.dumps(facts)} if facts else {}


def rebuild(build: Callable[[], nn.Module], metadata: Mapping[str, str], where: str) -> nn.Module:
    """A network of the architecture that `build` makes, with Mixtures at the places in `metadata`.

    Its weights are to be loaded.

    Raises:
        WeightsError: the description is damaged, or names a module that the architecture does not
            have.
    """
    try:
        facts: dict[str, Any] = json.loads(metadata[KEY])
        network = build()
        for name, fact in facts.items():
            if not 1 <= int(fact["parts"]) <= MOST:
                raise ValueError(f"{fact['parts']} parts")
            parts = [
                build() if name == "" else build().get_submodule(name)
                for _ in range(int(fact["parts"]))
            ]
            mixture = Mixture(
                parts,
                torch.zeros(len(parts), dtype=torch.float32),
                outputs=fact["outputs"],
                output=restored(fact.get("output")),
            )
            if name == "":
                return mixture
            network.set_submodule(name, mixture)
        return network
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:150]
        raise WeightsError(
            f"{where} says that it is a mixture, but not one of this architecture ({reason}); check"
            " --model."
        ) from error
