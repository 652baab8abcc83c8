"""Fourier transforms and complex numbers: linear along space, which stays in place.

They act alike on every channel.
"""

from __future__ import annotations

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import ALL, PERMUTATION, UNIT, freeze, fresh, restrict, size
from onefold.symmetry.unification import unify

_WHY = "frequencies of a Fourier transform"
_ONE = ("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft")
_TWO = ("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2")
_ANY = ("fft_fftn", "fft_ifftn", "fft_rfftn", "fft_irfftn", "fft_fftshift", "fft_ifftshift")


@rule(*_ONE, *_TWO, *_ANY, "_fft_r2c", "_fft_c2c", "_fft_c2r")
def transform(call: Call) -> Axes:
    """A transform over some axes; over all of them if none are named."""
    axes, named = call.axes(call.input), call.first("dim", "dims")
    dims = range(len(axes)) if named is None else [named] if isinstance(named, int) else named
    moved = {dim % len(axes) for dim in dims}
    kept = [term for k, term in enumerate(axes) if k not in moved]
    for k in moved:
        freeze(axes[k], _WHY)
        call.mix(axes[k], kept)
    shape = call.shape()
    return [fresh(shape[k], True, _WHY) if k in moved else term for k, term in enumerate(axes)]


@rule("view_as_complex")
def view_as_complex(call: Call) -> Axes:
    """The two numbers of the last axis as one complex number."""
    *axes, pair = call.axes(call.input)
    freeze(pair, "real and imaginary parts")
    call.shows(call.input)
    return axes


@rule("view_as_real")
def view_as_real(call: Call) -> Axes:
    """Every complex number as two numbers on a new last axis."""
    call.shows(call.input)
    return [*call.axes(call.input), fresh(2, True, "real and imaginary parts")]


@rule("real", "imag", "conj", "_conj", "conj_physical", "resolve_conj", "resolve_neg")
def part(call: Call) -> Axes:
    """Linear over real numbers, number by number; the maps are real."""
    return call.axes(call.input)


@rule("complex")
def joined(call: Call) -> Axes:
    """The number a + i b: both parts move alike."""
    left, right = call.axes(call["real"]), call.axes(call["imag"])
    for a, b in zip(left, right, strict=True):
        if size(a) != size(b):
            restrict(a if size(b) == 1 else b, PERMUTATION)
        else:
            unify(a, b)
            restrict(a, ALL)
    for x in (call["real"], call["imag"]):
        for k in range(len(call.shape(x))):
            call.use(x, k, "table")
    wider = [a if size(a) != 1 or size(b) == 1 else b for a, b in zip(left, right, strict=True)]
    return wider or [UNIT]
