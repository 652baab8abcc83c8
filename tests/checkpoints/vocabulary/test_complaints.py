"""What users of mergekit complain about, each on a small input of that kind."""

import json

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from vocabulary_folders import A, B, C, bpe, save

from onefold.checkpoints import document
from onefold.checkpoints.vocabulary import plan_vocabulary, with_vocabulary, write_tokenizer
from onefold.checkpoints.vocabulary.row_map import mapped
from onefold.errors import MembersError

SIZE = len(bpe().get_vocab())
UNION = document.Tokenizer("union")


def model(folder, tokenizer, rows, seed, *, tied=True, **settings):
    """A folder with a network of four features, and its tensors."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=rows, n_embd=4, n_layer=1, n_head=1, n_positions=16, tie_word_embeddings=tied
    )
    network = transformers.GPT2LMHeadModel(config)
    network.save_pretrained(folder)
    save(folder, tokenizer, rows=rows, **settings)
    config.save_pretrained(folder)
    return network


def averaged(folders, networks, plan, target):
    """The mean of networks row by row, in a folder that transformers loads."""
    merged = {}
    for name, tensor in networks[A].state_dict().items():
        stack = []
        for one in folders:
            own = networks[one].state_dict()[name]
            if name in ("transformer.wte.weight", "lm_head.weight"):
                rows = plan.members[one]
                own = mapped(rows, lambda other, name=name: networks[other].state_dict()[name])
            stack.append(own)
        merged[name] = torch.stack(stack).mean(0) if tensor.is_floating_point() else tensor
    config = json.loads((folders[A] / "config.json").read_text())
    content, notes = with_vocabulary(config, plan, plan.vocabularies[A])
    assert not notes
    result = transformers.GPT2LMHeadModel(transformers.GPT2Config(**content))
    result.load_state_dict(merged)
    result.save_pretrained(target)
    write_tokenizer(plan, target)
    return transformers.AutoModelForCausalLM.from_pretrained(target)


@pytest.mark.parametrize("tied", [True, False])
def test_vocabularies_that_differ_by_a_few_added_tokens(tmp_path, tied):
    """Complaint 4: a crash, or garbled output, where sizes differ by a few tokens."""
    extra = {A: [], B: ["<|im_start|>", "<|im_end|>"], C: ["[PAD]", "<|im_end|>"]}
    folders = {one: tmp_path / str(one) for one in extra}
    networks = {}
    for one, tokens in extra.items():
        tokenizer = bpe(tokens)
        rows = tokenizer.get_vocab_size()
        networks[one] = model(folders[one], tokenizer, rows, 0, tied=tied)
    with pytest.raises(MembersError, match="nothing says which to keep"):
        plan_vocabulary(folders, [A, B, C], A, None, {})
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    merged = averaged(folders, networks, plan, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert merged.config.vocab_size == len(tokenizer) == plan.size == SIZE + 3
    rows = merged.get_input_embeddings().weight
    heads = merged.get_output_embeddings().weight
    wte = {one: networks[one].get_input_embeddings().weight for one in extra}
    text = "low<|im_end|>new[PAD]"
    for number in tokenizer(text).input_ids:
        token = tokenizer.convert_ids_to_tokens(number)
        own = {one: plan.vocabularies[one].tokens.get(token) for one in extra}
        owned = [wte[one][number] for one, number in own.items() if number is not None]
        filled = owned[0] if own[A] is not None else sum(owned) / len(owned)
        expected = sum(
            wte[one][own[one]] if own[one] is not None else filled for one in extra
        ) / len(extra)
        torch.testing.assert_close(rows[number], expected)
    assert torch.isfinite(heads).all()


@pytest.mark.parametrize("source", ["union", "base", B])
def test_rows_of_padding_are_kept_where_a_tokenizer_is_named(tmp_path, source):
    """Complaint 5: an embedding padded to 320 rows is cut to the tokens, and the config with it."""
    folders = {one: tmp_path / str(one) for one in (A, B)}
    networks = {one: model(folders[one], bpe(["<x>"]), 320, 0) for one in (A, B)}
    plan = plan_vocabulary(folders, [A, B], A, document.Tokenizer(source), {})
    merged = averaged(folders, networks, plan, tmp_path / "out")
    assert plan.identity
    assert merged.config.vocab_size == 320
    assert len(merged.get_input_embeddings().weight) == 320


def sentencepiece_like(extra=()):
    """BPE as models with a tokenizer.model have it: pieces with bytes, and control tokens."""
    start = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    pieces = [*start, *(f"<0x{one:02X}>" for one in range(256)), *"▁lowernwidst"]
    merges = [("▁", "l"), ("▁l", "o"), ("▁lo", "w")]
    pieces += [a + b for a, b in merges]
    vocab = {one: number for number, one in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    tokenizer.add_special_tokens(start)
    tokenizer.add_tokens([AddedToken(one, normalized=False) for one in extra])
    return tokenizer


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.mark.parametrize(
    "name", ["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"]
)
def test_control_tokens_are_not_doubled_and_numbers_stay_within_the_rows(tmp_path, name):
    """Complaint 6: doubled files, numbers out of range, a union that fails, no tokenizer.model."""
    folders = {
        A: save(tmp_path / "a", sentencepiece_like(), tokenizer_class=name, **SPECIAL),
        B: save(tmp_path / "b", sentencepiece_like(["<y>"]), tokenizer_class=name, **SPECIAL),
    }
    for folder in folders.values():
        transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
        (folder / "tokenizer.model").write_bytes(b"model")
    plan = plan_vocabulary(folders, [A, B], A, UNION, {})
    target = tmp_path / "out"
    target.mkdir()
    write_tokenizer(plan, target)
    names = [one.name for one in target.iterdir()]
    assert "tokenizer.model" in names
    (target / "tokenizer.model").unlink()  # it is no model that transformers could read
    tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    assert tokenizer.get_vocab() == dict(plan.tokens)
    assert max(plan.tokens.values()) < plan.size
    entries = json.loads((target / "tokenizer.json").read_text())["added_tokens"]
    assert len({one["content"] for one in entries}) == len(entries)
    assert json.loads((target / "added_tokens.json").read_text())["<y>"] == plan.size - 1
    text = "low [INST] low<y>"
    own = transformers.AutoTokenizer.from_pretrained(
        save(tmp_path / "c", sentencepiece_like(["<y>"]), tokenizer_class=name, **SPECIAL)
    )
    assert tokenizer(text).input_ids == own(text).input_ids


def test_models_of_different_origins_are_told(tmp_path):
    """Complaint 7: a merge succeeds, its output is gibberish, and nothing warned."""
    merges = [("n", "e"), ("ne", "w")]
    letters = [chr(one) for one in range(0x4E00, 0x4E00 + 900)]
    other = Tokenizer(BPE({one: number for number, one in enumerate(letters)}, []))
    folders = {A: save(tmp_path / "a", bpe(merges=merges)), B: save(tmp_path / "b", other)}
    plan = plan_vocabulary(folders, [A, B], A, UNION, {})
    assert any("B shares 0% of its tokens with A" in one for one in plan.warnings)
