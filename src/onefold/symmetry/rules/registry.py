"""The registry of operator rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onefold.registry import Registry
from onefold.symmetry.rules.call import Call

# A rule returns one list of terms for an operator with one output tensor, and a list of such lists
# for one with several.
Rule = Callable[[Call], Any]
operator_rules: Registry[Rule] = Registry("operator rule")
rule = operator_rules.register
