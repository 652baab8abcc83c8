"""SoftMerge: learn which of several networks, or of their parts, to keep, by hard-concrete gates
over frozen weights.

    model level    y   = sum_k g_k  f_k(x)             any networks of one task, also of different
    architectures module level   h_m = sum_k g_km F_km(h_(m-1))      chosen submodules of networks
    of one architecture layer level    W_l = sum_k g_kl W_kl               every layer, at about the
    cost of one network (weighted.py)

Only the gates' log-alphas are trained (gates.py). Chen, Wu, Nguyen, Liu & Yesha 2023, "Soft
Merging" (arXiv 2309.12259), reconstructed from its abstract. Screening (screen.py), alignment
before gating and normalised gates are ours; docs/soft_merging.md tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment, in_one_precision
from onefold.batches import Batch, Data, device_of
from onefold.batchnorm import NormModule
from onefold.distributed import from_first_rank
from onefold.errors import MembersError, SettingError, nearest
from onefold.fold.soft.align_members import CommonBasis, check_alike, common_basis
from onefold.fold.soft.copies import filled_copy, own_copy, shared_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.gates import Gates
from onefold.fold.soft.mixture import OUTPUTS, Mixture, Outputs, mixed_outputs
from onefold.fold.soft.screening import MemberScore, best_member, score_member, screen
from onefold.fold.soft.sites import broken, sites_of
from onefold.fold.soft.statistics import measure, own_statistics, remeasure
from onefold.fold.soft.table import GateTable
from onefold.fold.soft.weighted import GatedLayers
from onefold.inference import ANY, ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.measure.scores import flatten
from onefold.patterns import Patterns, as_list

LEVELS = ("model", "module", "layer")


class SoftMerge(nn.Module):
    """Several frozen networks behind gates.

    A plain module: train `soft.parameters()` in any loop, with `soft.penalty()` added to the loss.

    In training mode gates carry noise where `stochastic` says so, and gated batch norms use the
    statistics of the batch; in eval mode there is no noise, and gated batch norms use the members'
    statistics (weighted at layer level), or those of `recalibrate`. Everything else, such as
    dropout, is always in eval mode, since no member's weight is trained.

    Args:
        models: K >= 2 networks on one device. They are neither copied nor changed; aligned ones
            share nothing but their structure.
        level: "model", "module" or "layer", see above.
        include, exclude: name patterns (* and ? are wild) of the modules to gate; a module's name
            stands for all inside it. The rest is the reference's. At module level `include` names
            the modules that are gated as a whole (default: the network's children). Not for level
            "model".
        align: how members are brought into one basis at module and layer level: "auto" aligns by
            permutation where that makes the plain average better, and needs `prepare`; "none"
            leaves them as they are, for members that share an origin; a matcher's name; or an
            Alignment computed before.
        reference: the member whose basis and whose ungated parts are kept: a number, or "best" for
            the one of lowest loss.
        normalise: divide every row of gates by its sum.
        stochastic: noise in training mode: True, False, or "auto" for True at model level alone.
        screen: leave out members that `screen.py` finds unfit.
        outputs: what level "model" sums: "logits", or "probabilities" (the result is then their
            logarithm).
        output: which output the labels belong to where the members return several, and on which
            axis its classes lie (`onefold.inference`).
        data: labelled batches for `prepare`, which is then called at once.
        seed: of the initial gates and of their noise.

    Raises:
        MembersError: fewer than two networks, or, but for level "model", networks of different
            architecture or a NaN in all members' copies of a layer.
        SettingError: an unknown level, alignment or pattern, or arguments that exclude each other.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        level: str = "model",
        include: Patterns = None,
        exclude: Patterns = None,
        align: str | Alignment = "auto",
        reference: int | str = "best",
        normalise: bool = True,
        stochastic: bool | str = "auto",
        screen: bool = True,
        *,
        outputs: Outputs = "logits",
        output: OutputChoice = None,
        data: Data | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(models, level, include, exclude, align, reference, stochastic)
        if outputs not in OUTPUTS:
            raise SettingError(
                f"There are no outputs '{outputs}' to sum; {nearest(outputs, OUTPUTS)}"
            )
        self.level, self.align, self.seed = level, align, seed
        self.output = as_output(output)
        self.axis = ClassAxis(self.output, "learning gates")
        self.include, self.exclude = as_list(include), as_list(exclude)
        self.stochastic = level == "model" if stochastic == "auto" else bool(stochastic)
        self.screens, self.outputs = screen, outputs
        models = in_one_precision(models, reference if isinstance(reference, int) else 0)
        self._members = tuple(
            models
        )  # a tuple, so that they are no submodules and their weights no parameters of this one
        if isinstance(align, Alignment):
            reference = align.reference or 0
        self.reference: int | None = None if reference == "best" else int(reference)
        self.sites = sites_of(models[self.reference or 0], level, self.include, self.exclude)
        self.gate = Gates(len(self.sites), len(models), normalised=normalise, seed=seed)
        self.to(device_of(models[0]))
        self.scores: list[MemberScore] | None = None
        self.classes: int | None = None
        self._outputs: tuple[Examples, list[Tensor]] | None = None
        self.dropped: dict[int, str] = {}
        self.masked: dict[tuple[str, int], str] = {}
        self.pruned: dict[int, str] = {}
        self.basis: CommonBasis | None = None
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self._norms: dict[str, NormModule] = {}  # of gated modules
        self._body: GatedLayers | nn.Module | list[nn.Module] | None = None
        if data is not None:
            self.prepare(data)
        elif (
            level == "model"
            or (align == "none" and reference != "best")
            or isinstance(align, Alignment)
        ):
            self._build(None)

    @property
    def selects_output(self) -> bool:
        """Whether what it returns is the meant output itself."""
        return self.level == "model"

    @property
    def members(self) -> tuple[nn.Module, ...]:
        """The networks as they were given; those of another precision than the reference's (member
        0's, for "best") as copies in that.
        """
        return self._members

    @property
    def survivors(self) -> list[int]:
        """The members that were not screened out."""
        return [k for k in range(len(self._members)) if k not in self.dropped]

    @property
    def prepared(self) -> bool:
        """Whether members were screened, and aligned where that was asked for."""
        return self._body is not None and (self.scores is not None or not self.screens)

    def prepare(self, data: Data) -> SoftMerge:
        """Judge the members on labelled `data`, leave out the unfit, choose the reference, and
        align.

        Called by `fit_gates`.

        Raises:
            DataError: no labels, labels out of range, or a network cannot run. MembersError: every
                member is unfit.
        """
        examples = (
            data if isinstance(data, Examples) else Examples.of(data, device_of(self._members[0]))
        )
        logits = [member_logits(model, examples, self.output, self.axis) for model in self._members]
        self.output = replace(self.output, class_axis=self.axis.known)
        _check_outputs(logits)
        self._outputs = (examples, logits) if self.level == "model" else None
        self.classes = classes = logits[0].shape[-1]
        pairs = [flatten(each, examples.labels) for each in logits]
        self.scores = from_first_rank([score_member(rows, labels) for rows, labels in pairs])
        self.dropped = screen(self.scores, classes) if self.screens else {}
        self.pruned = {}
        if not self.survivors:
            told = "; ".join(f"member {k}: {why}" for k, why in self.dropped.items())
            raise MembersError(
                f"No member is left to merge ({told}); check the members and that the labels are"
                " theirs, or pass screen=False."
            )
        if self.reference is None or self.reference in self.dropped:
            if self.reference is not None:
                raise MembersError(
                    f"Member {self.reference}, the reference, is unfit:"
                    f" {self.dropped[self.reference]}; choose another, or 'best'."
                )
            self.reference = best_member(self.scores, self.survivors)
        self._build(examples)
        return self

    def outputs_on(self, examples: Examples) -> list[Tensor]:
        """The survivors' logits (n, classes) on `examples`, in float32; computed once for those
        that `prepare` was given.
        """
        known = (
            self._outputs[1] if self._outputs is not None and self._outputs[0] is examples else None
        )
        return [
            (
                known[k]
                if known
                else member_logits(self._members[k], examples, self.output, self.axis)
            ).float()
            for k in self.survivors
        ]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The gated output: of the members' outputs at level "model" (their logits), else what one
        network returns.
        """
        gates = self.gate(self.stochastic and self.training)
        if self._body is None:
            raise SettingError(
                "The members are not aligned yet; call soft.prepare(labelled_data) first, or pass"
                " data= or align='none' with a reference."
            )
        if isinstance(self._body, GatedLayers):
            batch = self.training and bool(self._body.norms)
            weights = self._body.weights(gates, self.statistics, batch=batch)
            return self._body.run(weights, args, kwargs, batch=batch)
        if isinstance(self._body, list):
            return self._mixed(gates[0], args, kwargs)
        mixtures = self._weigh(gates)
        try:
            for norm in self._norms.values():
                norm.training, norm.track_running_stats = self.training, not self.training
            return self._body(*args, **kwargs)
        finally:
            for mixture in mixtures:
                mixture.weights = mixture.weights.detach()
            for norm in self._norms.values():
                norm.training, norm.track_running_stats = False, True

    def logits(self, returned: Any, batch: Batch, network: nn.Module | None = None) -> Tensor:
        """The logits (..., classes) among what `network` returned on a labelled batch.

        Raises DataError where they do not fit the labels.
        """
        return self.axis.last(
            self.output.of(returned, network),
            batch.labels,
            scored=True,
            where=f" of batch {batch.index}",
        )

    def penalty(self) -> Tensor:
        """The mean probability (scalar) that a gate is not 0, to be added to the loss, times about
        0.01.
        """
        penalty: Tensor = self.gate.penalty()
        return penalty

    def gates(self) -> GateTable:
        """The gates without noise, one row for each gated part and one column for each member, with
        who is out and why.
        """
        with torch.no_grad():
            values = self.gate(False)
        return GateTable(
            [site.name for site in self.sites],
            values.cpu(),
            dict(self.dropped),
            dict(self.masked),
            dict(self.pruned),
        )

    @torch.no_grad()
    def recalibrate(self, data: Data) -> int:
        """Measure the statistics of gated batch norms on `data` (labels unused) with the gates as
        they are.

        Returns how many there are.

        At layer and module level, where the norms' inputs are those of no member. Norms outside the
        gated part keep the reference's.
        """
        if isinstance(self._body, nn.Module) and self._norms:
            self._weigh(self.gate(False))
            return remeasure(self._body, self._norms, data)
        if not isinstance(self._body, GatedLayers) or not self._body.norms:
            return 0
        self.statistics = measure(self._body, self.gate(False), data)
        return len(self.statistics)

    @torch.no_grad()
    def harden(self) -> nn.Module:
        """What is left once the gates are fixed, as a network with weights of its own.

        Layer level: one plain network of the members' class that computes, bit for bit, what this
        one does in eval mode. Module level: the reference's network, with a Mixture in place of
        every module for which more than one member is left. Model level: the only member that is
        left, or a Mixture.

        Raises:
            SettingError: the members are not prepared yet.
        """
        gates = self.gate(False)
        if self._body is None:
            raise SettingError(
                "There is nothing to harden yet; call soft.prepare(labelled_data) first."
            )
        if isinstance(self._body, GatedLayers):
            weights = self._body.weights(gates, self.statistics)
            return filled_copy(self._members[self._base], self._body.skeleton, weights).eval()
        if isinstance(self._body, list):
            return _remaining(
                [self._body[k] for k in self._live()[0]],
                gates[0][self._live()[0]],
                outputs=self.outputs,
                output=self.output,
            )
        network = own_copy(shared_copy(self._body))
        for row, site, live in zip(gates, self.sites, self._live(), strict=True):
            parts = self._body.get_submodule(site.name).parts
            network.set_submodule(site.name, _remaining(list(parts), row[live]))  # type: ignore[arg-type]
        return network.eval()

    @property
    def _base(self) -> int:
        return self.reference if self.reference is not None else self.survivors[0]

    def _live(self) -> list[list[int]]:
        return [[k for k, alive in enumerate(row) if alive] for row in self.gate.alive.tolist()]

    def _weigh(self, gates: Tensor) -> list[Any]:
        """The mixtures of the body, given these gates (sites, members)."""
        assert isinstance(self._body, nn.Module)
        mixtures: list[Any] = [self._body.get_submodule(site.name) for site in self.sites]
        for row, mixture, live in zip(gates, mixtures, self._live(), strict=True):
            mixture.weights = row[live]
        return mixtures

    def _mixed(self, gates: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        assert isinstance(self._body, list)
        live = self._live()[0]
        with torch.no_grad():
            outputs = [self.output.of(self._body[k](*args, **kwargs), self._body[k]) for k in live]
        return mixed_outputs(gates[live], outputs, self.outputs, self.output)

    def _build(self, examples: Examples | None) -> None:
        """Everything that follows from who takes part: the common basis, the masks, and the network
        that `forward` runs.
        """
        members = self._members
        alive = torch.ones(len(self.sites), len(members), dtype=torch.bool)
        alive[:, list(self.dropped)] = False
        self.masked = {}
        if self.level == "model":
            self._body = [shared_copy(model) for model in members]
            for k in self.survivors if not self.screens else ():
                if not all(
                    bool(t.isfinite().all())
                    for t in members[k].state_dict().values()
                    if t.is_floating_point()
                ):
                    self.masked["network", k] = "it holds NaN or infinity"
                    alive[0, k] = False
            if not alive.any():
                raise MembersError(
                    "Every member holds NaN or infinity, so that nothing can be kept; check the"
                    " members."
                )
        else:
            self.basis = common_basis(
                members,
                self.survivors,
                self.sites,
                self.align,
                self._base,
                examples,
                level=self.level,
                seed=self.seed,
                read=self.logits,
            )
            self.dropped |= self.basis.unfit
            alive[:, list(self.dropped)] = False
            for s, site in enumerate(self.sites):
                for k in self.survivors:
                    if name := broken(site, self.basis.states[k]):
                        self.masked[site.name, k] = f"'{name}' is not finite"
                        alive[s, k] = False
                if not alive[s].any():
                    raise MembersError(
                        f"'{site.name}' holds NaN or infinity in every member, so nothing of it can"
                        " be kept; exclude it."
                    )
        self.gate.alive.copy_(alive)
        if self.level == "layer":
            assert self.basis is not None
            skeleton = shared_copy(members[self._base], self.basis.states[self._base])
            self._body = GatedLayers(skeleton, self.sites, self.basis.states, alive)
        elif self.level == "module":
            assert self.basis is not None
            sources = [
                shared_copy(model, state)
                for model, state in zip(members, self.basis.states, strict=True)
            ]
            body = shared_copy(members[self._base], self.basis.states[self._base])
            for site, row in zip(self.sites, alive, strict=True):
                live = [k for k in range(len(members)) if row[k]]
                parts = [sources[k].get_submodule(site.name) for k in live]
                body.set_submodule(
                    site.name,
                    Mixture(
                        parts, torch.full((len(live),), 1.0 / len(live), device=device_of(body))
                    ),
                )
            self._norms = own_statistics(body, [site.name for site in self.sites])
            object.__setattr__(
                self, "_body", body
            )  # no submodule: its weights are the members', not parameters of this one
        self.statistics = {}

    def extra_repr(self) -> str:
        return f"level={self.level}, members={len(self._members)}, reference={self.reference}"


@torch.no_grad()
def member_logits(
    model: nn.Module, examples: Examples, output: Output, axis: ClassAxis, size: int = 256
) -> Tensor:
    """The logits (n, classes) of one network on all examples, in eval mode and in its own dtype."""
    with eval_mode([model]):
        rows = []
        for batch in examples.batches(size):
            own = axis.last(
                run(model, batch, output),
                batch.labels,
                scored=True,
                where=f" of batch {batch.index}",
            )
            rows.append(own.flatten(0, -2))
        return torch.cat(rows)


def _remaining(
    parts: list[nn.Module], weights: Tensor, *, outputs: Outputs | None = None, output: Output = ANY
) -> nn.Module:
    """The parts whose weight is not 0, with weights of their own: the only one as it is, or a
    Mixture.
    """
    left = [k for k, weight in enumerate(weights.tolist()) if weight != 0.0]
    if len(left) == 1 and float(weights[left[0]]) == 1.0:
        return own_copy(parts[left[0]]).eval()
    return Mixture(
        [own_copy(parts[k]) for k in left], weights[left].clone(), outputs=outputs, output=output
    ).eval()


def _check(
    models: Sequence[nn.Module],
    level: str,
    include: Patterns,
    exclude: Patterns,
    align: str | Alignment,
    reference: int | str,
    stochastic: bool | str,
) -> None:
    """Everything about the arguments that can be wrong before any work is done."""
    if level not in LEVELS:
        raise SettingError(f"There is no level '{level}'; {nearest(level, LEVELS)}")
    if isinstance(models, nn.Module) or len(models) < 2:
        count = 1 if isinstance(models, nn.Module) else len(models)
        raise MembersError(
            f"{count} network{' was' if count == 1 else 's were'} given, and gates choose between"
            " at least two; pass a list of them."
        )
    for k, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise MembersError(
                f"Member {k} is a {type(model).__name__}, not an nn.Module; load it into its"
                " network first."
            )
    if stochastic not in (True, False, "auto"):
        raise SettingError(f"stochastic is {stochastic!r}; it must be True, False or 'auto'.")
    if isinstance(reference, str) and reference != "best":
        raise SettingError(f"The reference is '{reference}'; give a member's number, or 'best'.")
    if not isinstance(reference, str) and not 0 <= reference < len(models):
        raise MembersError(
            f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}."
        )
    for k, model in enumerate(models):
        if device_of(model) != device_of(models[0]):
            raise MembersError(
                f"Member 0 is on {device_of(models[0])} but member {k} is on {device_of(model)};"
                " move them to one device."
            )
    if level == "model":
        if include is not None or exclude is not None:
            raise SettingError(
                "`include` and `exclude` choose parts of a network; at level 'model' there are"
                " none, so use level='module' or 'layer'."
            )
        return
    check_alike(models, align)
    if isinstance(align, Alignment) and reference not in ("best", align.reference):
        raise SettingError(
            f"The reference is {reference}, but the alignment maps to member {align.reference};"
            " leave the reference out."
        )


def _check_outputs(logits: Sequence[Tensor]) -> None:
    for k, each in enumerate(logits):
        if each.shape[-1] != logits[0].shape[-1] or len(each) != len(logits[0]):
            raise MembersError(
                f"Member {k} returns {each.shape[-1]} numbers per example, but member 0"
                f" {logits[0].shape[-1]}; only networks of one task can be merged."
            )


__all__ = ["SoftMerge", "member_logits"]
