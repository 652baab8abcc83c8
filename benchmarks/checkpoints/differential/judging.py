"""What came of one configuration on both sides, and the reason of every difference.

A reason is only given where a further run shows it: mergekit with stable sorts, or both sides with
float32 within. What none of them explains is listed without a reason, and fails the benchmark.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkpoints.differential.carrying_out import Task, run_onefold, within
from benchmarks.checkpoints.differential.comparing import Compared, compared, stored
from benchmarks.checkpoints.differential.configurations import Configuration
from benchmarks.checkpoints.differential.loading import unloadable
from benchmarks.checkpoints.differential.random_parts import statistics
from benchmarks.checkpoints.differential.tokens import ROWS, by_token, numbers_of

RELATIVE, SHARE = 1e-6, 1e-3
SORTING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce", "arcee_fusion")
SPHERES = ("slerp", "nuslerp", "multislerp", "karcher")
TIES = (
    "Magnitudes are equal at the edge of what is kept, and torch's sort leaves the order of equal"
    " ones open; where it is stable, mergekit keeps the elements that onefold keeps."
)
ROUNDING = (
    "mergekit computes in the dtype of the inputs, onefold in float32; where the document asks for"
    " float32 within, both agree."
)
DIGITS = "Weights of both signs almost cancel, where float32 loses digits in mergekit."
NEAR = (
    "With float32 within on both sides, its rounding decides where terms cancel or variances are"
    " almost equal; at most one element of a thousand."
)
DTYPE = "mergekit's mask is float32 and makes the result float32; onefold writes the inputs' dtype."
PADDING = (
    "onefold keeps rows that stand for no token, as many models are published with them; mergekit"
    " cuts them off, or makes them a mean."
)
TRIMMED = (
    "The rows of no token that onefold keeps are elements of the tensor, so that a share of its"
    " elements is another number; all other tensors agree."
)
ORDER = (
    "mergekit numbers new tokens in the order of a hash map, which is another one in each run;"
    " onefold keeps the order of the model that they come from."
)
HEAD = (
    "The first model ties its head to its embedding, so that onefold writes none and transformers"
    " ties it again; mergekit writes a head that transformers does not read."
)
UNDONE = "onefold does not do this; it says so before it reads a tensor."
STRICT = "A strict reader refuses it; read as mergekit reads it, both agree."
UNDEFINED = "All models have this tensor as the base has it; its mean is the base, not an error."


@dataclass
class Verdict:
    """What came of one configuration.

    Attributes:
        configuration: the configuration.
        elements: number of elements that were compared.
        relative: of float32: the greatest difference over the greatest value of its tensor.
        beyond: of 16 bits: number of elements that differ by more than one unit in the last place.
        within: the same where both sides compute in float32.
        mergekit: the same between mergekit as it is and with float32 within.
        chance: random methods: their statistics.
        differences: (what, reason); no reason: it is not explained.
    """

    configuration: Configuration
    elements: int = 0
    relative: float | None = None
    beyond: int | None = None
    within: int | None = None
    mergekit: int | None = None
    chance: dict[str, Any] | None = None
    differences: list[tuple[str, str]] = field(default_factory=list)

    @property
    def unexplained(self) -> list[str]:
        """Differences without a reason."""
        return [what for what, reason in self.differences if not reason]

    def told(self) -> dict[str, Any]:
        """The verdict as plain data."""
        one = self.configuration
        found = {"name": one.name, "method": one.method, "family": one.family, "dtype": one.dtype}
        numbers: dict[str, Any] = {
            "elements": self.elements,
            "relative": None if self.relative is None else float(f"{self.relative:.2g}"),
            "beyond": self.beyond,
            "within": self.within,
            "mergekit": self.mergekit,
            "chance": self.chance,
        }
        told = {key: value for key, value in numbers.items() if value is not None}
        return {**found, **told, "differences": [list(pair) for pair in self.differences]}


def tasks_of(configuration: Configuration, models: Path, outputs: Path) -> dict[str, Task]:
    """What mergekit has to carry out for one configuration."""
    folder, stem = models / configuration.models, outputs / slug(configuration.name)
    found = {"plain": Task(folder, configuration.text, stem / "mergekit")}
    if configuration.method in SORTING:
        found["stable"] = Task(folder, configuration.text, stem / "stable", stable=True)
    if configuration.dtype != "float32":
        text = within(configuration, "float32")
        found["within"] = Task(folder, text, stem / "within", stable=True)
    if configuration.method in SPHERES and configuration.dtype == "float32":
        text = within(configuration, "float64")
        found["exact"] = Task(folder, text, stem / "exact")
    return found


def slug(name: str) -> str:
    """A name as a part of a path."""
    return name.replace(",", "").replace(" ", "_")


def judge(
    configuration: Configuration, tasks: dict[str, Task], problems: dict[Path, str]
) -> Verdict:
    """Carry out a configuration here, and compare.

    Args:
        configuration: the configuration.
        tasks: what mergekit has carried out, by what is special about it.
        problems: for each output what went wrong, or "".
    """
    verdict, plain = Verdict(configuration), tasks["plain"]
    out = plain.out.with_name("onefold")
    problem, _ = run_onefold(Task(plain.folder, plain.text, out))
    theirs = problems[plain.out]
    if problem and theirs:
        verdict.differences.append((f"Both refuse. onefold: {problem} mergekit: {theirs}", "Same."))
        return verdict
    if theirs:
        reason = UNDEFINED if "weighted sum" in theirs else ""
        verdict.differences.append((f"mergekit fails: {theirs.splitlines()[0][:90]}", reason))
        return verdict
    if problem:
        sentence = f"onefold refuses: {problem.split(', key ')[-1]}"
        again, _ = run_onefold(Task(plain.folder, plain.text, out), as_mergekit=True)
        reason = UNDONE if "tokenizer" in plain.text else ""
        verdict.differences.append((sentence, reason if again else STRICT))
        if again:
            return verdict
    _compare(verdict, out, tasks)
    for side, folder in (("onefold", out), ("mergekit", plain.out)):
        if wrong := unloadable(folder):
            verdict.differences.append((f"transformers and the output of {side}: {wrong}", ""))
    return verdict


def _compare(verdict: Verdict, out: Path, tasks: dict[str, Task]) -> None:
    one, plain = verdict.configuration, tasks["plain"]
    if one.random:
        _compare_chances(verdict, out, plain)
        return
    found = _compared(verdict, out, plain.out, tell=True)
    verdict.elements = found.elements
    stable = _compared(verdict, out, tasks["stable"].out) if "stable" in tasks else None
    if not found.small:
        verdict.relative = found.relative
        if found.relative > RELATIVE:
            what = f"{found.apart} elements differ, by {found.relative:.1e} at most"
            reason = TIES if stable and stable.relative <= RELATIVE else ""
            if "exact" in tasks:
                exact = _compared(verdict, out, tasks["exact"].out).relative
                what += f", and by {exact:.1e} where mergekit computes in float64"
                reason = DIGITS if exact <= RELATIVE else ""
            if PADDING in dict(verdict.differences).values() and stable:
                reason = TRIMMED if all(name.endswith(ROWS) for name in found.where) else ""
            verdict.differences.append((what, reason))
        return
    verdict.beyond = found.beyond
    if one.dtype == "float32":
        if found.share > SHARE:
            verdict.differences.append((f"{found.beyond} elements differ", ""))
        return
    wide = tasks["within"]
    other = out.with_name("onefold-within")
    run_onefold(Task(wide.folder, wide.text, other), as_mergekit=True)
    both = _compared(verdict, other, wide.out)
    verdict.within = both.beyond
    verdict.mergekit = compared(stored(wide.out), stored(plain.out)).beyond
    if both.share > SHARE or both.relative > RELATIVE:
        verdict.differences.append((f"{both.beyond} elements differ with float32 within", ""))
        return
    tied = 0 if stable is None else max(0, found.beyond - stable.beyond)
    counts = ((found.beyond - tied, ROUNDING), (tied, TIES), (both.beyond, NEAR))
    for count, reason in counts:
        if count:
            what = f"{count} of {found.elements} elements by more than one unit"
            verdict.differences.append((what, reason))


def _compared(verdict: Verdict, ours: Path, theirs: Path, tell: bool = False) -> Compared:
    one, other = stored(ours), stored(theirs)
    if "tokenizer" in verdict.configuration.text:
        here, there = numbers_of(ours), numbers_of(theirs)
        if tell and here != there:
            odd = {token for token, _ in here.items() ^ there.items()}
            same = {here.get(token) for token in odd} == {there.get(token) for token in odd}
            what = f"{len(odd)} new tokens have other numbers, and the same rows"
            verdict.differences.append((what, ORDER if same else ""))
        order = sorted(set(here) & set(there))
        one, padding = by_token(one, here, order)
        other, cut = by_token(other, there, order)
        if tell and (padding or cut):
            what = f"{padding} rows of no token, {cut} in mergekit"
            verdict.differences.append((what, PADDING))
    found = compared(one, other)
    if tell:
        for name in found.theirs:
            verdict.differences.append((f"mergekit alone writes {name}", _head(name, ours)))
        for what in (*(f"onefold alone writes {name}" for name in found.ours), *found.shapes):
            verdict.differences.append((what, ""))
        if found.dtypes:
            is_mask = verdict.configuration.method in ("arcee_fusion", "ramplus_tl")
            what = f"{len(found.dtypes)} tensors of another dtype, such as {found.dtypes[0]}"
            verdict.differences.append((what, DTYPE if is_mask else ""))
    return found


def _head(name: str, folder: Path) -> str:
    tied = '"tie_word_embeddings": true' in (folder / "config.json").read_text()
    return HEAD if tied and name == "lm_head.weight" else ""


def _compare_chances(verdict: Verdict, out: Path, plain: Task) -> None:
    text = verdict.configuration.text
    names = [name for name in ("a", "b", "c") if f"model: {name}" in text]
    base, *models = (stored(plain.folder / name) for name in ("base", *names))
    ours, theirs = stored(out), stored(plain.out)
    found = compared(ours, theirs)
    for name in (*found.ours, *found.theirs, *found.shapes, *found.dtypes):
        verdict.differences.append((f"{name} is on one side alone, or another one", ""))
    verdict.elements = found.elements
    told = statistics(text, base, models, ours, theirs)
    verdict.chance = asdict(told)
    if not told.agrees:
        verdict.differences.append(("the statistics are others", ""))
