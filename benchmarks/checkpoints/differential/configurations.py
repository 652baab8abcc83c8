"""The configurations: a document each, of the tiny models of `models.py` by their names.

Of the random methods, a density of 1 leaves nothing to chance, and other densities are compared by
their statistics. `twin` is the same configuration on models of 16 bits.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmarks.checkpoints.differential.documents.agreement import AGREEMENT
from benchmarks.checkpoints.differential.documents.changes import CHANGES
from benchmarks.checkpoints.differential.documents.features import FEATURES
from benchmarks.checkpoints.differential.documents.means import MEANS
from benchmarks.checkpoints.differential.documents.random import RANDOM


@dataclass(frozen=True)
class Configuration:
    """One document, and the models that it is carried out on.

    Attributes:
        name: method and what is special.
        family: the family of the models.
        text: the document.
        dtype: of the models' tensors.
        random: outputs are compared by their statistics.
    """

    name: str
    family: str
    text: str
    dtype: str = "float32"
    random: bool = False

    @property
    def method(self) -> str:
        """The method that the document asks for."""
        return self.text.split("merge_method:", 1)[1].split()[0]

    @property
    def models(self) -> str:
        """The folder of the models."""
        return f"{self.family}-{self.dtype}"


def _all() -> dict[str, Configuration]:
    found: list[Configuration] = []
    for name, (family, text) in {**MEANS, **CHANGES, **AGREEMENT}.items():
        found.append(Configuration(name, family, text))
    for name, (family, text, dtype) in FEATURES.items():
        found.append(Configuration(name, family, text, dtype))
    for name, (family, text) in RANDOM.items():
        found.append(Configuration(name, family, text, random=True))
    for name in TWINS:
        one = next(one for one in found if one.name == name)
        found.append(dataclasses.replace(one, name=f"{name}, bfloat16", dtype="bfloat16"))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


TWINS = (
    *("linear of three", "linear without a division", "slerp with gradients by filter"),
    *("nuslerp", "nuslerp of task vectors by rows", "multislerp", "multislerp of task vectors"),
    *("karcher", "passthrough scaled by filter", "task arithmetic", "ties", "ties rescaled"),
    *("dare_linear of all", "dare_ties of all", "della of all", "della_linear of all"),
    *("breadcrumbs", "breadcrumbs_ties", "model_stock", "model_stock by rows", "sce"),
    *("sce of all", "nearswap", "arcee_fusion", "ram", "ramplus_tl"),
)
CONFIGURATIONS = _all()
