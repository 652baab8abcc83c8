import json

import pytest
from vocabulary_folders import KINDS, bpe, edit, save, unigram

from onefold.checkpoints.vocabulary import NoTokenizerError, UnreadableTokenizerError, vocabulary_of
from onefold.errors import WeightsError


@pytest.mark.parametrize("kind", KINDS)
def test_a_fast_tokenizer_is_read_as_the_library_reads_it(tmp_path, kind):
    tokenizer = KINDS[kind](["<x>", "<y>"])
    size = tokenizer.get_vocab_size()
    folder = save(tmp_path, tokenizer, rows=size + 5, template="{{ messages }}", eos_token="<y>")
    found = vocabulary_of(folder)
    assert found.tokens == tokenizer.get_vocab()
    assert (found.kind, found.size, found.rows, found.padding) == (kind, size, size + 5, 5)
    assert found.template == "{{ messages }}"
    assert "<x>" in found.added
    assert "<x>" not in found.special
    assert found.special[-1] == "<y>"
    assert not found.gaps
    assert vocabulary_of(folder, size).padding == 0


def test_added_tokens_of_the_settings_are_read(tmp_path):
    folder = save(
        tmp_path, bpe(), added_tokens_decoder={"261": {"content": "<x>", "special": True}}
    )
    found = vocabulary_of(folder)
    assert found.tokens["<x>"] == 261
    assert "<x>" in found.special


def test_added_tokens_json_is_read_where_nothing_else_names_any(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / "added_tokens.json").write_text('{"<x>": 2}')
    found = vocabulary_of(tmp_path)
    assert found.tokens == {"a": 0, "b": 1, "<x>": 2}
    assert found.kind == "BPE"
    assert found.rows is None


def test_a_text_of_lines_is_read(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\r\n[UNK]\nlow\n\n##er\n")
    found = vocabulary_of(tmp_path)
    assert found.tokens == {"[PAD]": 0, "[UNK]": 1, "low": 2, "": 3, "##er": 4}
    assert found.kind == "WordPiece"


@pytest.mark.parametrize("place", ["text_config", None])
def test_rows_are_those_of_the_config(tmp_path, place):
    folder = save(tmp_path, bpe())
    content = {"vocab_size": 999}
    (folder / "config.json").write_text(json.dumps({place: content} if place else content))
    assert vocabulary_of(folder).rows == 999


def test_chat_templates_are_read_by_name(tmp_path):
    listed = [{"name": "default", "template": "old"}, {"name": "tools", "template": "t"}]
    folder = save(tmp_path, bpe(), template=listed)
    assert vocabulary_of(folder).templates == {"default": "old", "tools": "t"}
    (folder / "chat_template.jinja").write_text("new")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("r")
    assert vocabulary_of(folder).templates == {"default": "new", "tools": "t", "rag": "r"}


def test_a_folder_without_tokenizer_files_is_told(tmp_path):
    with pytest.raises(NoTokenizerError, match="has no tokenizer files") as caught:
        vocabulary_of(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "tekken.json"])
def test_other_forms_are_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\x0a")
    with pytest.raises(UnreadableTokenizerError, match="save_pretrained") as caught:
        vocabulary_of(tmp_path)
    assert name in str(caught.value)
    assert len(caught.value.digest) == 64


def test_broken_json_is_told_with_its_line(tmp_path):
    folder = save(tmp_path, bpe())
    (folder / "tokenizer.json").write_text('{\n "model": {\n  "vocab": {,}\n}}')
    with pytest.raises(WeightsError, match=r"tokenizer\.json is broken JSON at line 3, column 13"):
        vocabulary_of(folder)


BROKEN = {
    "not utf8": (b'{"model": "\xff"}', "no UTF-8 text at byte 11"),
    "a list": (b"[]", "must hold a JSON object"),
    "no model": (b"{}", "has no part 'model'"),
    "no vocab": (b'{"model": {"type": "BPE"}}', "has no vocabulary"),
    "empty": (b'{"model": {"vocab": {}}}', "holds no tokens"),
    "twice": (b'{"model": {"vocab": {"a": 0, "a": 1}}}', "names 'a' twice"),
    "one number": (b'{"model": {"vocab": {"a": 0, "b": 0}}}', "both have the number 0"),
    "a text": (b'{"model": {"vocab": {"a": "0"}}}', "must be a whole number"),
    "negative": (b'{"model": {"vocab": {"a": -1}}}', "must be a whole number"),
    "huge": (b'{"model": {"vocab": {"a": 1000000000}}}', "must be a whole number"),
    "true": (b'{"model": {"vocab": {"a": true}}}', "must be a whole number"),
    "listed twice": (b'{"model": {"vocab": [["a", 0], ["a", 0]]}}', "has the token 'a' twice"),
    "no piece": (b'{"model": {"vocab": [[1, 0]]}}', "not a text"),
    "of another type": (b'{"model": {"type": "X", "vocab": {"a": 0}}}', "type 'X'"),
    "no text": (
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}',
        "an added token without a text",
    ),
    "two numbers": (
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "a"}]}',
        "'a' is there twice, with the numbers 0 and 1",
    ),
    "a gap": (
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 5, "content": "<x>"}]}',
        "gaps in its numbers: the added token '<x>' has the number 5",
    ),
    "deep": (b"[" * 200_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_one_sentence(tmp_path, name):
    content, told = BROKEN[name]
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        vocabulary_of(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_contradict_are_refused(tmp_path):
    folder = save(tmp_path, bpe(["<x>"]), added_tokens_decoder={"9": {"content": "<x>"}})
    with pytest.raises(WeightsError, match="'<x>' is there twice"):
        vocabulary_of(folder)
    edit(folder / "tokenizer_config.json", lambda one: one.update(added_tokens_decoder=[1]))
    with pytest.raises(WeightsError, match="not an object"):
        vocabulary_of(folder)


def test_a_gap_among_pieces_is_a_row_of_padding(tmp_path):
    """The library keeps the numbers of pieces as they are."""
    content = b'{"model": {"type": "BPE", "vocab": {"a": 0, "b": 2}, "merges": []}}'
    (tmp_path / "tokenizer.json").write_bytes(content)
    assert vocabulary_of(tmp_path).gaps == (1,)


def test_tokens_beyond_the_rows_are_told(tmp_path):
    tokenizer = unigram(["<x>", "<y>"])
    folder = save(tmp_path, tokenizer, rows=tokenizer.get_vocab_size() - 1)
    assert vocabulary_of(folder).beyond() == ("<y>",)


@pytest.mark.parametrize("size", [-1, 0, 10**30])
def test_a_size_that_is_none_is_refused(tmp_path, size):
    folder = save(tmp_path, bpe(), rows=size)
    with pytest.raises(WeightsError, match="'vocab_size' is"):
        vocabulary_of(folder)
