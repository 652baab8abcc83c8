"""SoftMerge: learned hard-concrete gates over several frozen networks, or over their parts.

- Model level: y = sum_k g_k f_k(x). Any networks of one task, also of different architectures.
- Module level: h_m = sum_k g_km F_km(h_(m-1)). Chosen submodules of networks of one architecture.
- Layer level: W_l = sum_k g_kl W_kl. Every layer, at about the cost of one network (weighted.py).

Only the gates' log-alphas are trained (gates.py). Chen, Wu, Nguyen, Liu & Yesha 2023, "Soft
Merging" (arXiv 2309.12259), reconstructed from its abstract. Screening (screening.py), alignment
before gating and normalised gates are ours; docs/how_it_works/gates.md tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment, in_one_precision
from onefold.arguments import checked
from onefold.batches import Batch, Data, device_of
from onefold.batchnorm import NormModule
from onefold.distributed import from_first_rank
from onefold.errors import SettingError
from onefold.fold.soft.align_members import CommonBasis, common_basis
from onefold.fold.soft.answered import Answered, answer
from onefold.fold.soft.arguments import check_arguments, check_outputs
from onefold.fold.soft.bodies import hardened_modules, module_body, remaining
from onefold.fold.soft.copies import filled_copy, shared_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.gates import Gates
from onefold.fold.soft.masks import mask_networks, mask_parts
from onefold.fold.soft.mixture import Outputs, mixed_outputs
from onefold.fold.soft.screening import (
    Guess,
    MemberScore,
    best_member,
    check_survivors,
    score_member,
    screen,
)
from onefold.fold.soft.sites import sites_of
from onefold.fold.soft.statistics import measure, own_statistics, remeasure
from onefold.fold.soft.table import GateTable
from onefold.fold.soft.weighted import GatedLayers
from onefold.inference import OutputChoice, as_output
from onefold.isolation import isolated
from onefold.patterns import Patterns, as_list
from onefold.progress import track
from onefold.sources.agreement import check_ranks_agree
from onefold.tasks import AUTO, Rows, Scoring, TaskChoice, as_scoring
from onefold.tasks.reading import Reading


class SoftMerge(nn.Module):
    """Several frozen networks behind gates.

    It is a plain module: train `soft.parameters()` in any loop, with `soft.penalty()` added to the
    loss. The members are not registered as submodules: `state_dict()` holds the gates only, and
    `.to(device)` moves no member.

    In training mode gates carry noise if `stochastic` says so, and gated batch norms use the
    statistics of the batch. In eval mode there is no noise, and gated batch norms use the members'
    statistics (weighted at layer level), or those of `recalibrate`. The rest, such as dropout, is
    always in eval mode, since no member's weight is trained.

    Args:
        models: K >= 2 networks on one device. They are neither copied nor changed; aligned ones
            share nothing but their structure.
        level: "model", "module" or "layer" (the default).
        include: name patterns (* and ? are wild) of the modules to gate. A module's name includes
            all inside it. The rest is the reference's. At module level these are the modules that
            are gated as a whole (default: the network's children). Not for level "model".
        exclude: name patterns of modules that are not gated. Not for level "model".
        align: how members are brought into one basis at module and layer level. "auto" aligns by
            permutation if that makes the plain average better, and needs `prepare`. "none" leaves
            them as they are, for members that share an origin. Or a matcher's name, or an Alignment
            computed before.
        reference: the member whose basis and whose ungated parts are used: a number, or "best" for
            the one of lowest loss.
        normalize: divide every row of gates by its sum.
        stochastic: noise in training mode: True, False, or "auto" for True at model level alone.
        screen: leave out members that `screening.py` finds unfit.
        outputs: what level "model" sums: "logits", the outputs as they are, whatever the task; or,
            of classifiers, "probabilities" (the result is then their logarithm).
        output: which output the labels belong to if the members return several, and on which axis
            its classes lie (`onefold.inference`).
        task: what the members are asked (`onefold.tasks`): a name, or a `Task`; "auto" tells it
            from outputs and labels.
        data: labelled batches for `prepare`, which is then called at once.
        seed: of the initial gates and of their noise.

    Attributes:
        gate: the gates, the only parameters.
        sites: the gated parts, one row of gates each.
        scores: every member on the labelled examples; None before `prepare`.
        dropped: member -> why it takes no part.
        masked: (part, member) -> why that gate is shut.
        pruned: member -> why it was left out after the gates were learned.
        basis: the members' states in one basis; None at level "model".

    Raises:
        MembersError: there are fewer than two networks. But for level "model" also: networks of
            different architecture, or a NaN in all members' copies of a layer.
        SettingError: an unknown level, alignment or pattern, or arguments that exclude each other.
    """

    @checked
    @isolated
    def __init__(
        self,
        models: Sequence[nn.Module],
        level: str = "layer",
        include: Patterns = None,
        exclude: Patterns = None,
        align: str | Alignment = "auto",
        reference: int | str = "best",
        normalize: bool = True,
        stochastic: bool | str = "auto",
        screen: bool = True,
        *,
        outputs: Outputs = "logits",
        output: OutputChoice = None,
        task: TaskChoice = AUTO,
        data: Data | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_arguments(models, level, include, exclude, align, reference, stochastic, outputs)
        self.level, self.align, self.seed = level, align, seed
        self.outputs = outputs
        self.output = as_output(output)
        self.ask(as_scoring(task))
        self.include, self.exclude = as_list(include), as_list(exclude)
        self.stochastic = level == "model" if stochastic == "auto" else bool(stochastic)
        self.screens = screen
        models = in_one_precision(models, reference if isinstance(reference, int) else 0)
        # A tuple, so that members are no submodules and their weights no parameters of this module.
        self._members = tuple(models)
        if isinstance(align, Alignment):
            reference = align.reference or 0
        self.reference: int | None = None if reference == "best" else int(reference)
        self.sites = sites_of(models[self.reference or 0], level, self.include, self.exclude)
        self.gate = Gates(len(self.sites), len(models), normalized=normalize, seed=seed)
        self.to(device_of(models[0]))
        self.scores: list[MemberScore] | None = None
        self.guess = Guess(0.0, 1.0, "nats")
        self._outputs: tuple[Examples, list[Answered]] | None = None
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
        """Whether the returned value is the meant output itself."""
        return self.level == "model"

    @property
    def members(self) -> tuple[nn.Module, ...]:
        """The networks as they were given.

        Those of another precision than the reference's (member 0's, for "best") are copies in that
        precision.
        """
        return self._members

    @property
    def survivors(self) -> list[int]:
        """The members that were not screened out."""
        return [k for k in range(len(self._members)) if k not in self.dropped]

    @property
    def prepared(self) -> bool:
        """Whether members were screened, and aligned if that was asked for."""
        return self._body is not None and (self.scores is not None or not self.screens)

    @checked
    @isolated
    def prepare(self, data: Data) -> SoftMerge:
        """Screen the members on labelled `data`, choose the reference, and align. Returns itself.

        `fit_gates` calls it.

        Raises:
            DataError: no labels, labels that do not fit the task or tell none, or a network cannot
                run.
            SettingError: the task has no probabilities to sum.
            MembersError: every member is unfit, or the reference is.
        """
        check_ranks_agree(self._members, level=self.level, align=self.align, seed=self.seed)
        examples = Examples.of(data, device_of(self._members[0]))
        found: list[Answered] = []
        for k, model in enumerate(track(self._members, "Screening the members")):
            like = found[0] if found else None
            found.append(answer(model, examples, self.reading, like=like, name=f"Member {k}"))
        task, self.output = self.reading.told, self.reading.output
        check_outputs(self.outputs, task)
        self._outputs = (examples, found) if self.level == "model" else None
        scores = [score_member(task, own, examples) for own in found]
        self.guess, self.scores = from_first_rank((Guess.of(task, found[0]), scores))
        self.dropped = screen(self.scores, self.guess) if self.screens else {}
        self.pruned = {}
        check_survivors(self.survivors, self.dropped, self.reference)
        if self.reference is None:
            self.reference = best_member(self.scores, self.survivors)
        self._build(examples)
        return self

    def ask(self, scoring: Scoring) -> None:
        """Set the task, and the scores that are taken. Members are screened anew for another task.

        Raises:
            SettingError: the task has no such score to choose by, or no probabilities to sum.
        """
        if scoring.named is not None:
            check_outputs(self.outputs, scoring.named)
        self.reading = Reading(scoring, self.output, "learning gates")
        self.scores, self._outputs = None, None

    def outputs_on(self, examples: Examples) -> tuple[list[Tensor], Tensor]:
        """The survivors' rows (r, D) on `examples`, in float32, and their targets.

        Those on the examples of `prepare` are computed once.
        """
        if self._outputs is not None and self._outputs[0] is examples:
            found = [self._outputs[1][k] for k in self.survivors]
        else:
            found = [answer(self._members[k], examples, self.reading) for k in self.survivors]
        return [own.values.float() for own in found], found[0].targets

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The gated output.

        At level "model" that is the weighted sum of the members' outputs, else what one network
        returns.

        Raises:
            SettingError: the members are not aligned yet.
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

    def rows(self, returned: Any, batch: Batch, network: nn.Module | None = None) -> Rows:
        """What `network` returned on a labelled batch as rows of the task, with their targets.

        Raises:
            DataError: it does not fit the labels.
        """
        return self.reading.rows(self.output.of(returned, network), batch)

    def penalty(self) -> Tensor:
        """The mean probability (scalar) that a gate is not 0.

        Add it to the loss, times about 0.01.
        """
        return self.gate.penalty()

    def gates(self) -> GateTable:
        """The gates without noise: one row for each gated part, one column for each member.

        The table also says who is out and why.
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
    @checked
    @isolated
    def recalibrate(self, data: Data) -> int:
        """Measure the statistics of gated batch norms on `data` with the gates as they are.

        Labels are not used. It applies at layer and module level, where the norms' inputs are those
        of no member. Norms outside the gated part keep the reference's statistics.

        Returns:
            The number of norms that were measured.
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
        """The network with the gates fixed, with weights of its own.

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
            live = self._live()[0]
            parts = [self._body[k] for k in live]
            return remaining(parts, gates[0][live], outputs=self.outputs, output=self.output)
        return hardened_modules(self._body, self.sites, gates, self._live())

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
        """Set what follows from who takes part: the basis, the masks and the body."""
        if self.level == "model":
            alive, self.masked = mask_networks(
                self.sites[0], self._members, self.survivors, screened=self.screens
            )
        else:
            self.basis = common_basis(
                self._members,
                self.survivors,
                self.sites,
                self.align,
                self._base,
                examples,
                level=self.level,
                seed=self.seed,
                read=self.rows,
                task=self.reading.task,
            )
            self.dropped |= self.basis.unfit
            alive, self.masked = mask_parts(self.sites, self.basis.states, self.survivors)
        self.gate.alive.copy_(alive)
        self._set_body(alive)
        self.statistics = {}

    def _set_body(self, alive: Tensor) -> None:
        """Set the network or networks that `forward` runs."""
        if self.basis is None:
            self._body = [shared_copy(model) for model in self._members]
            return
        states = self.basis.states
        if self.level == "layer":
            skeleton = shared_copy(self._members[self._base], states[self._base])
            self._body = GatedLayers(skeleton, self.sites, states, alive)
            return
        body = module_body(self._members, states, self.sites, alive, self._base)
        self._norms = own_statistics(body, [site.name for site in self.sites])
        # Not registered as a submodule: its weights are the members', no parameters of this module.
        object.__setattr__(self, "_body", body)

    def extra_repr(self) -> str:
        """The level, the number of members and the reference, as torch prints them."""
        return f"level={self.level}, members={len(self._members)}, reference={self.reference}"
