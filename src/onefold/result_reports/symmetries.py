"""The report of a network's symmetries: what can move, what stays, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from onefold.report import Column, Picture, Report, Section, Table, group_lanes, to_svg
from onefold.report.blocks import Cell
from onefold.report.style import MISSING, can_draw
from onefold.report.symmetry_picture import lanes_of
from onefold.symmetry import SymmetrySpec
from onefold.symmetry.axes import Group

FEW = 3  # names that are written out
MAPS = {  # class of maps -> its words, the widest first
    "invertible": "any invertible map",
    "orthogonal": "rotations",
    "orthogonal_mean": "rotations that keep the mean",
    "permutation": "another order",
    "scale": "other scales",
    "sign": "other signs",
}
NARROWER = {  # class of maps -> the classes that it holds, which are then not named
    "invertible": ("orthogonal", "orthogonal_mean", "permutation", "scale", "sign"),
    "orthogonal": ("orthogonal_mean", "permutation", "sign"),
    "orthogonal_mean": ("permutation",),
}
NOTHING = "Nothing."
ADVICE = (  # words in a reason -> what to do
    (("output of the network", "input of the network"), f"{NOTHING} Its places have a meaning."),
    (("vocabulary",), f"{NOTHING} Every row is a word."),
    (
        ("space of", "time of", "order of", "order along", "windows along", "frequencies"),
        f"{NOTHING} Positions have an order that means something.",
    ),
    (("not used",), f"{NOTHING} The network does not use it on this input."),
    (("a single number",), f"{NOTHING} There is nothing to move."),
    (
        ("reaches ",),
        "Register a rule for this operator, or write the layer with operators that have one.",
    ),
    (
        ("index", "slice", "split", "reshaped", "factor"),
        "Write the layer so that features are not picked or cut by their number; else it stays.",
    ),
    (("buffer",), "Make it a parameter if members shall differ in it; else it stays."),
)
ELSE = "It stays as it is: members that differ there are averaged without a map."


def report_symmetries(spec: SymmetrySpec, name: str, proof: str = "") -> Report:
    """The report of the symmetries of a network.

    Args:
        spec: what can move.
        name: of the network.
        proof: what a numerical proof said, or "".
    """
    moving, spaces = sum(bool(space.groups) for space in spec.spaces), len(spec.spaces)
    report = Report(
        title=f"What can move in {name}",
        verdict=_verdict(spec, moving, spaces),
        data={
            "groups": len(spec.groups),
            "coverage": spec.coverage,
            "parameters": spec.parameters,
            "spaces": spaces,
            "moving spaces": moving,
            "frozen": dict(spec.frozen),
            "unknown operators": dict(spec.unknown),
        },
    )
    if spec.groups and can_draw():
        report.picture = Picture(
            svg=to_svg(group_lanes(lanes_of(spec)), "groups"),
            caption="A row for every group of features that moves together, a column for every"
            " tensor in the order of use. One map acts on all marks of a row at once, and the"
            " network computes what it did.",
            description=f"{len(spec.groups)} groups of features along the network; the table"
            " below lists them.",
            zoom=True,
        )
    elif spec.groups:
        report.summary = f"(No picture. {MISSING})"
    if spec.groups:
        report.section("What can move").table(moving_table(spec.groups))
    if stays := staying_table(spec):
        report.section("What stays, and what to do about it").table(stays)
    if proof:
        report.section("The proof in numbers").text(proof)
    _what_it_is_for(report.section("What this is for", folded=True))
    return report


def moving_table(groups: Sequence[Group]) -> Table:
    """A row for each group of features."""
    columns = (
        Column(name="group"),
        Column(name="features"),
        Column(name="may take"),
        Column(name="read at"),
        Column(name="tensors"),
        Column(name="among them"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            group.name,
            group.size,
            maps_in_words(group),
            group.probes[0].node if group.probes else None,
            len({slot.tensor for slot in group.slots}),
            few(list(dict.fromkeys(slot.tensor for slot in group.slots))),
        )
        for group in groups
    ]
    return Table(columns=columns, rows=tuple(rows))


def staying_table(spec: SymmetrySpec) -> Table | None:
    """Features and tensors that stay, by reason, and what to do; None if nothing stays."""
    found: dict[str, list[str]] = {}
    for space in spec.spaces:
        if not space.groups:
            found.setdefault(space.reason, []).append(f"features of {space.node}")
    for tensor, reason in spec.frozen.items():
        found.setdefault(reason, []).append(tensor)
    rows: list[tuple[Cell, ...]] = [
        (few(names), len(names), reason or "no reason is known", advice(reason))
        for reason, names in found.items()
    ]
    rows += [
        (f"operator {name}", count, "no rule for it", advice("reaches "))
        for name, count in spec.unknown.items()
    ]
    if not rows:
        return None
    columns = tuple(Column(name=name) for name in ("what stays", "number", "why", "what to do"))
    return Table(columns=columns, rows=tuple(rows))


def advice(reason: str) -> str:
    """What to do about features that stay for this reason."""
    return next((todo for words, todo in ADVICE if any(word in reason for word in words)), ELSE)


def maps_in_words(group: Group) -> str:
    """The widest classes of maps that a group allows."""
    told = _widest(group.maps)
    wider = [kind for kind in _widest(group.folded) if kind not in told]
    text = ", ".join(MAPS[kind] for kind in told)
    more = f"; {', '.join(MAPS[kind] for kind in wider)} once scales are folded" * bool(wider)
    return text + more + "; one for each head or block" * bool(group.over)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def _widest(kinds: frozenset[str]) -> list[str]:
    held = {name for kind in kinds for name in NARROWER.get(kind, ())}
    return [kind for kind in MAPS if kind in kinds and kind not in held]


def _verdict(spec: SymmetrySpec, moving: int, spaces: int) -> str:
    share = f"{100 * spec.coverage:.1f} % of {spec.parameters:,} parameters"
    if not spec.groups:
        return "Nothing can move in this network, so members of it cannot be aligned."
    which = f"All {spaces}" if moving == spaces else f"{moving} of {spaces}"
    if spaces == 1:
        which = "The only one" if moving else "None"
    return f"{which} of the feature spaces between layers can move, and with them {share}."


def _what_it_is_for(section: Section) -> None:
    section.text(
        "Networks that were trained apart number their features differently. Before their weights"
        " can be averaged, the features of each are mapped onto those of a reference. A group is a"
        " set of features that one such map moves: it acts on every tensor that makes or reads"
        " them, so that the network computes what it did."
    )
    section.text(
        "Features that stay are averaged as they are. Where members differ much in them the"
        " average is worse; a partial merge up to that layer, or an ensemble, does not suffer."
    )
