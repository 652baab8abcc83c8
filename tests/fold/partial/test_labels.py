"""Partial merges of members with other numbers of labels."""

from __future__ import annotations

import pytest
from partial_chains import chains, rows
from small_networks import loader

import onefold
from onefold.alignment.matchers.zipit import ZipIt
from onefold.errors import MembersError

DATA = [(x.double(), y) for x, y in loader()]
IMAGES = DATA[0][0]


@pytest.mark.slow
def test_members_with_other_numbers_of_labels() -> None:
    models = [chains(1, classes=4)[0], chains(2, classes=7)[1]]
    for k, align_ in ((0, "zipit"), (1, "permutation"), (0, "cca")):
        weights = [float(j == k) for j in range(2)]
        matcher = ZipIt(within=0.0) if align_ == "zipit" else align_
        result = onefold.partial_merge(
            models,
            DATA,
            until="4",
            align=matcher,
            repair="none",
            weights=weights,
            outputs="members",
        )
        outputs = rows(result.model, IMAGES)
        assert [own.shape[1] for own in outputs] == [4, 7]
        assert float((outputs[k] - rows(models[k], IMAGES)).abs().max()) < 1e-10
    with pytest.raises(MembersError, match="label sets of different sizes"):
        onefold.partial_merge(models, DATA, until="4")
    with pytest.raises(
        MembersError,
        match=r"'2.weight' has shape \(8, 6, 3, 3\) in member 0 but \(9, 6, 3, 3\) in member 1",
    ):
        onefold.partial_merge([chains()[0], chains(width=9)[0]], DATA, until="4", outputs="members")
