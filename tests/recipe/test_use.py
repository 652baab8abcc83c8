"""A matcher, a fold and a data source in a file of one's own, without further code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import onefold as of
from onefold.errors import RecipeError
from onefold.recipe import read
from onefold.sources import build_data, build_model
from onefold.weights import checksum

METHODS = '''
"""Methods of a user's own."""
from dataclasses import dataclass
from typing import ClassVar
import torch
from onefold.alignment.matchers import Matcher, feature_matchers
from onefold.alignment.matchers.base import Match
from onefold.errors import SettingError
from onefold.fold import folds
from onefold.fold.network_fold import Folded, NetworkFold
from onefold.sources.data import data_sources
from onefold.symmetry import GroupMap

@feature_matchers.register("shifted")
@dataclass(frozen=True)
class Shifted(Matcher):
    """Maps every feature to the one so many places on.

    Attributes:
        places: how far the features move.
    """
    places: int = 1
    def __post_init__(self):
        if self.places < 0:
            raise SettingError("Features move forward; give places of 0 or more.")
    def match(self, moments, member):
        order = torch.arange(moments.width).roll(self.places)
        return Match(GroupMap("permutation", order), torch.zeros(moments.width))

@folds.register("leaning")
@dataclass(frozen=True)
class Leaning(NetworkFold):
    """The reference, and a little of the others.

    Attributes:
        lean: the share of the reference.
    """
    lean: float = 0.5
    traced: ClassVar[bool] = False
    def fold(self, job):
        rest = (1 - self.lean) / (len(job.models) - 1)
        shares = [self.lean if k == job.reference else rest for k in range(len(job.models))]
        return Folded(job.average(shares), repair=True)

@data_sources.register("noise")
def noise(request):
    """Random images; option level."""
    level = float(request.name.options.get("level", 1.0))
    generator = torch.Generator().manual_seed(request.seed)
    return [level * torch.randn(64, 1, 8, 8, generator=generator) for _ in range(3)]
'''
OPTIONS = ["--model", "digits?width=4", "--data", "noise?level=0.5"]
SETTINGS = ["--align", "shifted", "--places", "2", "--fold", "leaning", "--lean", "0.7"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "my_methods.py"
    path.write_text(METHODS)
    return path


def test_methods_of_a_file_are_used_from_python_recipes_and_commands(
    onefold: Callable, members: list[Path], own: Path, tmp_path: Path
) -> None:
    command = tmp_path / "c.safetensors"
    done = onefold("merge", *members[:2], *OPTIONS, *SETTINGS, "--use", own, "-o", command)
    assert done.status == 0, done.err
    content = {
        "model": "digits?width=4",
        "use": [str(own)],
        "members": [str(path) for path in members[:2]],
        "data": "noise?level=0.5",
        "align": {"name": "shifted", "places": 2},
        "fold": {"name": "leaning", "lean": 0.7},
        "output": "r.safetensors",
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert onefold("merge", tmp_path / "r.yaml", "--trust").status == 0
    models = []
    for path in members[:2]:
        models.append(build_model("digits?width=4").eval())
        models[-1].load_state_dict(of.load(path))
    from onefold.alignment.matchers import feature_matchers
    from onefold.fold import folds

    result = of.merge(
        models,
        build_data("noise?level=0.5"),
        align=feature_matchers.get("shifted")(places=2),
        fold=folds.get("leaning")(lean=0.7),
    )
    state = result.model.state_dict()
    for name in ("c.safetensors", "r.safetensors"):
        found = of.load(tmp_path / name)
        assert all(torch.equal(value, state[key]) for key, value in found.items())
    recipe = read(tmp_path / "c.recipe.yaml", trust=True)
    assert [file.sha256 for file in recipe.use] == [checksum(own)]
    assert (recipe.align.places, recipe.fold.lean) == (2, 0.7)
    again = onefold(
        "merge", tmp_path / "c.recipe.yaml", "--trust", "-o", tmp_path / "d.safetensors"
    )
    assert again.status == 0, again.err
    assert (tmp_path / "d.safetensors").read_bytes() == command.read_bytes()
    assert "--places" in onefold("merge", "--use", own, "--help").out


def test_settings_of_such_methods_are_checked(
    onefold: Callable, members: list[Path], own: Path, tmp_path: Path
) -> None:
    call = ["merge", *members[:2], *OPTIONS, "--use", own, "-o", tmp_path / "x.safetensors"]
    for options, message in (
        (["--align", "shifted", "--places", "-1"], "Features move forward"),
        (
            ["--align", "cca", "--places", "1"],
            "--places: the matcher 'cca' takes no places; use shifted",
        ),
        (["--align", "shifte"], "did you mean 'shifted'?"),
    ):
        assert message in onefold(*call, *options).err
    assert "does not exist" in onefold("merge", "--use", tmp_path / "no.py").err


def test_a_changed_file_is_noticed(own: Path, tmp_path: Path) -> None:
    content = {
        "model": "digits",
        "use": [{"path": str(own), "sha256": "ab" * 32}],
        "members": ["a", "b"],
        "data": "sklearn:digits",
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match="is not the file that the recipe was made with"):
        read(tmp_path / "r.yaml", trust=True)
