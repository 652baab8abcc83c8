"""Class attributes of the built-in matchers, and the setting that all of them have."""

from __future__ import annotations

import pytest

from onefold.alignment.matchers import Permutation, WeightMatching, feature_matchers
from onefold.errors import SettingError


def test_what_matchers_say_of_themselves() -> None:
    said = {
        entry.name: (
            kind.dense,
            kind.exact,
            kind.rotates,
            kind.covariances,
            kind.inverts,
            kind.widths,
            kind.reads,
        )
        for entry in feature_matchers
        for kind in [feature_matchers.get(entry.name)]
    }
    exact, dense, joint = (
        (False, False, True, False, False, False, "post"),
        (True, False, True, True, True, False, "post"),
        (True, False, False, True, False, False, "post"),
    )
    assert said["permutation"] == said["identity"] == said["weights"] == exact
    assert said["cca"] == said["procrustes"] == dense
    assert said["rotation"] == (True, True, *dense[2:])
    assert said["zipit"] == joint
    assert said["transport"] == (*joint[:5], True, "post")


def test_a_probe_is_one_of_three_words() -> None:
    assert Permutation().read_at == "post"
    assert Permutation(probe="pre").read_at == "pre"
    with pytest.raises(SettingError, match="'auto', 'pre' or 'post'"):
        Permutation(probe="middle")
    with pytest.raises(SettingError, match="reads weights and no features"):
        WeightMatching(probe="pre")
