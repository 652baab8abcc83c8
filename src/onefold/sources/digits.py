"""The handwritten digits of scikit-learn.

They are 1,797 images of 8x8 pixels in ten classes, and are part of that package.
"""

from __future__ import annotations

import torch

from onefold.errors import DataError
from onefold.sources.class_names import OPTION, renumbered, wanted_classes
from onefold.sources.data import Request, data_sources, none_left
from onefold.sources.loader import Images
from onefold.sources.names import check_options


@data_sources.register("sklearn:digits")
def digits(request: Request) -> Images:
    """scikit-learn's 8x8 digits, (n, 1, 8, 8) in 0..1; option classes.

    The split is fixed and stratified: 1,257 images to train on and 540 to test on.

    Raises:
        DataError: scikit-learn is missing, or nothing is left after `skip`.
        SettingError: an option is unknown or impossible.
    """
    check_options(request.name, (OPTION,))
    wanted = wanted_classes(request.name)
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise DataError(
            'The digits come with scikit-learn; install it with: pip install "onefold[demo]".'
        ) from None
    data = load_digits()
    parts = train_test_split(
        data.images, data.target, test_size=0.3, stratify=data.target, random_state=0
    )
    images, labels = (parts[0], parts[2]) if request.split == "train" else (parts[1], parts[3])
    if request.skip >= len(labels):
        raise none_left(request, len(labels))
    part = slice(request.skip, request.end)
    inputs = torch.from_numpy(images[part]).float().div(16).unsqueeze(1)
    targets, names = renumbered(
        torch.from_numpy(labels[part]).long(),
        [str(digit) for digit in range(10)],
        wanted,
        request.name,
    )
    return Images(inputs, targets, len(names), names=names)
