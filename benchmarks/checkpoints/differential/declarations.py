"""What mergekit's methods declare, beside the declarations of onefold."""

from __future__ import annotations

from typing import Any

from onefold.checkpoints.methods import Method, methods, settings_of

BASES = {"required": "needed", "ignored": "one of the models", "optional": "optional"}


def declared(kind: type[Method]) -> dict[str, Any]:
    """The use of a base, and level and default of each parameter, as the driver prints them."""
    named = {p.name: ["shared", "required" if p.required else p.default] for p in settings_of(kind)}
    level = "input" if kind.takes_base_as_model else "non_base"
    named |= {p.name: [level, "required" if p.required else p.default] for p in kind.per_model}
    base = "needed" if kind.needs_base else "optional" if kind.allows_base else "one of the models"
    return {"base": base, "parameters": named}


def differences(theirs: dict[str, Any]) -> list[str]:
    """What is declared otherwise, one text for each; none if all is the same."""
    found = [f"{name} is unknown to onefold" for name in theirs if name not in methods.names()]
    for name, told in theirs.items():
        if name in methods.names():
            ours = declared(methods.get(name))
            wanted = {"base": BASES[told["base"]], "parameters": told["parameters"]}
            found += [
                f"{name}: {key} {ours[key]} and {wanted[key]}"
                for key in wanted
                if ours[key] != wanted[key]
            ]
    return found
