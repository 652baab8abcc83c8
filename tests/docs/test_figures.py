"""What the prose of the documents says of figures is what the benchmarks' JSON says. Tables are
written from it (test_evidence.py).
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def script(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark's script as a module, with what lies beside it."""
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def read(root: Path, name: str) -> Any:
    return json.loads((root / "benchmarks" / "results" / name).read_text())


def prose(root: Path, page: str) -> str:
    """A page's text on one line."""
    return " ".join((root / page).read_text().split())


def rounded(value: float, digits: int = 1) -> str:
    """As people round: a half goes up. Figures are means of percentages of two digits."""
    exact = Decimal(str(round(value, 6)))
    return str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)).replace("-0.0", "0.0")


MEASURED = ", norms re-estimated"


def test_what_is_said_of_polish(root: Path) -> None:
    text, record = prose(root, "docs/evidence/polish.md"), read(root, "polish/results.json")
    small, vgg, same = (record[name] for name in ("small, halves", "vgg11, halves", "small, same"))

    def gain(group: dict[str, Any], plan: str, start: str = "best member") -> str:
        return rounded(group["polished"][start][plan]["test"]["gain"])

    def whole(group: dict[str, Any]) -> float:
        return group["ensemble"]["test"]["gain"]

    slow, fast, ten, forty = (
        "3 passes at 1e-4",
        "3 passes at 1e-3",
        "10 passes at 1e-3",
        "40 passes at 1e-3",
    )
    views = ", crops and flips"
    for group in (small, vgg):
        assert group["polished"]["best member"][slow]["test"]["gain"] > whole(group) / 2
    shares = [
        100 * group["polished"]["best member"][ten]["test"]["gain"] / whole(group)
        for group in (small, vgg)
    ]
    faster = [
        group["polished"]["best member"][fast]["test"]["gain"]
        - group["polished"]["best member"][slow]["test"]["gain"]
        for group in (small, vgg)
    ]
    for said in (
        f"{gain(small, slow)} of {rounded(whole(small))} points for small networks and"
        f" {gain(vgg, slow)} of {rounded(whole(vgg))} for VGG11/4. Ten passes at 1e-3 bring"
        f" {gain(small, ten)} and {gain(vgg, ten)}, which is {shares[0]:.0f} and {shares[1]:.0f} %",
        f"ten passes: {gain(small, ten, 'fold')} against {gain(small, ten)})",
        f"crops and flips: {gain(vgg, ten + views, 'fold')} against {gain(vgg, ten + views)}; three"
        f" passes at 1e-4: {gain(vgg, slow, 'fold')} against {gain(vgg, slow)})",
        f"bring {gain(small, ten + views)} and {gain(vgg, ten + views)} where the images as they"
        f" are bring {gain(small, ten)} and {gain(vgg, ten)}, and forty bring small networks"
        f" {gain(small, forty)} with and without. Mixed images bring them"
        f" {gain(small, ten + ', mixed')} in ten passes",
        f"brings small networks {rounded(faster[0])} more and VGG11/4 {rounded(-faster[1])} less",
        f"only {rounded(whole(same))} ± {rounded(same['ensemble']['test']['error'])} above",
    ):
        assert said in text, said
    assert gain(small, forty) == gain(small, forty + views)
    moved = [abs(row["test"]["gain"]) for row in same["polished"]["best member"].values()]
    assert float(rounded(max(moved))) <= 0.2


def test_what_is_said_of_polish_and_batch_norms(root: Path) -> None:
    text, record = prose(root, "docs/evidence/polish.md"), read(root, "polish/results.json")
    halves, same = (
        record[f"vgg11, {kind}"]["polished"]["best member"] for kind in ("halves", "same")
    )

    def pair(plan: str) -> list[str]:
        return [rounded(halves[f"{plan}{end}"]["test"]["gain"]) for end in ("", MEASURED)]

    slow, fast = pair("3 passes at 1e-4"), pair("3 passes at 1e-3")
    ten, wild = (pair(f"10 passes at {rate}, crops and flips") for rate in ("1e-3", "3e-3"))
    level = same["3 passes at 1e-4"]["test"]
    others = [row["test"] for plan, row in same.items() if not plan.startswith("3 passes at 1e-4")]
    for said in (
        f"left ({slow[0]}) or re-estimated ({slow[1]})",
        f"bring VGG11/4 {fast[1]} instead of {fast[0]}, ten over crops and flips {ten[1]}"
        f" instead of {ten[0]}, and at 3e-3 statistics that are left turn a gain of {wild[1]}"
        f" into a loss of {wild[0].removeprefix('-')}.",
        f"{rounded(record['vgg11, same']['ensemble']['test']['gain'])} above; three passes at 1e-4"
        f" bring {rounded(level['gain'])} ± {rounded(level['error'])}",
        "cost VGG11/4 of the same images"
        f" {rounded(-same['10 passes at 1e-3, mixed' + MEASURED]['test']['gain'])}.",
    ):
        assert said in text, said
    assert all(row["gain"] < 2 * row["error"] for row in (level, *others))


def test_what_is_said_of_polish_of_a_network_that_is_trained_out(root: Path) -> None:
    text = prose(root, "docs/evidence/polish.md")
    group = read(root, "polish/results.json")["resnet20, halves"]
    best, fold = (
        {plan: row["test"]["gain"] for plan, row in group["polished"][start].items()}
        for start in ("best member", "fold")
    )
    slow, whole = best["3 passes at 1e-4"], group["ensemble"]["test"]["gain"]
    lost = slow - best["3 passes at 1e-4" + MEASURED]
    said = (
        f"bring ResNet-20 {rounded(slow)} of {rounded(whole)} points from the best member,"
        f" {100 * slow / whole:.0f} % of what the ensemble gains. Its fold is"
        f" {rounded(-group['fold']['test']['gain'])} below the best member, and stays below it by"
        f" {rounded(-fold['3 passes at 1e-4'])}. Statistics that are measured anew cost it"
        f" {rounded(lost)} points at that rate, and 1e-3 brings"
        f" {rounded(best['3 passes at 1e-3'])}."
    )
    assert said in text, said


def test_what_is_said_of_transformers(root: Path) -> None:
    text, record = (
        prose(root, "docs/evidence/transformers.md"),
        read(root, "transformers/results.json"),
    )

    def found(name: str, fold: str) -> list[float]:
        return [row["test"] for row in record[name]["folds"][fold]]

    def members(name: str, pick: Any) -> list[float]:
        return [
            pick(record[name]["members"]["test"][k] for k in pair) for pair in record[name]["pairs"]
        ]

    def kept(name: str, fold: str) -> list[float]:
        rows = zip(found(name, fold), found(name, "none, none"), members(name, min), strict=True)
        return [100 * (a - plain) / (weaker - plain) for a, plain, weaker in rows]

    solved = ("least squares, correlation", "least squares, pruning")
    shares = [
        statistics.mean(kept(name, fold))
        for name in ("vit", "prenorm", "bert", "lstm")
        for fold in solved
    ]
    assert f"on average {min(shares):.0f} to {max(shares):.0f} % of the way" in text
    narrow = kept("lstm-narrow", solved[0])
    assert (
        f"{statistics.mean(narrow):.0f} % in the narrow one"
        f" ({', '.join(f'{k:.0f}' for k in narrow[:2])} and {narrow[2]:.0f})" in text
    )
    gains = [a - b for a, b in zip(found("bert", solved[1]), members("bert", max), strict=True)]
    assert (
        f"in BERT pruning is {rounded(statistics.mean(gains))} points above the better member on"
        f" average ({', '.join(map(rounded, gains))})" in text
    )
    lifted = [
        rounded(statistics.mean(found("vit", fold))) for fold in ("permutation, full", solved[0])
    ]
    assert "it lifts permutation from {} to {} %".format(*lifted) in text
    turned = [
        k
        for name in ("prenorm", "bert")
        for repair in ("none", "full")
        for k in kept(name, f"rotation, {repair}")
    ]
    assert (
        f"keeps {min(turned):.0f} to {max(turned):.0f} % of the way in both text transformers"
        in text
    )
    both = {fold: kept("vit", f"{fold}, full") for fold in ("rotation", "permutation")}
    assert (
        f"with repair {min(both['rotation']):.0f} to {max(both['rotation']):.0f} % in the vision"
        in text
    )
    assert (
        f"permutation with repair keeps {min(both['permutation']):.0f} to"
        f" {max(both['permutation']):.0f} %" in text
    )
    wide, own = (
        kept("lstm", "cca, none"),
        [row["mapped member, test"] for row in record["lstm"]["folds"]["cca, none"]],
    )
    assert (
        f"{statistics.mean(own):.0f} % on average, yet the average of both is the best one:"
        f" {min(wide):.0f} to {max(wide):.0f} % of the way" in text
    )
    few = {
        fold: "{:.0f}, {:.0f} and {:.0f} %".format(*kept("lstm-narrow", f"{fold}, none"))
        for fold in ("cca", "rotation")
    }
    assert f"With 128 units it keeps {few['cca']}" in text
    assert f"rotation keeps {few['rotation']}" in text


class Study:
    """Figures of the study of folds, by its rows' names."""

    def __init__(self, root: Path, table: ModuleType) -> None:
        self.record, self.table = read(root, "folding/study.json"), table

    def sets(self, group: str) -> list[dict[str, Any]]:
        return sorted(self.record[group].values(), key=lambda s: (s["images"], len(s["files"])))

    def accuracy(self, group: str, row: str, each: bool = False) -> list[float]:
        """Of every set. each: the setting is chosen for each set by itself."""
        sets = self.sets(group)
        if row == "best member":
            return [self.table.anchor(s)["accuracy"] for s in sets]
        if row == "ensemble":
            return [s["ensemble"]["test"]["accuracy"] for s in sets]
        keys = {shown: key for key, shown in self.table.RECORDED.items()}
        if row in keys:
            return [s[keys[row]]["test"]["accuracy"] for s in sets]
        names = [self.table.best([s] if each else sets, self.table.ROWS[row]) for s in sets]
        return [s["folds"][name]["test"]["accuracy"] for s, name in zip(sets, names, strict=True)]

    def above(self, group: str, row: str, other: str, each: bool = False) -> list[float]:
        pairs = zip(self.accuracy(group, row, each), self.accuracy(group, other, each), strict=True)
        return [a - b for a, b in pairs]

    def gain(self, group: str, row: str, other: str = "best member") -> str:
        return rounded(statistics.mean(self.above(group, row, other)))

    def error(self, group: str, row: str, other: str) -> str:
        """Standard error of the mean."""
        found = self.above(group, row, other)
        return rounded(statistics.stdev(found) / len(found) ** 0.5)


SOLVED, POLISHED, VIEWS = (
    "least squares, pruning",
    "least squares, polish 3",
    "least squares, polish 10 on views",
)
DISTILLED, DISTILLED_VIEWS = "distillation, 3 passes", "distillation, 10 passes on views"
POOL, POOLED = "ensemble, pooled by class", "pooled by class: "
BALANCED = POOLED + "distillation into the balanced best member, 3 passes"


@pytest.fixture
def study(root: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(root, script(root / "benchmarks" / "folding" / "study_table.py", monkeypatch))


def test_what_is_said_of_two_members(root: Path, study: Study) -> None:
    text = prose(root, "docs/evidence/least_squares.md")
    below = [
        -statistics.mean(study.above(group, row, "best member"))
        for group in ("same-vgg11", "same-resnet20", "halves-vgg11", "dirichlet-vgg11")
        for row in study.table.ROWS
        if row.endswith(", repair") and not row.startswith("plain")
        if study.table.best(study.sets(group), study.table.ROWS[row])
    ]
    assert (
        f"they lie {min(below):.0f} to {max(below):.0f} points below the best member of two VGG11"
        " or ResNet-20" in text
    )
    g = study.gain
    halves, more, uneven = "halves-vgg11", "halves-vgg11-8000", "dirichlet-vgg11-8000"
    for said in (
        (
            f"least squares is {g(halves, SOLVED)} points above the best member and"
            f" {g(halves, 'ensemble', SOLVED)} below the ensemble, {g(halves, SOLVED, DISTILLED)}"
            " above three passes of distillation"
        ),
        f"{g(halves, POLISHED)} above and {g(halves, 'ensemble', POLISHED)} below.",
        (
            f"polished for three passes {g(more, POLISHED)} above the best member,"
            f" {g(more, 'ensemble', POLISHED)} below the ensemble, {g(more, POLISHED, DISTILLED)}"
            f" above distillation; for ten passes over views that change {g(more, VIEWS)},"
            f" {g(more, 'ensemble', VIEWS)} and {g(more, VIEWS, DISTILLED_VIEWS)}."
        ),
        (
            f"{g(uneven, SOLVED)} points above the best member, {g(uneven, POLISHED)} polished and"
            f" {g(uneven, VIEWS)} with ten passes over views, where the ensemble is"
            f" {g(uneven, 'ensemble')} above; that is {g(uneven, 'ensemble', POLISHED)} and"
            f" {g(uneven, 'ensemble', VIEWS)} below the ensemble, {g(uneven, POLISHED, DISTILLED)}"
            f" and {g(uneven, VIEWS, DISTILLED_VIEWS)} above distillation."
        ),
    ):
        assert said in text, said


def test_what_is_said_of_members_pooled_by_class(root: Path, study: Study) -> None:
    text, g, error = prose(root, "docs/evidence/class_pools.md"), study.gain, study.error
    few, more, halves = "dirichlet-vgg11", "dirichlet-vgg11-8000", "halves-vgg11-8000"
    fold, plain = POOLED + POLISHED, POOLED + "least squares"
    direct = POOLED + DISTILLED
    for said in (
        f"{g(more, plain)} points above the best member and {g(more, fold)} ± ",
        (
            f"({g(more, POOLED + VIEWS)} with ten over views), which is {g(more, fold, 'ensemble')}"
            f" above the plain ensemble, {g(more, POOL, fold)} below the pool (itself"
            f" {g(more, POOL)} above)"
        ),
        (
            f"{g(more, fold, DISTILLED)} ± {error(more, fold, DISTILLED)} (standard error) above"
            f" distilling the plain ensemble and {g(more, fold, direct)} ±"
            f" {error(more, fold, direct)} and {g(more, fold, BALANCED)} ±"
            f" {error(more, fold, BALANCED)} above distilling the pool"
        ),
        (
            f"polished: {g(few, fold)}, {g(few, POOL, fold)} below the pool, {g(few, fold, direct)}"
            f" and {g(few, fold, BALANCED)} above these distillations"
        ),
        (
            f"gains {g(more, 'best member, balanced')} without the others**; over that, a fold wins"
            f" {g(more, fold, 'best member, balanced')}."
        ),
        f"{g(halves, plain)} and, polished, {g(halves, fold)} ± ",
        (
            f"{g(halves, 'ensemble', fold)} below the plain ensemble, {g(halves, POOL, fold)} below"
            f" the pool, {g(halves, fold, direct)} and {g(halves, fold, BALANCED)} above distilling"
            f" the pool. The best member, balanced, gains {g(halves, 'best member, balanced')}."
        ),
    ):
        assert said in text, said


def test_what_is_said_of_many_members(root: Path, study: Study) -> None:
    text = prose(root, "docs/evidence/least_squares.md") + prose(
        root, "docs/evidence/class_pools.md"
    )
    group = "many-dirichlet"
    pool = [rounded(x) for x in study.above(group, POOL, "ensemble")]
    assert f"the pool is {pool[0]}, {pool[1]} and {pool[2]} points above the plain ensemble" in text
    pooled, plain = (
        [rounded(x) for x in study.accuracy(group, row, each=True)]
        for row in (POOLED + "least squares", SOLVED)
    )
    assert f"({', '.join(pooled[:3])} instead of {plain[0]}, {plain[1]} and {plain[2]})" in text
    last = [
        rounded(study.accuracy(group, row, each=True)[3])
        for row in (POOL, "ensemble", POOLED + "least squares")
    ]
    assert f"{last[0]} against {last[1]}, and {last[2]} folded" in text
    balanced = [rounded(x) for x in study.accuracy(group, BALANCED, each=True)]
    assert f"it has {balanced[0]}, {balanced[1]}, {balanced[2]} and {balanced[3]}" in text
    assert (
        f"with sixteen {rounded(study.above(group, SOLVED, 'best member', each=True)[3])} points"
        " above the best of them" in text
    )
    assert min(study.above(group, SOLVED, "ensemble", each=True)) > -1
    solved, polished = (
        [rounded(x) for x in study.above("many-halves", row, "best member", each=True)]
        for row in (SOLVED, POLISHED)
    )
    assert (
        f"{solved[0]} and {solved[1]} above the best member, {polished[0]} and {polished[1]}"
        " polished" in text
    )
    means, same = "least squares, means", ("same-vgg11", "same-resnet20", "many-same")
    differ = [
        statistics.mean(study.above(name, SOLVED, means))
        for name in ("halves-vgg11", "dirichlet-vgg11")
    ]
    differ += [
        x
        for name in ("many-halves", "many-dirichlet", "images")
        for x in study.above(name, SOLVED, means, each=True)
    ]
    alike = [statistics.mean(study.above(name, SOLVED, means)) for name in same[:2]] + study.above(
        same[2], SOLVED, means, each=True
    )
    said = (
        f"{min(differ):.0f} to {max(differ):.0f} points better where members know different things,"
        f" and {min(alike):.1f} to {max(alike):.1f}"
    )
    assert said in text, said


def test_what_is_said_of_uneven_data(root: Path) -> None:
    text, record = prose(root, "docs/evidence/class_pools.md"), read(root, "folding/uneven.json")

    def gain(group: str, ratio: str, told: str = "taken to be even") -> float:
        return statistics.mean(row[told] - row["ensemble"] for row in record[group][ratio])

    uneven, halves = "dirichlet-vgg11-8000", "halves-vgg11-8000"
    assert f"({rounded(gain(uneven, '2'))} of {rounded(gain(uneven, '1'))} points)" in text
    assert f"is lost ({rounded(gain(halves, '2'))})" in text
    for ratio, words in (
        ("4", "with four times the pool is {} and {}"),
        ("10", "with ten times {} and {}"),
    ):
        assert words.format(rounded(-gain(uneven, ratio)), rounded(-gain(halves, ratio))) in text
    told = [gain(halves, ratio, "told the shares") for ratio in ("2", "4", "10")]
    assert f"({rounded(min(told))} at the worst)" in text


def test_what_is_said_of_few_images(root: Path) -> None:
    text, record = (
        prose(root, "docs/evidence/least_squares.md"),
        read(root, "folding/few_images.json"),
    )

    def mean(group: str, key: str) -> float:
        return statistics.mean(draw[key] for draw in record[group])

    def steps(groups: list[str], key: str) -> list[float]:
        return [mean(group, "after") - mean(group, key) for group in groups]

    shared = [name for name in record if "Dirichlet" in name]
    same = [name for name in record if "same" in name]
    before, head, best = (steps(shared, key) for key in ("before", "head", "best"))
    pools = [draw["pool"] for draw in record["2, Dirichlet"]]
    for said in (
        f"is {rounded(min(before))} to {rounded(max(before))} points above the same fold towards",
        f"and {rounded(min(head))} to {rounded(max(head))} above solving nothing but the head",
        f"It lies {rounded(min(best))} to {rounded(max(best))} points above the best member",
        f"and {rounded(-min(steps(same, 'best')))} below it at most",
        f"whose estimate differs by {max(pools) - min(pools):.0f} points from draw to draw",
    ):
        assert said in text, said


def test_what_is_said_of_the_aim(root: Path) -> None:
    record = read(root, "folding/aims.json")
    still = [value for row in record.values() for value in row["stillness"]]
    rule = prose(root, "src/onefold/ensemble/mean_choice.py")
    said = f"below 0.9 for {sum(value < 0.9 for value in still)} of {len(still)} small classifiers"
    assert said in rule


def test_what_is_said_of_repair_without_alignment(root: Path) -> None:
    record = read(root, "folding/unaligned_repair.json")
    steps = [row["full"]["accuracy"] - row["none"]["accuracy"] for row in record]
    page = prose(root, "docs/evidence/repair.md")
    for said in (
        f"On {len(record)} random groups of small networks",
        f"was {rounded(statistics.mean(steps))} points better on average",
        f"more than a point in {sum(step < -1 for step in steps)} of them,"
        f" {rounded(-min(steps))} at the most",
    ):
        assert said in page, said
    rule = prose(root, "src/onefold/fold/repair_choice.py")
    assert f"was {rounded(statistics.mean(steps))} points better on average" in rule
    assert f"{rounded(-min(steps))} points at most" in rule


def test_what_is_said_of_two_seeds(root: Path) -> None:
    record = read(root, "folding/results.json")
    rows = {
        n: {(r["method"], r["code"]): r for r in record[n]["rows"]}
        for n in ("resnet20", "vgg11-quarter")
    }
    methods, text = prose(root, "docs/methods.md"), prose(root, "docs/evidence/cca_merge.md")
    level = [
        rounded(own[m, "onefold"]["repair"])
        for own in rows.values()
        for m in ("cca, no prior", "procrustes")
    ]
    assert "level, {} and {} on ResNet-20, {} and {} on VGG11".format(*level) in text
    assert f"{level[1]} beside {level[0]} % and {level[3]} beside {level[2]} % of CCA" in methods


def test_what_is_said_of_the_default(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = prose(root, "docs/evidence/default.md")
    table = script(root / "benchmarks" / "default" / "table.py", monkeypatch)
    after, before = (
        [table.rows_of(read(root, f"default/{name}.json"), case) for case in table.CASES]
        for name in ("results", "before")
    )

    def gains(rows: list[Any], kind: str) -> str:
        told = [f"{table.mean_gain(found, kind):+.2f}" for found in rows]
        return " and ".join(re.sub(r"^[+-]0\.00$", "0.00", value) for value in told)

    def shares(rows: list[Any], kind: str, between: str = "% and") -> str:
        one, two = (f"{100 * table.share_of_best(found, kind):.0f}" for found in rows)
        return f"{one} {between} {two} %"

    assert f"{len(after[0])} groups of small networks" in text
    same = gains(after, "same").replace(" and", " without labels and")
    assert f"**The same data:** the mean gain is {same} with labels." in text
    low = min((row for row in after[0] if row.kind == "same"), key=lambda row: row.errors)
    assert f"The lowest is {low.name} without labels, at {low.errors:+.1f} standard errors." in text
    assert all(row.errors >= low.errors for row in after[1] if row.kind == "same")
    assert f"the default before, had {gains(before, 'same')}." in text
    different = shares(after, "different", "% of the best candidates' gain without labels and")
    assert f"**Different classes:** the default takes {different} with labels." in text
    assert f"The average after CCA had {shares(before, 'different')}." in text
    lagging = [
        [row.name for row in rows if row.kind == "different" and table.lags(row)] for rows in after
    ]
    without, labelled = (
        ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1] for names in lagging
    )
    below = f"Below 80 % beyond noise are, without labels, {without}, with labels {labelled}."
    assert below in text
    origin = shares(after, "origin", "% without labels and")
    assert f"**One origin:** {origin} with labels." in text
    bad = f"{gains(after, 'bad')}; the average after CCA had {gains(before, 'bad')}."
    assert f"**One bad member among good ones:** the mean gain is {bad}" in text
    assert (
        f"**Other images of the same classes:** the mean gain is {gains(after, 'parts')}." in text
    )


def test_attacks_found_nothing_and_memory_hardly_grows(root: Path) -> None:
    """What docs/evidence/attacks.md says of its tables."""
    for name in ("robustness/results", "reliability/races", "fuzz/headers", "fuzz/archives"):
        assert read(root, f"{name}.json")["faults"] == [], name
    assert read(root, "fuzz/recipes.json")["faults"] == []
    assert all(row["faults"] == [] for row in read(root, "reliability/kills.json").values())
    memory = read(root, "reliability/memory.json").values()
    assert max(rows["500"]["MB"] - rows["50"]["MB"] for rows in memory) < 5


def test_what_is_said_of_merging_up_to_a_place(root: Path) -> None:
    text, record = (
        prose(root, "docs/evidence/partial_merging.md"),
        read(root, "folding/partial.json"),
    )
    for own in record.values():
        assert "(members {} and {} %)".format(*own["ensemble"]["each"]) in text


def test_what_is_said_of_the_costs_of_folding(root: Path) -> None:
    text, record = prose(root, "docs/evidence/scale.md"), read(root, "folding/cost.json")
    small, deep = (record["least-squares"][name] for name in ("vgg11-quarter", "resnet20-brief"))

    def means(own: dict[str, Any]) -> str:
        targets = [own[name] for name in ("correlation", "equal", "selection")]
        seconds = [one["fold"] + one["alignment"] for one in targets]
        bounds = [one["bound"] for one in targets]
        return "{} to {} of {} to {} s".format(
            *map(rounded, (min(seconds), max(seconds), min(bounds), max(bounds)))
        )

    pruning = [(rounded(own["pruning"]["fold"]), own["pruning"]["bound"]) for own in (small, deep)]
    for said in (
        f"pruning {pruning[0][0]} of {rounded(pruning[0][1])} s on VGG11 and {pruning[1][0]} of"
        f" {rounded(pruning[1][1])} s on ResNet-20",
        f"{means(small)} and {means(deep)}",
    ):
        assert said in text, said
    ratios = {
        name: [row["ratio"] for method, row in own.items() if method in METHODS]
        for name, own in record["matchers"].items()
    }
    assert max(ratios["vgg11-quarter"]) <= 1
    assert max(ratios["resnet20-brief"]) < 1.3


METHODS = ("cca", "permutation", "procrustes", "rotation", "transport", "weights", "zipit")


def test_what_is_said_of_the_output_layer(root: Path) -> None:
    text, record = prose(root, "docs/evidence/class_pools.md"), read(root, "folding/heads.json")

    def gains(aim: str, shares: tuple[str, ...]) -> list[float]:
        return sorted(
            statistics.mean(
                row["folds"][f"logistic, {aim}"] - row["folds"][f"squares, {aim}"]
                for row in network[share].values()
            )
            for network in record.values()
            for share in shares
        )

    never, seen = ("disjoint", "overlap"), ("few", "halves")
    found = gains("classes", never)
    assert f"gains {rounded(found[0])} to {rounded(found[-1])} points where a member never" in text
    found = gains("classes", seen)
    assert f"{rounded(found[0])} to {rounded(found[-1])} where all were seen" in text
    found = gains("probabilities", never + seen)
    assert f"it may lose ({rounded(found[0])} to {rounded(found[-1])})" in text
