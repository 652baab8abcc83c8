"""Average of aligned members weighted by the correlation of units.

    W = W_0 + sum_k a_k diag(rho_k) (W_k - W_0).

W_0 are the reference's weights, a_k the members' weights, and rho_k the correlations of member k's
matched units with the reference's, by which the alignment was chosen (canonical correlations after
CCA; negative ones count 0). Units that do not match leave the reference as it is. With rho = 1 it
is the plain average.

rho acts on the axis along which a tensor makes features: the rows of a weight, a bias, the tensors
of a norm. Tensors that only read features, such as the last layer, are averaged plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onefold.alignment import Alignment
from onefold.batchnorm import neutralized
from onefold.errors import SettingError
from onefold.fold.average import folds, owner_of, wide
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.symmetry.axes import Term, live_groups
from onefold.symmetry.probing import spread


@folds.register("correlated_average")
@dataclass(frozen=True)
class CorrelatedAverage(NetworkFold):
    """The average weighted by how well each unit correlates with the reference's."""

    traced: ClassVar[bool] = False

    def fold(self, job: FoldJob) -> Folded:
        """The average, to be repaired as any other.

        Raises:
            SettingError: there is no alignment to one reference that measured correlations.
        """
        alignment = job.alignment
        if alignment is None or alignment.reference is None or not alignment.scores:
            raise SettingError(
                "The fold 'correlated_average' weighs units by their correlation with one member's;"
                " align the members to one of them."
            )
        making = _making(alignment)
        first = job.states[job.reference]
        total = {
            name: tensor.to(wide(tensor))
            for name, tensor in first.items()
            if name not in job.kept and wide(tensor) is not None
        }
        for k in range(len(job.models)):
            if k == job.reference or job.shares[k] == 0:
                continue
            rho = {group: _correlations(alignment, group, k) for group in alignment.maps}
            state = job.states[k]
            for name in total:
                weight: Tensor | float = job.shares[k]
                for axis, term in making.get(name, {}).items():
                    groups = [group for group in live_groups(term) if group in rho]
                    rows = spread(term, {group: rho[group] for group in groups}, 1.0)
                    shape = [-1 if a == axis else 1 for a in range(total[name].dim())]
                    weight = job.shares[k] * rows.to(total[name].device).reshape(shape)
                dtype = total[name].dtype
                total[name] += weight * (state[name].to(dtype) - first[name].to(dtype))
        owner = job.states[owner_of(job.shares, job.reference)]
        folded = {
            name: (total[name] if name in total else owner[name].clone()).to(tensor.dtype)
            for name, tensor in first.items()
        }
        members = range(len(job.models))
        means = {
            group: [float(alignment.scores[group][k].clamp_min(0).mean()) for k in members]
            for group in alignment.maps
        }
        if alignment.folds_norms:
            folded = neutralized(folded, alignment.spec.layers)
        return Folded(folded, repair=True, details={"correlations": means})


def _making(alignment: Alignment) -> dict[str, dict[int, Term]]:
    """The one axis of every tensor along which it makes features of aligned groups."""
    spec = alignment.spec
    found: dict[str, dict[int, Term]] = {}
    tied: Mapping[str, str] = {name: names[0] for names in spec.tied for name in names}
    roles = {
        (slot.tensor, slot.axis)
        for group in spec.groups
        if group.name in alignment.maps
        for slot in group.slots
        if slot.role != "consumer"
    }
    for name, axes in spec.axes.items():
        making = [axis for axis in range(len(axes)) if (tied.get(name, name), axis) in roles]
        if making:
            found[name] = {making[0]: axes[making[0]]}
    return found


def _correlations(alignment: Alignment, group: str, member: int) -> Tensor:
    """Correlations (C,) of a member's units, float64, at least 0.

    If the group has a map for every fibre, all units have the mean.
    """
    scores = alignment.scores[group][member].double().clamp_min(0.0)
    size = alignment.spec.group(group).size
    return scores if len(scores) == size else scores.mean().expand(size)
