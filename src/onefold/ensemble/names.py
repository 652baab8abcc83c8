"""The means that an ensemble can be by name."""

from __future__ import annotations

from typing import Literal

EnsembleMean = Literal["probabilities", "logits"]


EnsembleName = Literal["probabilities", "logits", "classes"]  # classes: see pool.py


ENSEMBLE_MEANS: tuple[EnsembleMean, ...] = ("probabilities", "logits")
