"""Written tokenizers, as transformers and tokenizers load them."""

import json
import shutil

import pytest
import transformers
from vocabulary_folders import KINDS, TEXTS, A, B, bpe, edit, reference, save, unigram, wordpiece

from onefold.checkpoints.document import Token, Tokenizer
from onefold.checkpoints.vocabulary import plan_vocabulary, vocabulary_of, write_tokenizer
from onefold.errors import WeightsError

UNION = Tokenizer("union")


def written(tmp_path, folders, decision=UNION, base=A, template=None):
    plan = plan_vocabulary(folders, list(folders), base, decision, {})
    target = tmp_path / "out"
    target.mkdir()
    names, notes = write_tokenizer(plan, target, template)
    assert sorted(path.name for path in target.iterdir()) == names
    return plan, target, notes


def loaded(target, plan):
    (target / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    assert tokenizer.get_vocab() == dict(plan.tokens)
    assert vocabulary_of(target).tokens == plan.tokens
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_are_united_and_texts_are_cut_as_before(tmp_path, kind):
    make = KINDS[kind]
    one = save(tmp_path / "a", make(["<x>"]))
    other = save(tmp_path / "b", make(["<y>", "<x>", "<z>"]))
    plan, target, notes = written(tmp_path, {A: one, B: other})
    tokenizer = loaded(target, plan)
    before = make(["<x>"])
    for text in TEXTS:
        assert tokenizer(text, add_special_tokens=False).input_ids == before.encode(text).ids
    size = before.get_vocab_size()
    assert [plan.tokens[token] for token in ("<x>", "<y>", "<z>")] == [size - 1, size, size + 1]
    assert tokenizer.encode("<z>", add_special_tokens=False) == [size + 1]
    assert not notes
    assert not plan.warnings


PIECES = {
    "BPE": (bpe(["<x>"]), bpe(["<y>"], merges=(("l", "o"), ("n", "e"), ("ne", "w")))),
    "WordPiece": (wordpiece(["<x>"]), wordpiece(["<y>"], words=("low", "wid", "##est"))),
    "Unigram": (unigram(["<x>"]), unigram(["<y>"], words=(("▁new", -2.0), ("est", -5.0)))),
}


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_are_united_with_a_warning_and_can_be_reached(tmp_path, kind):
    first, second = PIECES[kind]
    folders = {A: save(tmp_path / "a", first), B: save(tmp_path / "b", second)}
    plan, target, _ = written(tmp_path, folders)
    tokenizer = loaded(target, plan)
    assert "piece" in plan.warnings[0]
    piece = {"BPE": "new", "WordPiece": "wid", "Unigram": "▁new"}[kind]
    assert plan.tokens[piece] in tokenizer("new wider", add_special_tokens=False).input_ids
    for token in ("<x>", "<y>"):
        assert tokenizer.encode(token, add_special_tokens=False)[-1] == plan.tokens[token]
    base = vocabulary_of(folders[A]).tokens
    assert all(plan.tokens[token] == number for token, number in base.items())


def test_words_inside_words_are_not_cut_out_by_a_union(tmp_path):
    """A piece that is written as an added token would be found inside any word."""
    first, second = PIECES["BPE"]
    folders = {A: save(tmp_path / "a", first), B: save(tmp_path / "b", second)}
    plan, target, _ = written(tmp_path, folders)
    content = json.loads((target / "tokenizer.json").read_text())
    assert [one["content"] for one in content["added_tokens"]] == ["<s>", "</s>", "<x>", "<y>"]
    assert "ne" in plan.tokens


@pytest.mark.parametrize(
    ("kind", "tokenizer_class"),
    [
        ("BPE", "GPT2Tokenizer"),
        ("BPE", "Qwen2Tokenizer"),
        ("WordPiece", "BertTokenizer"),
        ("Unigram", "T5Tokenizer"),
    ],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_classes_of_tokenizers_load_the_numbers(tmp_path, kind, tokenizer_class, pieces):
    special = {
        "BPE": {"unk_token": "<s>", "eos_token": "</s>", "bos_token": "<s>", "pad_token": "</s>"},
        "WordPiece": {},
        "Unigram": {"extra_ids": 0, "eos_token": "</s>", "unk_token": "<unk>"},
    }[kind]
    first, second = PIECES[kind] if pieces else (KINDS[kind](["<x>"]), KINDS[kind](["<y>"]))
    folders = {
        A: save(tmp_path / "a", first, tokenizer_class=tokenizer_class, **special),
        B: save(tmp_path / "b", second, tokenizer_class=tokenizer_class, **special),
    }
    for folder in folders.values():
        transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    plan, target, _ = written(tmp_path, folders)
    loaded(target, plan)


def test_the_tokenizer_of_the_base_is_copied_byte_by_byte(tmp_path):
    one = save(tmp_path / "a", bpe(["<x>"]), template="{{ messages }}")
    (one / "tokenizer.model").write_bytes(b"\x00\x01")
    other = save(tmp_path / "b", bpe(["<y>", "<x>"]))
    plan, target, _ = written(tmp_path, {A: one, B: other}, Tokenizer("base"))
    for path in one.iterdir():
        if path.name != "config.json":
            assert (target / path.name).read_bytes() == path.read_bytes()
    assert plan.notes == ("B loses 1 token that the result has not ('<y>').",)


def test_files_of_another_tokenizer_do_not_stay(tmp_path):
    """A folder with the donor's files gets no doubled ones."""
    one = save(tmp_path / "a", bpe())
    plan = plan_vocabulary({A: one}, [A], A, Tokenizer("base"), {})
    target = tmp_path / "out"
    target.mkdir()
    (target / "vocab.txt").write_text("old\n")
    (target / "model.safetensors").write_bytes(b"")
    write_tokenizer(plan, target)
    names = {path.name for path in target.iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "model.safetensors"}


def test_a_sentencepiece_model_is_kept_with_added_tokens_and_left_out_with_pieces(tmp_path):
    first, second = PIECES["Unigram"]
    one = save(tmp_path / "a", first)
    (one / "spiece.model").write_bytes(b"model")
    other = save(tmp_path / "b", unigram(["<x>", "<y>"]))
    plan, target, notes = written(tmp_path, {A: one, B: other})
    assert (target / "spiece.model").read_bytes() == b"model"
    added = json.loads((target / "added_tokens.json").read_text())
    assert added == {token: plan.tokens[token] for token in ("<x>", "<y>")}
    assert not notes
    shutil.rmtree(target)
    save(tmp_path / "b", second)
    _, target, notes = written(tmp_path, {A: one, B: other})
    assert not (target / "spiece.model").exists()
    assert "spiece.model is left out" in notes[0]


def test_a_vocabulary_of_lines_is_extended(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    for folder, words in ((one, ["low"]), (other, ["low", "wide"])):
        folder.mkdir()
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
        settings = {"tokenizer_class": "BertTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    edit(
        other / "tokenizer_config.json",
        lambda content: content.update(added_tokens_decoder={"7": {"content": "<y>"}}),
    )
    plan, target, _ = written(tmp_path, {A: one, B: other})
    assert plan.tokens["wide"] == 6
    assert plan.tokens["<y>"] == 7
    assert (target / "vocab.txt").read_text().split()[-2:] == ["wide", "<y>"]
    tokenizer = loaded(target, plan)
    assert tokenizer("wide<y>", add_special_tokens=False).input_ids == [6, 7]


def test_vocab_json_and_merges_are_extended(tmp_path):
    folders = {}
    for model, merges in ((A, ["l o"]), (B, ["l o", "lo w"])):
        folder = folders[model] = tmp_path / str(model)
        folder.mkdir()
        tokens = ["<|endoftext|>", "l", "o", "w", *(one.replace(" ", "") for one in merges)]
        vocab = {token: number for number, token in enumerate(tokens)}
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
        settings = {"tokenizer_class": "GPT2Tokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    plan, target, _ = written(tmp_path, folders)
    assert (target / "merges.txt").read_text() == "#version: 0.2\nl o\nlo w\n"
    assert json.loads((target / "vocab.json").read_text())["low"] == 5
    assert loaded(target, plan)("low").input_ids == [5]


def test_a_token_that_the_document_adds_is_in_the_files(tmp_path):
    one = save(tmp_path / "a", bpe())
    decision = Tokenizer("base", {"<new>": Token("zero")})
    plan, target, _ = written(tmp_path, {A: one}, decision)
    assert loaded(target, plan).encode("<new>") == [plan.tokens["<new>"]]


def test_special_tokens_stay_special(tmp_path):
    one = save(tmp_path / "a", bpe())
    other = save(tmp_path / "b", bpe(special=("<s>", "</s>", "<|im_start|>")))
    plan, target, _ = written(tmp_path, {A: one, B: other})
    tokenizer = loaded(target, plan)
    ids = tokenizer.encode("low<|im_start|>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "low"


def test_a_chat_template_is_written_wherever_it_is_looked_for(tmp_path):
    one = save(tmp_path / "a", bpe(), template="old")
    plan, target, _ = written(tmp_path, {A: one}, Tokenizer("base"), template="{{ 'new' }}")
    assert loaded(target, plan).chat_template == "{{ 'new' }}"
    assert json.loads((target / "tokenizer_config.json").read_text())["chat_template"] == (
        "{{ 'new' }}"
    )


def test_the_tokenizer_of_a_model_that_is_not_merged_can_be_taken(tmp_path):
    one = save(tmp_path / "a", bpe(["<x>"]))
    other = save(tmp_path / "t", bpe(["<y>", "<x>"]))
    model = reference("T")
    plan = plan_vocabulary({A: one, model: other}, [A], A, Tokenizer(model), {})
    target = tmp_path / "out"
    target.mkdir()
    write_tokenizer(plan, target)
    loaded(target, plan)
    assert plan.members[A].counts["zero"] == 1
    assert "'<y>'" in plan.warnings[0]


def test_numbers_that_files_cannot_hold_are_refused(tmp_path):
    """A donor that changed behind the plan."""
    one = save(tmp_path / "a", bpe())
    other = save(tmp_path / "b", bpe(["<y>"]))
    plan = plan_vocabulary({A: one, B: other}, [A, B], A, UNION, {})
    target = tmp_path / "out"
    target.mkdir()
    edit(one / "tokenizer.json", lambda content: content["model"]["vocab"].update({"q!": 400}))
    with pytest.raises(WeightsError, match=r"gaps in its numbers|cannot be extended"):
        write_tokenizer(plan, target)
