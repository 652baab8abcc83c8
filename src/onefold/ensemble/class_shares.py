"""The shares of classes that classifiers saw in training, from counts or from their predictions.

Without counts they are estimated from each member's predictions on unlabelled data:

    s_kc ~ pi_c exp(-b_kc),    b_k such that mean_x softmax(f_k(x) + b_k) = pi,

which is found by scaling rows and columns in turn (Sinkhorn & Knopp 1967, "Concerning nonnegative
matrices and doubly stochastic matrices", Pacific Journal of Mathematics 21). pi are the shares of
the classes in the data, which have to be known; by default they are even. `pool.py` uses s_k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.ensemble.names import EnsembleMean, EnsembleName, check_ensemble
from onefold.ensemble.pool import FLOOR, ClassPool
from onefold.ensemble.share_errors import corrected_shares, sampling_errors
from onefold.errors import DataError, SettingError
from onefold.inference import OutputChoice, as_output
from onefold.inference.running import class_outputs, networks
from onefold.isolation import isolated
from onefold.weights import warn_of_repeated

# A note of folds.
EVEN = (
    "the classes of the calibration data are taken to be even, and what each member saw of them is"
    " estimated by that"
)
ROUNDS = 1000
FEWER = 200  # rounds at each temperature that is only compared
CLOSE = 1e-4  # error of the logarithms of shares at which the rounds end
MISSED = 1e-2  # error of the mean probability of a class from which nothing is known


@checked
@isolated
def class_pool(
    models: Sequence[nn.Module],
    data: Data | None = None,
    *,
    counts: Sequence[Sequence[float]] | Tensor | None = None,
    shares: Sequence[float] | Tensor | None = None,
    output: OutputChoice = None,
) -> ClassPool:
    """A pool of classifiers that saw the classes in different shares, from predictions or counts.

    It goes wherever an `ensemble` is asked for: `onefold.Ensemble(models, pool)`,
    `onefold.evaluate(models, test, ensemble=pool)`, `onefold.merge(models, data, ensemble=pool,
    ...)`. For one model alone it balances the predictions. `print(pool)` says how sure the
    estimated shares are (`share_errors.py`). `pool.doubts` names the members for which they cannot
    be told: members near chance that are sure of themselves show shares far from what they saw.

    Args:
        models: networks that return logits (n, C); other shapes if labels or `output` say on which
            axis the classes lie.
        data: unlabelled batches, about a hundred examples of each class or more, whose classes come
            in the `shares`. Not needed with `counts`.
        counts: (K, C) how many examples of each class each member was trained on, if that is known.
        shares: (C,) of the classes in the data that the pool is asked about, which are divided by
            their sum; None: even.
        output: which output holds the classes' logits, and on which axis (`onefold.inference`).

    Raises:
        SettingError: there are neither data nor counts, or counts or shares are no such numbers.
        DataError: a member cannot run on the data, its outputs are not finite, or nothing says
            where its classes are.
    """
    meant, models = as_output(output), networks(models)
    if counts is not None:
        known = _table(counts, len(models))
        return ClassPool(
            known / known.sum(1, keepdim=True), _shares(shares, known.shape[1]), known.sum(1)
        )
    if data is None:
        raise SettingError(
            "What the members saw of the classes is estimated from data; pass unlabelled `data`, or"
            " `counts`."
        )
    data = check_reiterable(data, "data to pool by")
    warn_of_repeated(models)
    answers = []
    for k in range(len(models)):
        logits = class_outputs(models[k], data, meant, f"pooling member {k}").double()
        if not bool(torch.isfinite(logits).all()):
            raise DataError(
                f"Member {k} puts out something that is not finite on the data to pool by; check"
                " its weights and the data's scale."
            )
        answers.append(logits)
    if len({logits.shape[-1] for logits in answers}) > 1:
        raise SettingError(
            f"The members put out {', '.join(str(own.shape[-1]) for own in answers)} classes; only"
            " members of equal classes can be pooled."
        )
    return pool_of(answers, shares)


def pool_of(answers: Sequence[Tensor], shares: Sequence[float] | Tensor | None = None) -> ClassPool:
    """The pool of classifiers that is estimated from their logits on the same examples.

    Args:
        answers: for each member its finite logits (n, C), float64.
        shares: as in `class_pool`.

    Raises:
        SettingError: the shares are no such numbers.
    """
    own = _shares(shares, answers[0].shape[-1]).to(answers[0].device)
    seen, errors = [], []
    for logits in answers:
        shifts = matching_shifts(logits, own)
        seen.append((own.log() - shifts).softmax(-1))
        errors.append(sampling_errors(logits, shifts, own, seen[-1]))
        mean = (logits + shifts).softmax(-1).mean(0)
        if float((mean - own).abs().max()) > MISSED:
            # No shift brings its predictions to the shares, so that nothing is known.
            errors[-1] = torch.ones_like(own)
    even = torch.ones(len(seen), dtype=torch.float64, device="cpu")
    corrected = corrected_shares(answers, own, partial(matching_shifts, rounds=FEWER))
    return ClassPool(
        torch.stack(seen), own, even, True, torch.stack(errors), corrected, len(answers[0])
    )


def pooled(
    ensemble: EnsembleName | ClassPool,
    models: Sequence[nn.Module],
    data: Data,
    output: OutputChoice = None,
) -> EnsembleMean | ClassPool:
    """What the name of an ensemble stands for with these members.

    "classes" stands for the pool that is estimated from the data.

    Raises:
        SettingError: there is no such ensemble. Others as `class_pool`.
    """
    check_ensemble(ensemble)
    if isinstance(ensemble, ClassPool) or ensemble != "classes":
        return ensemble
    return class_pool(models, data, output=output)


def matching_shifts(logits: Tensor, shares: Tensor, rounds: int = ROUNDS) -> Tensor:
    """The shifts of logits by which their mean probabilities are the shares.

    Args:
        logits: (n, C).
        shares: (C,) float64, of sum 1.
        rounds: of scaling, at most.

    Returns:
        (C,) float64 of mean 0, to be added to the logits.
    """
    shifts = torch.zeros_like(shares)
    most = math.log(logits.shape[1] / FLOOR)  # a larger shift is below the least share
    for _ in range(rounds):
        off = (logits + shifts).softmax(-1).mean(0).clamp_min(1e-30).log() - shares.log()
        shifts = (shifts - off).clamp(-2 * most, 2 * most)
        if float(off.abs().max()) < CLOSE:
            break
    return shifts - shifts.mean()


def _table(counts: Sequence[Sequence[float]] | Tensor, members: int) -> Tensor:
    try:
        known = torch.as_tensor(counts, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(
            "counts is no table of numbers; give one row for each member, with one number for each"
            " class."
        ) from error
    if known.dim() != 2 or len(known) != members or known.shape[1] < 2:
        raise SettingError(
            f"counts has the shape {tuple(known.shape)}; give one row for each of {members}"
            " members, with one number for each class."
        )
    if not bool(torch.isfinite(known).all()) or bool((known < 0).any()):
        raise SettingError(
            "counts holds a number that is negative or not finite; give how many examples of each"
            " class each member was trained on."
        )
    if bool((known.sum(1) == 0).any()):
        raise SettingError(
            f"Member {int((known.sum(1) == 0).int().argmax())} saw nothing at all by counts; leave"
            " it out."
        )
    if bool((known.sum(0) == 0).any()):
        raise SettingError(
            f"No member saw class {int((known.sum(0) == 0).int().argmax())} by counts, so that none"
            " can be asked about it."
        )
    return known


def _shares(shares: Sequence[float] | Tensor | None, classes: int) -> Tensor:
    if shares is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    try:
        own = torch.as_tensor(shares, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise SettingError("shares are no numbers; give one for each class.") from error
    if own.shape != (classes,) or not bool(torch.isfinite(own).all()) or bool((own <= 0).any()):
        raise SettingError(
            f"shares must be {classes} numbers above 0, one for each class of the data; these are"
            " not."
        )
    return own / own.sum()
