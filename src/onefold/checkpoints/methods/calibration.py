"""Filters of a merged tensor, behind any method: singular value calibration.

Singular value calibration (Li et al. 2026, arXiv 2602.05536) shrinks directions that several models
share and that a sum counts several times. With M = merged - theta_0 = U S V^T and the models'
changes delta_i,

    s_ri = <u_r^T M, u_r^T delta_i> / |u_r^T delta_i|^2
    S_r <- S_r * n / sum_i max(alpha, s_ri)

M times a number gives the same result as M, as far as alpha does not act.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.base import TensorInputs
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting, settings_of
from onefold.errors import MembersError, SettingError
from onefold.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Filter(ABC):
    """Base of what is done with a merged tensor: a frozen dataclass whose fields are settings."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: one of them is of a wrong type or out of range.
        """
        for known in settings_of(type(self)):
            problem = known.problem(getattr(self, known.field))
            if problem is not None:
                raise SettingError(
                    f"The setting '{known.name}' of {type(self).__name__} {problem}."
                )

    @abstractmethod
    def filtered(self, inputs: TensorInputs, merged: Tensor) -> Tensor:
        """The filtered tensor, of the shape and dtype of `merged`, which stays as it is.

        Args:
            inputs: what was merged, with its base.
            merged: what a method made of it.

        Raises:
            MembersError: there is no base.
        """


filters: Registry[type[Filter]] = Registry("checkpoint filter")


@filters.register("singular_value_calibration", "svc")
@dataclass(frozen=True)
class Calibration(Filter):
    """Shrinks the singular values of directions that several models share.

    Attributes:
        alpha: least share that a model counts with.
    """

    alpha: float = setting(0.1, low=1e-6, help="Least share that a model counts with.")

    def filtered(self, inputs: TensorInputs, merged: Tensor) -> Tensor:
        """The calibrated tensor; tensors of fewer than two dimensions stay as they are."""
        if inputs.base is None:
            raise MembersError(
                f"Singular values are calibrated from the base on, and '{inputs.name}' has none."
            )
        if merged.dim() < 2 or not merged.numel() or not inputs.tensors:
            return merged
        with torch.no_grad():
            rows = merged.shape[0]
            base = inputs.base.to(inputs.work).reshape(rows, -1)
            change = merged.to(inputs.work).reshape(rows, -1) - base
            left, values, right = torch.linalg.svd(change, full_matrices=False)
            own = values[:, None] * right
            below = torch.zeros_like(values)
            for tensor in inputs.tensors:
                part = left.T @ (tensor.to(inputs.work).reshape(rows, -1) - base)
                norms = part.square().sum(1)
                shares = (own * part).sum(1) / norms.clamp(min=1e-30)
                below += shares.masked_fill(norms <= 1e-30, 0.0).clamp(min=self.alpha)
            found: Tensor = base + (left * (len(inputs.tensors) / below)) @ own
            return found.view(merged.shape).to(merged.dtype)
