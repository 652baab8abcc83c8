"""Folders of `save_pretrained` as members of every command and function, and as results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pretrained_folders import KINDS, answer, write_network, write_texts

import onefold as of
from onefold.errors import MembersError, SettingError, WeightsError
from onefold.fold.saved import load_networks
from onefold.sources import DiskMembers, resolve_model
from onefold.weights import checksum

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of every kind in folders, and tables of texts."""
    folder = tmp_path_factory.mktemp("pretrained")
    for kind in KINDS:
        for seed in range(2):
            shards = "8KB" if seed else "1GB"
            write_network(folder / f"{kind}{seed}", kind, seed, shards)
    write_texts(folder / "texts")
    return folder


def two(place: Path, kind: str) -> list[Path]:
    return [place / f"{kind}0", place / f"{kind}1"]


def texts(place: Path) -> list[str]:
    source = f"text:{place / 'texts'}?label=label&tokenizer={place / 'classifier0'}"
    return ["--data", source]


def loaded_names(folder: Path) -> list[str]:
    """The names of a folder's tensors as its index has them."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return list(index["weight_map"])


def loaded(folder: Path) -> torch.nn.Module:
    """The network of a folder, as transformers reads it."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    network: torch.nn.Module = getattr(transformers, name).from_pretrained(folder)
    return network.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_read_as_transformers_reads_it(place: Path, kind: str) -> None:
    members = two(place, kind)
    state = of.load(members[1])  # in shards
    built = of.load(members[1], resolve_model(str(members[1]))())
    on_disk = DiskMembers(None, members)
    networks, notes = load_networks(f"hf:{members[0]}", list(map(str, members)))
    assert all(note.endswith("names.") for note in notes)
    for network in (built, on_disk[1], networks[1]):
        assert torch.equal(answer(network, kind), answer(loaded(members[1]), kind))
    assert not torch.equal(answer(on_disk[0], kind), answer(on_disk[1], kind))
    assert set(state) == set(loaded_names(members[1]))


def test_every_command_takes_folders(onefold: Callable, place: Path, tmp_path: Path) -> None:
    members, data = two(place, "classifier"), texts(place)
    out = tmp_path / "out.safetensors"
    for command in (
        ["eval", *members, *data],
        ["compare", *members, *data],
        ["compare", *members],
        ["align", *members, *data, "-o", out],
        [
            "soft",
            *members,
            *data,
            "--steps",
            "3",
            "--no-screen",
            "-o",
            tmp_path / "soft.safetensors",
        ],
        ["merge", *members, *data, "-o", tmp_path / "folded.safetensors"],
        ["inspect", members[0], "--shape", "7", "--tokens", "24"],
    ):
        done = onefold(*command)
        assert done.status == 0, (command, done.err)
    named = ["--model", members[1]]
    done = onefold("eval", tmp_path / "folded.safetensors", *named, *data)
    assert done.status == 0, done.err


def test_the_recipe_makes_the_same_bits_again(
    onefold: Callable, place: Path, tmp_path: Path
) -> None:
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    more = ["--align", "permutation", "--fold", "average", "-o", first]
    assert onefold("merge", *two(place, "classifier"), *texts(place), *more).status == 0
    recipe = (tmp_path / "a.recipe.yaml").read_text()
    assert "model: hf:" in recipe
    done = onefold("merge", tmp_path / "a.recipe.yaml", "-o", again)
    assert done.status == 0, done.err
    assert checksum(first) == checksum(again)
    (tmp_path / "without.yaml").write_text(
        "".join(line for line in recipe.splitlines(True) if not line.startswith("model:"))
    )
    done = onefold("merge", tmp_path / "without.yaml", "-o", tmp_path / "c.safetensors")
    assert done.status == 0, done.err
    assert checksum(first) == checksum(tmp_path / "c.safetensors")


def test_a_changed_member_is_told(
    onefold: Callable, refused: Callable, place: Path, tmp_path: Path
) -> None:
    members = [write_network(tmp_path / f"m{seed}", seed=seed) for seed in range(2)]
    flags = ["--align", "none", "--repair", "none", "--fold", "average"]
    done = onefold("merge", *members, *flags, "-o", tmp_path / "a.safetensors")
    assert done.status == 0, done.err
    write_network(tmp_path / "m1", seed=5)
    told = refused("merge", tmp_path / "a.recipe.yaml", "-o", tmp_path / "b.safetensors")
    assert "m1 is not the file that the recipe was made with" in told


def test_members_that_do_not_fit_are_refused_in_one_sentence(
    refused: Callable, place: Path, tmp_path: Path
) -> None:
    first = place / "classifier0"
    wide = write_network(tmp_path / "wide", hidden_size=32)
    three = write_network(tmp_path / "three", num_labels=3)
    plain = place / "encoder1"
    flags = ["--align", "none", "--repair", "none", "--fold", "average", "-o", tmp_path / "x.pt"]
    for other, words in (
        (wide, "hidden_size is 16 in the config of the one and 32 in that of the other"),
        (three, f"The head of {first} has 2 labels and that of {three} has 3"),
        (plain, "is a BertForSequenceClassification and"),
    ):
        assert words in refused("merge", first, other, *flags, before="Reading")
        with pytest.raises(MembersError) as error:
            DiskMembers(None, [first, other])
        assert words in str(error.value)


def test_heads_of_other_labels_are_left_out_as_the_sentence_says(
    onefold: Callable, refused: Callable, place: Path, tmp_path: Path
) -> None:
    first, three = place / "classifier0", write_network(tmp_path / "three", num_labels=3)
    flags = ["--align", "none", "--repair", "none", "--fold", "average"]
    told = refused("merge", first, three, *flags, "-o", tmp_path / "x.safetensors")
    assert f"--model '{first}?task=features' --prefix bert." in told
    more = ["--model", f"{first}?task=features", "--prefix", "bert."]
    done = onefold("merge", first, three, *flags, *more, "-o", tmp_path / "x.safetensors")
    assert done.status == 0, done.err
    assert set(of.load(tmp_path / "x.safetensors")) == set(of.load(place / "encoder0"))


def test_other_values_and_other_names_of_labels_are_told(
    onefold: Callable, place: Path, tmp_path: Path
) -> None:
    names = [{"id2label": {0: a, 1: b}, "label2id": {a: 0, b: 1}} for a, b in ("pn", "np")]
    first = write_network(tmp_path / "first", **names[0])
    other = write_network(tmp_path / "other", seed=1, num_attention_heads=1, **names[1])
    flags = ["--align", "none", "--repair", "none", "--fold", "average"]
    out = tmp_path / "x.safetensors"
    done = onefold("merge", first, other, *flags, "-o", out)
    assert done.status == 0, done.err
    told = " ".join(done.err.split())
    assert "has another config than" in told
    assert "in num_attention_heads (2, 1), and is run as" in told
    assert "label 0 is 'p' in" in told
    found = DiskMembers(None, [first, other])
    assert any("num_attention_heads (2, 1)" in text for text in found.differences)
    assert DiskMembers(None, [place / "classifier0", first]).differences == ()


def test_folders_that_tell_no_network(refused: Callable, place: Path, tmp_path: Path) -> None:
    flags = ["--align", "none", "--repair", "none", "--fold", "average", "-o", tmp_path / "x.pt"]
    first, data = place / "classifier0", texts(place)
    file = of.save(of.load(first), tmp_path / "one.safetensors")
    assert "needs --model" in refused("merge", first, file, *flags)
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in refused("eval", tmp_path / "empty", "--model", first, *data)
    unknown = write_network(tmp_path / "unknown")
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps({**config, "architectures": ["MyBert"]}))
    told = refused("eval", unknown, *data)
    assert "The package transformers has no network 'MyBert'" in told
    (unknown / "config.json").write_text(json.dumps({**config, "model_type": "mybert"}))
    assert "is of the model_type 'mybert'" in refused("eval", unknown, *data)
    (unknown / "config.json").write_text("{")
    assert "cannot be read" in refused("eval", unknown, *data)
    with pytest.raises(MembersError, match="not all of them are folders of save_pretrained"):
        DiskMembers(None, [first, file])
    with pytest.raises(WeightsError, match="is a folder and no shard"):
        of.load([first, place / "classifier1"])


def test_without_transformers(
    refused: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = refused("eval", *two(place, "classifier"), *texts(place))
    assert "needs the package transformers" in told
    with pytest.raises(SettingError, match="needs the package transformers"):
        DiskMembers(None, two(place, "classifier"))


def test_the_checksum_of_a_folder(tmp_path: Path) -> None:
    first = write_network(tmp_path / "a")
    same, sharded = write_network(tmp_path / "b"), write_network(tmp_path / "c", shards="8KB")
    assert checksum(first) == checksum(same) != checksum(sharded)
    (same / "notes.txt").write_text("not read")
    assert checksum(first) == checksum(same)
    (same / "config.json").write_text("{}")
    assert checksum(first) != checksum(same)
