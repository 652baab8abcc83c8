"""A share of the layers as a text."""

import pytest

from onefold.fold.partial.splitting import share_of


@pytest.mark.parametrize(("text", "share"), [("50%", 0.5), ("62.5%", 0.625), ("1%", 0.01)])
def test_a_share(text: str, share: float) -> None:
    assert share_of(text) == share


@pytest.mark.parametrize("text", ["0%", "100%", "-5%", "nan%", "most%", "%", "50", "layer1.0", ""])
def test_no_share(text: str) -> None:
    assert share_of(text) is None
