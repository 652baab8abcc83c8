"""Folders of `save_pretrained` as members of every command and function, and as results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from guide_pages import commands
from pretrained_folders import KINDS, answer, loaded, write_network, write_texts

import onefold as of
from onefold.errors import MembersError, OutputError, SettingError, WeightsError
from onefold.fold.saved import load_networks
from onefold.integrations import save_pretrained
from onefold.sources import DiskMembers, build_data, resolve_model
from onefold.weights import checksum
from onefold.weights.header import read_header

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


def test_torch_files_and_prefixes_in_folders(place: Path, tmp_path: Path) -> None:
    first = place / "encoder0"
    state = of.load(first)
    folder = write_network(tmp_path / "torch", "encoder")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    wrapped = write_network(tmp_path / "wrapped", "encoder")
    named = {f"bert.{name}": tensor for name, tensor in state.items()}
    of.save(named, wrapped / "model.safetensors", force=True)
    found = DiskMembers(None, [first, folder, wrapped])
    for network in found:
        assert torch.equal(answer(network, "encoder"), answer(loaded(first), "encoder"))
    assert any("Took the prefix 'bert.' off every name" in note for note in found.notes)


def test_a_network_of_no_package_becomes_a_file(
    refused: Callable, place: Path, tmp_path: Path
) -> None:
    code = tmp_path / "own.py"
    code.write_text(
        "import transformers\nfrom torch import nn\n\n"
        "class Own(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        folder = {str(place / 'encoder0')!r}\n"
        "        config = transformers.BertConfig.from_pretrained(folder)\n"
        "        self.net = transformers.BertModel(config)\n\n"
        "    def forward(self, **inputs):\n        return self.net(**inputs)[0]\n"
    )
    flags = ["--align", "none", "--repair", "none", "--fold", "average", "-o", tmp_path / "out"]
    told = refused("merge", *two(place, "encoder"), "--model", f"{code}:Own", *flags)
    assert "Own has no save_pretrained" in told


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


def merged(onefold: Callable, place: Path, kind: str, out: Path, *more: object) -> Path:
    flags = ["--align", "none", "--repair", "none", "--fold", "average", "-o", out, *more]
    done = onefold("merge", *two(place, kind), *flags)
    assert done.status == 0, done.err
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_a_folder_that_transformers_loads(
    onefold: Callable, place: Path, tmp_path: Path, kind: str
) -> None:
    members = two(place, kind)
    out = merged(onefold, place, kind, tmp_path / "out")
    result = of.merge(DiskMembers(None, members), align="none", repair="none", fold="average").model
    assert torch.equal(answer(loaded(out), kind), answer(result, kind))
    file = merged(onefold, place, kind, tmp_path / "file.safetensors")
    read = of.load(file, resolve_model(str(members[0]))())
    assert torch.equal(answer(read, kind), answer(result, kind))
    names = {path.name for path in out.iterdir()}
    copied = {path.name for path in members[0].iterdir()}
    assert copied | {"README.md", "recipe.yaml", "report.json"} == names
    for name in copied - {"config.json", "model.safetensors"}:
        assert (out / name).read_bytes() == (members[0] / name).read_bytes()
    stored = read_header(out / "model.safetensors")
    assert stored.metadata == {"format": "pt"}
    assert set(stored.tensors) == set(read_header(members[0] / "model.safetensors").tensors)
    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    before, after = (json.loads((f / "config.json").read_text()) for f in (members[0], out))
    assert before == after
    head = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert head == {
        "library_name": "transformers",
        "base_model": [path.name for path in members],
        "base_model_relation": "merge",
        "tags": ["merge", "onefold"],
    }
    again = merged(onefold, place, kind, tmp_path / "again")
    assert checksum(out) == checksum(again)
    assert onefold("compare", *members, out).status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_saved_as_a_folder(place: Path, tmp_path: Path, kind: str) -> None:
    network = loaded(place / f"{kind}0")
    before = dict(vars(network.config))
    out = of.save(network, tmp_path / "out")
    assert out == tmp_path / "out"
    assert torch.equal(answer(loaded(out), kind), answer(network, kind))
    assert vars(network.config) == before
    of.save(network, tmp_path / "shards", max_shard_bytes=4000)
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    assert torch.equal(answer(loaded(tmp_path / "shards"), kind), answer(network, kind))
    with pytest.raises(OutputError, match="exists already"):
        of.save(network, out)
    (out / "mine.txt").write_text("kept")
    of.save(network, tmp_path / "shards", force=True)
    assert not (tmp_path / "shards" / "model.safetensors.index.json").exists()
    of.save(network, out, force=True)
    assert (out / "mine.txt").read_text() == "kept"
    with pytest.raises(OutputError, match="take no metadata"):
        of.save(network, tmp_path / "x", metadata={"a": "b"})
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="is not finite"):
        of.save(network, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_every_fold_of_folders_becomes_a_folder(
    onefold: Callable, place: Path, tmp_path: Path
) -> None:
    members, data = two(place, "classifier"), texts(place)
    for number, more in enumerate(
        (
            ["merge", "--eval-split", "test", "--report", tmp_path / "0" / "report.html"],
            ["merge", "--fold", "least_squares", "--align", "permutation"],
            ["merge", "--fold", "average", "--align", "permutation", "--polish", "1"],
            ["merge", "--fold", "greedy_soup", "--align", "none"],
            ["soft", "--no-screen", "--steps", "3"],
        )
    ):
        out = tmp_path / str(number)
        command, *flags = more
        done = onefold(command, *members, *data, *flags, "-o", f"{out}/")
        assert done.status == 0, (more, done.err)
        assert f"into {out}, written with" in done.out or f"to {out}, with" in done.out
        network = loaded(out)
        read = load_networks(f"hf:{members[0]}", [str(out)])[0][0]
        assert torch.equal(answer(network, "classifier"), answer(read, "classifier"))
        assert onefold("eval", out, members[0], *data).status == 0
    assert "| folded | 0." in (tmp_path / "0" / "README.md").read_text()
    assert (tmp_path / "0" / "report.html").is_file()


def test_a_folder_is_written_whole_and_replaced_on_request_alone(
    onefold: Callable, refused: Callable, place: Path, tmp_path: Path
) -> None:
    flags = ["--align", "none", "--repair", "none", "--fold", "average"]
    out = merged(onefold, place, "classifier", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    told = refused("merge", *two(place, "encoder"), *flags, "-o", out, before="Reading")
    assert "exists already" in told
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "mine.txt").write_text("kept")
    (out / "vocab.txt").write_text("of an older tokenizer")
    (out / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (out / "model.safetensors.index.json").write_text("{}")
    merged(onefold, place, "encoder", out, "--force")
    assert type(loaded(out)).__name__ == "BertModel"
    assert {path.name for path in out.iterdir()} == {*before, "mine.txt"}
    first = place / "encoder0"
    for target in (first, first / "model.safetensors", f"{first}/"):
        told = refused("merge", *two(place, "encoder"), *flags, "-o", target, "--force")
        assert "is one of the inputs" in told
    told = refused("merge", out / "recipe.yaml", "-o", out, "--force")
    assert "recipe.yaml is one of the inputs" in told
    files = [of.save(of.load(one), tmp_path / f"{one.name}.pt") for one in two(place, "encoder")]
    told = refused("merge", *files, "--model", first, *flags, "-o", tmp_path / "x")
    assert "has the unknown suffix ''" in told


def test_several_networks_are_no_folder(refused: Callable, place: Path, tmp_path: Path) -> None:
    members, data, out = two(place, "classifier"), texts(place), ["-o", tmp_path / "out"]
    told = refused("merge", *members, *data, "--until", "50%", *out, before="Reading")
    assert "A partial merge keeps several networks, and a folder of transformers holds one" in told
    told = refused("soft", *members, *data, "--level", "module", *out, before="Reading")
    assert "Gates at module level may leave several networks" in told


def test_other_sizes_than_the_config_says_are_refused(place: Path, tmp_path: Path) -> None:
    network = loaded(place / "classifier0")
    network.classifier = torch.nn.Linear(16, 5)
    with pytest.raises(SettingError, match=r"other sizes than its config.*'classifier.weight'"):
        save_pretrained(network, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_numbers_of_half_precision_are_told_as_written(onefold: Callable, tmp_path: Path) -> None:
    for seed in range(2):
        network = loaded(write_network(tmp_path / f"classifier{seed}", seed=seed))
        of.save(network.to(torch.bfloat16), tmp_path / f"classifier{seed}", force=True)
    out = merged(onefold, tmp_path, "classifier", tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    members = [of.load(tmp_path / f"classifier{seed}") for seed in range(2)]
    for name, tensor in of.load(out).items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, (members[0][name].float() + members[1][name]) / 2)


def test_texts_get_the_tokenizer_of_the_members(
    onefold: Callable, place: Path, tmp_path: Path
) -> None:
    members, source = two(place, "classifier"), f"text:{place / 'texts'}?label=label"
    out = tmp_path / "out"
    flags = ["--align", "none", "--fold", "average", "--eval-split", "test", "-o", out]
    done = onefold("merge", *members, "--data", source, *flags)
    assert done.status == 0, done.err
    content = yaml.safe_load((out / "recipe.yaml").read_text())
    for part in ("data", "evaluation"):
        told = content[part]["source"].partition("tokenizer=")[2]
        assert (out / told).resolve() == members[0].resolve()
    bare = write_network(tmp_path / "bare", seed=4)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    assert onefold("eval", bare, *members, "--data", source).status == 0
    assert onefold("eval", bare, "--model", members[0], "--data", source).status == 2
    file = of.save(of.load(members[0]), tmp_path / "one.safetensors")
    assert onefold("eval", file, "--model", members[0], "--data", source).status == 0
    inspected = onefold("inspect", members[0], "--data", f"text:{place / 'texts'}")
    assert inspected.status == 0, inspected.err


def test_other_tokenizers_are_refused(
    onefold: Callable, refused: Callable, place: Path, tmp_path: Path
) -> None:
    first, source = place / "classifier0", f"text:{place / 'texts'}?label=label"
    other = write_network(tmp_path / "other", seed=1)
    path = other / "tokenizer.json"
    text, settings = path.read_text(), (other / "tokenizer_config.json").read_text()
    path.write_text(text.replace('"great"', '"greatly"'))
    told = refused("eval", first, other, "--data", source, before="Reading")
    assert f"The tokenizers of {first} and {other} differ in 2 tokens" in told
    assert "'great'" in told
    assert "by tokenizer=FOLDER in its name" in told
    named = f"{source}&tokenizer={first}"
    assert onefold("eval", first, other, "--data", named).status == 0
    path.write_text(text.replace('"type": "Whitespace"', '"type": "WhitespaceSplit"'))
    told = refused("eval", first, other, "--data", source)
    assert "differ in 'pre_tokenizer' of tokenizer.json" in told
    path.write_text(text)
    lower = json.dumps({**json.loads(settings), "do_lower_case": True})
    (other / "tokenizer_config.json").write_text(lower)
    told = refused("eval", first, other, "--data", source)
    assert "differ in 'do_lower_case' of tokenizer_config.json" in told
    (other / "tokenizer_config.json").write_text(settings)
    path.write_text(json.dumps({**json.loads(text), "padding": None, "truncation": None}))
    assert onefold("eval", first, other, "--data", source).status == 0


@pytest.mark.parametrize(
    ("command", "result", "more"),
    [("subspace", "midpoint", []), ("persist", "best", ["--rounds", "2"])],
)
def test_training_of_a_folder_ends_in_a_folder(
    onefold: Callable, place: Path, tmp_path: Path, command: str, result: str, more: list[str]
) -> None:
    model, source = place / "classifier0", f"text:{place / 'texts'}?label=label"
    flags = ["--model", model, "--data", source, "--epochs", "1", *more, "-o", tmp_path / "run"]
    done = onefold(command, *flags)
    assert done.status == 0, done.err
    folder = tmp_path / "run" / result
    assert f"{folder} is the result as from_pretrained reads it" in done.err
    file = of.load(f"{folder}.safetensors", resolve_model(str(model))())
    assert torch.equal(answer(loaded(folder), "classifier"), answer(file, "classifier"))
    assert (folder / "tokenizer.json").is_file()
    assert "saved by onefold" in (folder / "README.md").read_text()
    assert onefold("eval", folder, model, "--data", source).status == 0
    assert onefold(command, *flags, "--force").status == 0
    inner = ["--model", folder, *flags[2:], "--force"]
    told = onefold(command, *inner)
    assert told.status == 2
    assert "is one of the inputs" in told.err


def test_soft_merges_name_their_members(onefold: Callable, place: Path, tmp_path: Path) -> None:
    members, source = two(place, "classifier"), f"text:{place / 'texts'}?label=label"
    flags = ["--data", source, "--no-screen", "--steps", "3", "-o", tmp_path / "out"]
    done = onefold("soft", *members, *flags)
    assert done.status == 0, done.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "out of 2 networks of its class" in card
    assert "base_model:\n- classifier0\n- classifier1\n" in card


def test_members_on_disk_give_the_same_folder(
    onefold: Callable, place: Path, tmp_path: Path
) -> None:
    members, source = two(place, "classifier"), f"text:{place / 'texts'}?label=label"
    flags = ["--data", source, "--align", "permutation", "--fold", "average"]
    sums = []
    for number, more in enumerate(([], ["--on-disk"])):
        out = tmp_path / str(number)
        done = onefold("merge", *members, *flags, *more, "-o", out)
        assert done.status == 0, done.err
        sums.append(checksum(out))
    assert sums[0] == sums[1]


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


def test_heads_over_no_whole_network_are_refused(
    refused: Callable, place: Path, tmp_path: Path
) -> None:
    three = write_network(tmp_path / "three", "vit", num_labels=3)
    flags = ["--align", "none", "--repair", "none", "--fold", "average"]
    told = refused("merge", place / "vit0", three, *flags, "-o", tmp_path / "x.safetensors")
    assert "has 10 labels and that of" in told
    assert told.endswith("give members of one number of labels.")


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


def test_what_a_config_leaves_out_is_the_default(place: Path, tmp_path: Path) -> None:
    first, other = place / "classifier0", write_network(tmp_path / "other", seed=1)
    config = json.loads((other / "config.json").read_text())
    del config["layer_norm_eps"]
    (other / "config.json").write_text(json.dumps(config))
    assert DiskMembers(None, [first, other]).differences == ()
    (other / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.5}))
    (told,) = DiskMembers(None, [first, other]).differences
    assert "in layer_norm_eps (1e-12, 0.5), and is run as" in told


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


def test_the_commands_of_the_guide(
    onefold: Callable, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "reviews", label="stars", count=400)
    source = "text:reviews?label=stars&tokenizer=site_{}"
    for seed, site in enumerate("ab"):
        network = loaded(write_network(tmp_path / f"site_{site}", seed=seed))
        rate = torch.optim.AdamW(network.parameters(), 1e-2)
        for epoch in range(4):
            for batch in build_data(source.format(site), batch_size=32, shuffle=True, seed=epoch):
                rate.zero_grad()
                network(**batch).loss.backward()
                rate.step()
        of.save(network, tmp_path / f"site_{site}", force=True)
    page = [words for words in commands(root, "guides/transformers.md") if words[0] == "onefold"]
    assert len(page) == 3
    for words in page:
        done = onefold(*words[1:])
        assert done.status == 0, (words, done.err)
    for name in ("folded", "gated"):
        rows = json.loads(onefold("eval", name, "--data", "text:reviews?label=stars", "--json").out)
        assert "accuracy" in json.dumps(rows)
        assert {"config.json", "model.safetensors", "README.md"} <= {
            path.name for path in (tmp_path / name).iterdir()
        }
