import pytest
from vocabulary_folders import A, B, C, bpe, edit, reference, save, unigram, wordpiece

from onefold.checkpoints.document import Token, Tokenizer, TokenOf
from onefold.checkpoints.vocabulary import (
    NoTokenizerError,
    UnreadableTokenizerError,
    plan_vocabulary,
)
from onefold.errors import MembersError, SettingError, WeightsError

SIZE = len(bpe().get_vocab())
UNION, BASE = Tokenizer("union"), Tokenizer("base")


@pytest.fixture
def make(tmp_path):
    """Folders of models, from the added tokens of each."""

    def made(**extra):
        models = {"A": A, "B": B, "C": C}
        return {
            models[name]: save(tmp_path / name, bpe(tokens), rows=rows)
            for name, (tokens, rows) in extra.items()
        }

    return made


def test_equal_tokenizers_need_no_decision_and_nothing_moves(make):
    folders = make(A=(["<x>"], 300), B=(["<x>"], 300))
    plan = plan_vocabulary(folders, [B, A], A, None, {})
    assert plan.identity
    assert (plan.size, plan.donor, plan.folder) == (300, A, folders[A])
    assert not plan.additions
    assert not plan.warnings
    assert plan.counts()["B"] == {"own": SIZE + 1, "own padding": 299 - SIZE}


def test_different_tokenizers_need_a_decision_in_one_sentence(make):
    folders = make(A=(["<x>", "<w>"], 300), B=(["<y>", "<x>"], 300))
    with pytest.raises(MembersError) as caught:
        plan_vocabulary(folders, [A, B], A, None, {})
    assert str(caught.value) == (
        "The tokenizers of A and B differ in 3 tokens (B alone has 1: '<y>'; A alone has 1:"
        " '<w>'; 1: '<x>' with other numbers), and nothing says which to keep; write"
        " 'tokenizer_source: union' for the tokens of all, 'tokenizer_source: base' for those of"
        " the base, or a model for its tokens (--tokenizer in a command)."
    )


def test_rows_are_merged_by_number_only_if_asked(make):
    folders = make(A=(["<x>"], 300), B=(["<y>"], 300))
    plan = plan_vocabulary(folders, [A, B], A, None, {}, by_number=True)
    assert plan.identity
    assert "their rows are merged by number" in plan.warnings[0]
    with pytest.raises(MembersError, match="nothing says which to keep"):
        plan_vocabulary(folders, [A, B], A, None, {A: 300, B: 301}, by_number=True)


@pytest.mark.parametrize("decision", [None, UNION, BASE])
def test_padding_rows_of_the_base_are_kept(make, decision):
    """Equal tokenizers whose embeddings were padded in different ways."""
    folders = make(A=(["<x>"], 320), B=(["<x>"], None), C=(["<x>"], 512))
    plan = plan_vocabulary(folders, [A, B, C], A, decision, {})
    assert plan.size == 320
    assert plan.members[A].identity
    padding = 319 - SIZE
    assert plan.counts()["B"] == {"own": SIZE + 1, "other padding": padding}
    assert plan.counts()["C"] == {"own": SIZE + 1, "own padding": padding}


def test_tokens_that_a_union_adds_take_rows_of_padding(make):
    folders = make(A=([], 320), B=(["<y>"], 320))
    plan = plan_vocabulary(folders, [A, B], A, UNION, {})
    assert plan.size == 320
    assert plan.tokens["<y>"] == SIZE
    assert plan.members[B].identity
    assert plan.counts()["A"] == {"own": SIZE, "only owner": 1, "own padding": 319 - SIZE}


@pytest.mark.parametrize(("multiple", "size"), [(1, SIZE + 1), (64, 320), (SIZE + 1, SIZE + 1)])
def test_a_multiple_decides_the_size(make, multiple, size):
    folders = make(A=(["<x>"], 500))
    decision = Tokenizer("base", pad_to_multiple_of=multiple)
    assert plan_vocabulary(folders, [A], A, decision, {}).size == size


@pytest.mark.parametrize("multiple", [0, 10**12])
def test_a_multiple_that_is_no_size_is_refused(make, multiple):
    folders = make(A=(["<x>"], 500))
    with pytest.raises(SettingError, match="pad_to_multiple_of is"):
        plan_vocabulary(folders, [A], A, Tokenizer("base", pad_to_multiple_of=multiple), {})


def test_a_model_gives_its_tokenizer(make):
    folders = make(A=(["<x>"], 300), B=(["<y>", "<x>"], 310))
    plan = plan_vocabulary(folders, [A, B], A, Tokenizer(B), {})
    assert plan.tokens == plan.vocabularies[B].tokens
    assert plan.size == 310
    assert plan.members[B].identity
    assert not plan.additions


def test_without_a_base_the_first_model_gives_the_tokenizer_of_a_union(make):
    folders = make(A=(["<x>"], None), B=(["<y>"], None))
    plan = plan_vocabulary(folders, [B, A], None, UNION, {})
    assert (plan.donor, plan.tokens["<y>"], plan.tokens["<x>"]) == (B, SIZE, SIZE + 1)
    with pytest.raises(SettingError, match="there is no base_model"):
        plan_vocabulary(folders, [B, A], None, BASE, {})


def test_rows_of_headers_win_over_the_config(make):
    folders = make(A=(["<x>"], 300))
    plan = plan_vocabulary(folders, [A], A, BASE, {A: 400})
    assert (plan.size, plan.members[A].held) == (400, 400)


def test_tokens_beyond_the_embedding_are_refused_or_told(make):
    folders = make(A=(["<x>"], SIZE), B=(["<x>", "<y>"], SIZE + 2))
    with pytest.raises(MembersError, match=f"1 token beyond the {SIZE} rows of its embedding"):
        plan_vocabulary(folders, [A, B], A, UNION, {})
    folders = make(A=(["<x>"], SIZE), B=(["<x>"], SIZE))
    plan = plan_vocabulary(folders, [A, B], A, None, {})
    assert plan.identity
    assert "a text with one of them cannot be run" in plan.warnings[0]


def test_a_folder_without_tokenizer_files(make, tmp_path):
    folders = make(A=(["<x>"], 300))
    folders[B] = tmp_path / "none"
    folders[B].mkdir()
    plan = plan_vocabulary(folders, [A, B], A, None, {A: 300, B: 300})
    assert plan.identity
    assert "B has no tokenizer files" in plan.notes[0]
    with pytest.raises(NoTokenizerError):
        plan_vocabulary(folders, [A, B], A, None, {A: 300, B: 310})
    with pytest.raises(NoTokenizerError):
        plan_vocabulary(folders, [A, B], A, UNION, {A: 300, B: 300})


def test_models_that_have_no_tokenizers_at_all(tmp_path):
    folders = {A: tmp_path, B: tmp_path}
    plan = plan_vocabulary(folders, [A, B], A, None, {A: 300, B: 300})
    assert plan.identity
    assert (plan.size, plan.donor, plan.sentences()) == (None, None, [])


def sentencepiece(folder, content):
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(content)
    return folder


@pytest.mark.parametrize("decision", [None, BASE, UNION])
def test_equal_files_that_cannot_be_read_are_equal(tmp_path, decision):
    folders = {A: sentencepiece(tmp_path / "a", b"m"), B: sentencepiece(tmp_path / "b", b"m")}
    rows = {A: 300, B: 300}
    plan = plan_vocabulary(folders, [A, B], A, decision, rows)
    assert plan.identity
    assert (plan.donor, plan.folder) == (A, folders[A])
    (folders[B] / "tokenizer.model").write_bytes(b"other")
    with pytest.raises(UnreadableTokenizerError, match="save_pretrained"):
        plan_vocabulary(folders, [A, B], A, decision, rows)
    if decision is None:
        plan = plan_vocabulary(folders, [A, B], A, None, rows, by_number=True)
        assert "rows are merged by number" in plan.warnings[0]


def test_a_model_file_that_is_equal_to_that_of_the_base_has_its_tokens(tmp_path):
    folders = {A: save(tmp_path / "a", unigram()), B: sentencepiece(tmp_path / "b", b"m")}
    (folders[A] / "tokenizer.model").write_bytes(b"m")
    size = len(unigram().get_vocab())
    plan = plan_vocabulary(folders, [A, B], A, None, {A: size, B: size})
    assert plan.identity
    assert plan.vocabularies[B].tokens == plan.tokens


def test_numbers_with_gaps_take_no_further_tokens(make):
    folders = make(A=([], 400), B=(["<y>"], 400))
    path = folders[A] / "tokenizer.json"
    edit(path, lambda one: one["model"]["vocab"].update({"gap": 300, "<s>": 301, "</s>": 302}))
    edit(path, lambda one: one.update(added_tokens=[]))
    with pytest.raises(WeightsError, match=r"41 gaps \(the first is 259\)"):
        plan_vocabulary(folders, [A, B], A, UNION, {})
    assert plan_vocabulary(folders, [A, B], A, BASE, {}).size == 400


def test_tokenizers_of_different_kinds_are_not_united(tmp_path):
    folders = {A: save(tmp_path / "a", bpe()), B: save(tmp_path / "b", wordpiece())}
    with pytest.raises(MembersError, match=r"A \(BPE\) and B \(WordPiece\) cut words"):
        plan_vocabulary(folders, [A, B], A, UNION, {})
    plan = plan_vocabulary(folders, [A, B], A, BASE, {})
    assert "hardly fine-tunes of one base" in plan.warnings[0]


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (Token(B), r"that of '<x>' in B, which has no such token"),
        (Token(TokenOf(A, "</z>")), r"which has no such token; did you mean '</s>'\?"),
        (Token(TokenOf(A, token_id=900)), r"row 900 of A, whose embedding has 300 rows"),
    ],
)
def test_rows_that_are_not_there_cannot_be_named(make, token, told):
    folders = make(A=(["<x>"], 300), B=([], 300))
    with pytest.raises(SettingError, match=told):
        plan_vocabulary(folders, [A, B], A, Tokenizer("union", {"<x>": token}), {})


def test_a_token_that_no_model_has_is_zeros_with_a_warning(make):
    folders = make(A=(["<x>"], 300))
    plan = plan_vocabulary(folders, [A], A, Tokenizer("base", {"<new>": Token()}), {})
    assert "No model has 1 of the tokens ('<new>')" in plan.warnings[0]
    named = Tokenizer("base", {"<new>": Token("zero")})
    assert not plan_vocabulary(folders, [A], A, named, {}).warnings
    assert plan.counts()["A"]["zero"] == 1


def test_forced_tokens_without_a_source_are_alike_in_all_models(make):
    folders = make(A=(["<x>"], None), B=(["<x>"], None))
    plan = plan_vocabulary(folders, [A, B], A, Tokenizer("union", {"<x>": Token(force=True)}), {})
    assert plan.counts() == {"A": {"own": SIZE, "base": 1}, "B": {"own": SIZE, "base": 1}}


def test_a_named_model_is_read_only_with_a_decision(make, tmp_path):
    folders = {**make(A=([], 300)), reference("T"): tmp_path / "nowhere"}
    assert plan_vocabulary(folders, [A], A, None, {}).identity
