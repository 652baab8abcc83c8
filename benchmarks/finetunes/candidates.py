"""Every method of `onefold.checkpoints`, and the settings between which held-out sentences choose.

A grid is the product of `choices`; `scales` are those settings for which nothing is prepared anew.
Names are those of a document: settings of the method, parameters of all models, `alpha` of the
filter behind it. Methods of two models are iterated over the fine-tunes in their order: first with
second, the result with the third, and so on, each with its share in what there is by then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Choice = Mapping[str, float | bool | str]


@dataclass(frozen=True)
class Way:
    """A row of the table: a method, what is chosen, and how it is used.

    fixed: settings that every candidate has. base: the encoder is named as the base. chain: two
    models at a time; "base" if the first of them is the method's base, "models" if both are models
    with weights. finish: a filter behind the method.
    """

    name: str
    method: str
    choices: Mapping[str, tuple[float | bool | str, ...]] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    fixed: Choice = field(default_factory=dict)
    base: bool = True
    chain: str = ""
    finish: str | None = None

    def prepared(self) -> Iterator[dict[str, float | bool | str]]:
        """All settings but the scales."""
        for values in itertools.product(*self.choices.values()):
            yield {**self.fixed, **dict(zip(self.choices, values, strict=True))}

    def scaled(self) -> Iterator[dict[str, float]]:
        """All scales."""
        for values in itertools.product(*self.scales.values()):
            yield dict(zip(self.scales, values, strict=True))


ONE = {"weight": 1.0}
SUMS = {"lambda": (0.3, 0.5, 0.8)}  # where changes are summed
MEANS = {"lambda": (1.0, 2.0, 3.0)}  # where their mean is taken
SPECTRA = {"lambda": (0.5, 0.75, 1.0, 1.5)}
RANDOM = {"density": (0.3, 0.7)}
TASKS = ("sst2", "trec", "subj", "mpqa", "cr")

WAYS = (
    Way("plain mean", "linear", fixed=ONE, base=False),
    Way(
        "task_arithmetic",
        "task_arithmetic",
        scales={"lambda": (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)},
        fixed=ONE,
    ),
    Way("passthrough", "passthrough", {"model": TASKS}, base=False),
    Way("slerp", "slerp", chain="base"),
    Way("nuslerp", "nuslerp", {"nuslerp_flatten": (True, False)}, chain="models"),
    Way("multislerp", "multislerp", fixed=ONE),
    Way("karcher", "karcher", base=False),
    Way("nearswap", "nearswap", scales={"t": (1e-3, 3e-3, 1e-2)}, chain="base"),
    Way("arcee_fusion", "arcee_fusion", chain="base"),
    Way("model_stock", "model_stock", {"filter_wise": (False, True)}),
    Way("ties", "ties", {"density": (0.2, 0.5)}, MEANS, ONE),
    Way("dare_linear", "dare_linear", RANDOM, SUMS, ONE),
    Way("dare_ties", "dare_ties", RANDOM, SUMS, ONE),
    Way("breadcrumbs", "breadcrumbs", {"density": (0.5, 0.9)}, SUMS, ONE),
    Way("tsv_m", "tsv_m", scales=SPECTRA),
    Way("iso_c", "iso_c", scales=SPECTRA),
    Way("task_arithmetic, svc", "task_arithmetic", {"alpha": (0.1, 1.0)}, {}, ONE, finish="svc"),
    Way("magmax", "magmax", scales={"lambda": (0.3, 0.5, 0.7, 1.0)}),
    Way("sce", "sce", {"select_topk": (0.1, 0.3, 1.0)}),
    Way("swudi", "swudi", {}, SUMS),
    Way("iso_cts", "iso_cts", {}, SPECTRA),
    Way("ties, svc", "ties", {"density": (0.2, 0.5), "alpha": (0.1,)}, {}, ONE, finish="svc"),
    Way("ram", "ram", {"epsilon": (1e-5, 1e-3)}),
    Way("ramplus_tl", "ramplus_tl", {}, {"r": (0.1, 1.0)}),
    Way("della", "della", {"density": (0.3, 0.6)}, MEANS, ONE),
    Way("breadcrumbs_ties", "breadcrumbs_ties", {"density": (0.5, 0.9)}, SUMS, ONE),
    Way("della_linear", "della_linear", {"density": (0.3, 0.6)}, SUMS, ONE),
)
