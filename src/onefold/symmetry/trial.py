"""One network ready for numeric trials: in float64, with weights that hide nothing.

Maps are carried out on it and its outputs compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.caches import clear_eval_caches, restored_attributes
from onefold.copying import copied
from onefold.errors import DataError, OnefoldError, SymmetryError
from onefold.symmetry.action import mapped_tensors
from onefold.symmetry.axes import Group
from onefold.symmetry.drawing import random_maps
from onefold.symmetry.folding import fold_scales
from onefold.symmetry.maps import GroupMap
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.tracing import example_batch
from onefold.symmetry.widening import Widening

_OF_NORMS = ("scale", "shift", "mean", "variance")


class Trial:
    """A float64 copy of a network in eval mode, and how far maps move its outputs on one batch.

    Distances are relative to the largest output.

    Args:
        model: the network; it is left as it is.
        spec: its symmetries.
        example_inputs: one batch, as for `find_symmetries`.
        seed: seed of the weights and of everything drawn later from `generator`.

    Raises:
        SymmetryError: the network's output is constant zero or not finite.
        DataError: the network cannot run on the example inputs.
    """

    def __init__(
        self, model: nn.Module, spec: SymmetrySpec, example_inputs: Any, seed: int
    ) -> None:

        self.spec = spec
        self.generator = torch.Generator().manual_seed(seed)
        self.model = _well_conditioned(model, spec, self.generator)
        device = next(iter(self.model.parameters()), torch.empty(0)).device
        self.batch = _float64(example_batch(example_inputs), device)
        state = {
            **dict(self.model.named_parameters(remove_duplicate=False)),
            **dict(self.model.named_buffers(remove_duplicate=False)),
        }
        self.state = {name: tensor.detach() for name, tensor in state.items()}
        self.plain = _outputs(self.model, self.batch, {})
        self.scale = max((float(out.abs().max()) for out in self.plain if out.numel()), default=0.0)
        if not 0 < self.scale < float("inf"):
            what = "no" if self.scale == 0 else "non-finite"
            raise SymmetryError(
                f"{type(model).__name__} gives {what} output in the proof, which can then show"
                " nothing; look at its forward pass."
            )

    def error(self, groups: Sequence[Group], kind: str, folded: bool = False) -> float:
        """How far random maps of one class on these groups move the outputs.

        Args:
            groups: groups to move.
            kind: class of the maps.
            folded: whether to move the network with the scales of norms folded.
        """
        maps = random_maps(self.spec, groups, kind, self.generator)
        if not folded:
            return self.change(maps)
        state = fold_scales(self.state, self.spec)
        changed = {name: tensor for name, tensor in state.items() if tensor is not self.state[name]}
        return self._distance(changed | mapped_tensors(state, self.spec, maps))

    def change(self, maps: dict[str, GroupMap], without: str | None = None) -> float:
        """How far these maps move the outputs, if the tensor `without` is left out of them."""
        changed = mapped_tensors(self.state, self.spec, maps)
        return self._distance({name: tensor for name, tensor in changed.items() if name != without})

    def weight_of(self, name: str, maps: dict[str, GroupMap]) -> float:
        """How far the outputs move if noise is added to the part of a tensor that the maps move."""
        tensor = self.state[name]
        dtype = tensor.dtype if tensor.is_complex() else torch.float64
        noise = torch.randn(tensor.shape, generator=self.generator, dtype=dtype).to(tensor.device)
        mapped = mapped_tensors({**self.state, name: noise}, self.spec, maps)[name]
        return self._distance({name: tensor + mapped - noise})

    def check_steady(self, tolerance: float) -> None:
        """Check that the network gives the same output each time it runs.

        Raises:
            SymmetryError: it does not.
        """
        if self._distance({}) > tolerance:
            name = type(self.model).__name__
            raise SymmetryError(
                f"{name} is random even in eval mode, so nothing can be proved; switch off its"
                " dropout or sampling."
            )

    def _distance(self, changed: dict[str, Tensor]) -> float:
        moved = _outputs(self.model, self.batch, changed)
        differences = [_difference(a, b) for a, b in zip(self.plain, moved, strict=True)]
        return max(differences, default=0.0) / self.scale


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite if only one of the two is a number."""
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    distance = torch.where(a == b, 0.0, (a - b).abs())
    return float(distance.nan_to_num(nan=float("inf")).max())


def _well_conditioned(
    model: nn.Module, spec: SymmetrySpec, generator: torch.Generator
) -> nn.Module:
    """A float64 copy in eval mode whose weights hide nothing.

    They have no zeros, no ones and no ties between coordinates.
    """
    twin = copied(model).double().eval().requires_grad_(False)
    clear_eval_caches(twin)
    for tensor in (*twin.parameters(), *twin.buffers()):
        if tensor.is_complex():  # which `double` passes over
            tensor.data = tensor.data.to(torch.complex128)
    roles = {slot.tensor: slot.role for group in spec.groups for slot in group.slots}
    parameters = dict(twin.named_parameters())
    state = {**parameters, **dict(twin.named_buffers())}
    for name, tensor in state.items():
        role, shape, device = roles.get(name), tensor.shape, tensor.device
        numeric = tensor.is_floating_point() or tensor.is_complex()
        if not numeric or (role is None and name not in parameters):
            continue
        if name not in parameters and role not in _OF_NORMS:
            # a mask or a vector that makes a weight: near its old value, without ties
            drawn = torch.rand(2, *shape, generator=generator, dtype=torch.float64).to(device)
            tensor.copy_(tensor * (0.5 + drawn[0]) + 0.1 * drawn[1])
            continue
        noise = torch.randn(shape, generator=generator, dtype=tensor.dtype).to(device)
        if role in ("scale", "variance"):
            drawn = torch.rand(shape, generator=generator, dtype=torch.float64).to(device)
            tensor.copy_(0.5 + drawn)
        elif tensor.dim() <= 1:
            tensor.copy_(0.3 * noise)
        else:
            tensor.copy_(noise / max(1, tensor[0].numel()) ** 0.5)
    return twin


def _float64(batch: Batch, device: torch.device) -> Batch:
    def convert(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, torch.float64) if value.is_floating_point() else value.to(device)

    args, kwargs = pytree.tree_map(convert, (batch.args, batch.kwargs))
    return Batch(args, kwargs, None, batch.index)


def _outputs(model: nn.Module, batch: Batch, changed: dict[str, Tensor]) -> list[Tensor]:
    try:
        widening = Widening()  # type: ignore[no-untyped-call]
        with restored_attributes(model), torch.no_grad(), widening:
            outputs = functional_call(model, changed, batch.args, batch.kwargs)
    except OnefoldError:  # a module of this library already says what is wrong
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        name = type(model).__name__
        raise DataError(f"{name} cannot run on the example inputs: {reason}") from error
    tensors = [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
    return [x if x.is_complex() else x.double() for x in tensors]
