from vocabulary_folders import A, B, bpe, save

from onefold.checkpoints.document import Tokenizer
from onefold.checkpoints.vocabulary import plan_vocabulary, with_vocabulary

SIZE = len(bpe().get_vocab())


def made(tmp_path, decision):
    folders = {
        A: save(tmp_path / "a", bpe(["<x>", "<only>"])),
        B: save(tmp_path / "b", bpe(["<y>", "<x>"]), rows=SIZE + 10),
    }
    return plan_vocabulary(folders, [A, B], A, decision, {})


def test_numbers_of_tokens_follow_the_tokens(tmp_path):
    plan = made(tmp_path, Tokenizer(B))
    config = {
        "vocab_size": SIZE + 2,
        "eos_token_id": [SIZE, 3],
        "pad_token_id": SIZE,
        "bos_token_id": None,
        "hidden_size": SIZE,
        "text_config": {"vocab_size": SIZE + 2, "image_token_index": SIZE},
        "image_token_id": 100_000,
        "mask_token_id": SIZE + 1,
    }
    result, notes = with_vocabulary(config, plan, plan.vocabularies[A])
    assert result == {
        "vocab_size": SIZE + 10,
        "eos_token_id": [SIZE + 1, 3],
        "pad_token_id": SIZE + 1,
        "bos_token_id": None,
        "hidden_size": SIZE,
        "text_config": {"vocab_size": SIZE + 10, "image_token_index": SIZE + 1},
        "image_token_id": 100_000,
        "mask_token_id": SIZE + 1,
    }
    assert len(notes) == 1
    assert "'<only>'" in notes[0]
    assert config["pad_token_id"] == SIZE


def test_numbers_stay_in_a_union_with_the_base(tmp_path):
    plan = made(tmp_path, Tokenizer("union"))
    config = {"vocab_size": SIZE + 2, "eos_token_id": SIZE}
    result, notes = with_vocabulary(config, plan, plan.vocabularies[A])
    assert result == {"vocab_size": SIZE + 3, "eos_token_id": SIZE}
    assert not notes
    assert with_vocabulary({}, plan, None) == ({}, [])
