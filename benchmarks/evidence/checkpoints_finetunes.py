"""Tables of docs/evidence/checkpoints.md: fine-tunes of one encoder, merged by every method."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.finetunes.paired import Answers, difference, mean
from benchmarks.finetunes.texts import TASKS

MERGES, SOUPS = "finetunes/merges.json", "finetunes/soups.json"
PLAIN, ARITHMETIC = "plain mean", "task_arithmetic"
TITLES = {
    "base, linear probes": "*the encoder before, a linear probe for each task*",
    "base, trained heads": "*the encoder before, heads of the fine-tunes*",
    "fine-tuned": "*five fine-tunes, each in its own task*",
    "passthrough": "passthrough (one of the fine-tunes)",
    "slerp": "slerp, one after another",
    "nuslerp": "nuslerp, one after another",
    "nearswap": "nearswap, one after another",
    "arcee_fusion": "arcee_fusion, one after another",
    "plain mean": "linear (the plain mean)",
    "task_arithmetic, svc": "task_arithmetic, then singular value calibration",
    "ties, svc": "ties, then singular value calibration",
}


def shown(found: tuple[float, float, float]) -> str:
    """A difference in points with its interval."""
    value, low, high = (0.0 if abs(x) < 0.05 else x for x in found)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def share(kept: dict[str, Any], whole: dict[str, Any] | None = None) -> str:
    """An accuracy, or what it is of another one, in per cent."""
    return f"{100 * kept['right'] / (kept['n'] if whole is None else whole['right']):.1f}"


def chosen(settings: dict[str, Any]) -> str:
    """Settings in words, without the weights, which are 1."""
    told = [f"{name} {_value(value)}" for name, value in settings.items() if name != "weight"]
    return ", ".join(told).replace("_", "\\_")


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | str) else f"{value:g}"


@table("five fine-tunes")
def finetunes_table(merges: dict[str, Any], *logs: dict[str, Any]) -> list[str]:
    """A row for each task."""
    known = merges["references"]
    lines = [
        "| task | trained on, tested on | linear probe | fine-tuned | the fine-tune's head on the"
        " encoder before | CPU seconds |",
        "|---|---|---|---|---|---|",
    ]
    for log in logs:
        task = log["task"]
        own = {name: known[name]["test"][task] for name in known}
        lines.append(
            f"| {TASKS[task].title} | {log['sentences']:,}; {own['fine-tuned']['n']:,} |"
            f" {share(own['base, linear probes'])} | {share(own['fine-tuned'])} |"
            f" {share(own['base, trained heads'])} | {log['cpu seconds']:.0f} |"
        )
    return lines


def tests(merges: dict[str, Any]) -> dict[str, Answers]:
    """The test answers of all rows; those of the encoder before and of the fine-tunes first."""
    known = merges["references"]
    before = {name: known[name]["test"] for name in TITLES if name in known}
    return {**before, **{name: row["test"] for name, row in merges["rows"].items()}}


@table("five fine-tunes merged")
def merges(record: dict[str, Any]) -> list[str]:
    """A row for each method, from the best on; what is no merge comes first."""
    answers, whole = tests(record), record["references"]["fine-tuned"]["test"]
    rows = sorted(record["rows"], key=lambda name: -mean(answers[name], whole))
    heads = ["method", "chosen", *(TASKS[task].title for task in whole), "mean"]
    heads += ["ahead of task arithmetic", "ahead of the plain mean"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in [*record["references"], *rows]:
        cells = [TITLES.get(name, name).replace("_", "\\_")]
        cells.append(chosen(record["rows"][name]["settings"]) if name in record["rows"] else "")
        cells += [share(answers[name][task], whole[task]) for task in whole]
        cells.append(f"{100 * mean(answers[name], whole):.1f}")
        for other in (ARITHMETIC, PLAIN):
            same = name == other
            cells.append("" if same else shown(difference(answers[name], answers[other], whole)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


@table("soups of seeds")
def soups(record: dict[str, Any]) -> list[str]:
    """Members, soups and the ensemble."""
    rows = record["rows"]
    best = {record["task"]: rows[record["best"]]["test"]}
    lines = [
        f"| {TASKS[record['task']].title} | held-out accuracy | test accuracy |"
        " ahead of the best member |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        title = name.replace("member " + record["task"] + "-", "seed ")
        if name == record["best"]:
            title += ", the best by held-out sentences"
        if name == "greedy":
            title += f", {len(record['greedy'])} of {sum(n.startswith('member') for n in rows)}"
        held = "" if row["held"] is None else f"{100 * row['held']:.1f}"
        gain = difference({record["task"]: row["test"]}, best)
        lines.append(
            f"| {title} | {held} | {share(row['test'])} |"
            f" {'' if name == record['best'] else shown(gain)} |"
        )
    return lines


def interval(record: dict[str, Any], name: str, other: str) -> tuple[float, float, float]:
    """How far a row is ahead of another one."""
    answers = tests(record)
    return difference(answers[name], answers[other], record["references"]["fine-tuned"]["test"])


@claim("Five fine-tunes of one encoder in one network: task arithmetic", "checkpoints.md", MERGES)
def arithmetic(record: dict[str, Any]) -> str:
    """Its share of the fine-tunes' accuracy, and how far it is ahead of the plain mean."""
    whole = record["references"]["fine-tuned"]["test"]
    own = 100 * mean(record["rows"][ARITHMETIC]["test"], whole)
    gain = shown(interval(record, ARITHMETIC, PLAIN))
    return f"{own:.1f} % of the fine-tunes' accuracy; {gain} points ahead of the plain mean"


@claim("The same: other methods against task arithmetic", "checkpoints.md", MERGES)
def others(record: dict[str, Any]) -> str:
    """In how many methods the whole interval is above 0, and in how many below it."""
    found = [interval(record, name, ARITHMETIC) for name in record["rows"] if name != ARITHMETIC]
    ahead, behind = sum(low > 0 for _, low, _ in found), sum(high < 0 for _, _, high in found)
    return f"{ahead} of {len(found)} clearly ahead, {behind} clearly behind"


@claim("Three seeds of one fine-tune: their plain mean", "checkpoints.md", SOUPS)
def soup(record: dict[str, Any]) -> str:
    """How far the soup and the ensemble are ahead of the best member."""
    task, rows = record["task"], record["rows"]
    best = {task: rows[record["best"]]["test"]}
    gains = [difference({task: rows[n]["test"]}, best) for n in (PLAIN, "ensemble")]
    return f"{shown(gains[0])} points above the best member; the ensemble {shown(gains[1])}"
