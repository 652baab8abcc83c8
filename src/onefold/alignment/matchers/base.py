"""The base classes of matchers, and the registry that a decorator fills."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from onefold.alignment.features import Features
from onefold.alignment.moments import Moments
from onefold.arguments import check_fields
from onefold.errors import AlignmentError, SettingError
from onefold.registry import Registry
from onefold.symmetry import GroupMap, SymmetrySpec

PROBES = ("auto", "pre", "post")


@dataclass(frozen=True)
class Match:
    """The map of one member's features to the reference's.

    Attributes:
        map: the map from the member's features to the reference's.
        scores: (C,), float64. For permutations they are the correlations of the matched pairs, in
            the reference's order; for dense maps the canonical correlations, descending.
        condition: the condition number of the map.
    """

    map: GroupMap
    scores: Tensor
    condition: float = 1.0


@dataclass(frozen=True)
class Matcher(ABC):
    """Base of all matchers: a frozen dataclass whose fields are its settings.

    Attributes:
        probe: "pre" or "post": features are read before or after the activation; "auto": as suits
            the matcher.
        dense: the matcher returns matrices. Groups that take only permutations fall back to a
            rotation if they take one, else to a permutation.
        exact: the maps of a dense matcher leave every member's function unchanged.
        rotates: groups that take rotations and no other matrix get one from a dense matcher; if
            False they get a permutation.
        inverts: the matcher needs more samples than features.
        covariances: the matcher needs whole covariance matrices of each member, not only variances.
        widths: the matcher also maps between features of unequal numbers.
        reads: "pre" or "post": how "auto" is understood.
    """

    probe: str = field(default="auto", kw_only=True)

    dense: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    rotates: ClassVar[bool] = True
    inverts: ClassVar[bool] = False
    covariances: ClassVar[bool] = False
    widths: ClassVar[bool] = False
    reads: ClassVar[str] = "post"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: one of them is unusable.
        """
        check_fields(self)
        if self.probe not in PROBES:
            raise SettingError(
                f"The probe is {self.probe!r}; it is where features are read, 'auto', 'pre' or"
                " 'post'."
            )

    @property
    def read_at(self) -> str:
        """Where features are read, "pre" or "post"."""
        return self.reads if self.probe == "auto" else self.probe

    def settings(self) -> dict[str, Any]:
        """The settings as plain data, for reports: the fields, with `read_at` for the probe."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "probe"]
        return {name: getattr(self, name) for name in names} | {"features read": self.read_at}

    @abstractmethod
    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to `moments.reference`.

        Raises:
            AlignmentError: the moments do not allow it.
        """


class JointMatcher(Matcher):
    """A matcher that maps all members at once, the reference included, from moments of all pairs.

    It serves groups with `Group.dense` and without fibres; others get permutations to the
    reference.
    """

    dense: ClassVar[bool] = True
    rotates: ClassVar[bool] = False
    covariances: ClassVar[bool] = True

    @abstractmethod
    def match_all(self, moments: Moments) -> list[Match]:
        """The map of every member into one common basis; `moments` hold all pairs of members."""

    def match(self, moments: Features, member: int) -> Match:
        """Refuse: this matcher does not map one member alone.

        Raises:
            AlignmentError: always.
        """
        raise AlignmentError(
            f"{type(self).__name__} maps all members at once; use match_all, or onefold.align."
        )


class StateMatcher(Matcher):
    """A matcher that reads the members' weights and no data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probe != "auto":
            raise SettingError(
                f"{type(self).__name__} reads weights and no features; leave out the probe."
            )

    @abstractmethod
    def match_states(
        self,
        spec: SymmetrySpec,
        states: Sequence[Mapping[str, Tensor]],
        reference: int | None,
        seed: int,
    ) -> dict[str, tuple[Match, ...]]:
        """Group -> a match for each member.

        Maps of groups with fibres are (fibres, C), in the order of the member's fibres.

        Args:
            spec: the symmetries of the networks.
            states: the members' weights.
            reference: the member that the others are mapped to; None: a common basis of all.
            seed: of what is random in the matcher.
        """

    def match(self, moments: Features, member: int) -> Match:
        """Refuse: this matcher reads no features.

        Raises:
            AlignmentError: always.
        """
        raise AlignmentError(
            f"{type(self).__name__} reads weights and no features; use match_states, or"
            " onefold.align."
        )


feature_matchers: Registry[type[Matcher]] = Registry("matcher")
