"""The names of ensembles, and the one check of an argument that takes one.

The means of outputs are those of `tasks/means.py`. "classes" is the pool that is estimated from
unlabelled data (`pool.py`), where a function has such data. A `ClassPool` stands for itself. Pools
are for classifiers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from onefold.ensemble.pool import ClassPool
from onefold.errors import SettingError, nearest
from onefold.tasks.means import ENSEMBLE_MEANS, ENSEMBLES, EnsembleMean, EnsembleName


def check_ensemble(
    ensemble: object, known: Sequence[EnsembleName] = ENSEMBLES, members: int | None = None
) -> None:
    """Check an argument that says how several networks answer as one.

    Args:
        ensemble: a name or a `ClassPool`.
        known: the names that the caller takes.
        members: how many networks there are; a pool must be of as many. None: not checked.

    Raises:
        SettingError: there is no such ensemble, or the pool is of another number of members.
    """
    if isinstance(ensemble, ClassPool):
        if members is not None and len(ensemble.seen) != members:
            raise SettingError(
                f"The pool is of {len(ensemble.seen)} members but there are {members} networks;"
                " make one for these members."
            )
    elif ensemble == "classes" and "classes" not in known:
        raise SettingError(
            "The pool 'classes' is estimated from unlabelled data, which this takes none of; pass"
            " onefold.class_pool(models, data) instead."
        )
    elif not isinstance(ensemble, str) or ensemble not in known:
        raise SettingError(f"There is no ensemble by '{ensemble}'; {nearest(str(ensemble), known)}")


def name_of(ensemble: EnsembleName | ClassPool) -> EnsembleName:
    """The name by which reports call an ensemble: that of a pool is "classes"."""
    return "classes" if isinstance(ensemble, ClassPool) else ensemble


__all__ = [
    "ENSEMBLES",
    "ENSEMBLE_MEANS",
    "EnsembleMean",
    "EnsembleName",
    "check_ensemble",
    "name_of",
]
