"""Tiny folders of models with tokenizers of each kind, made by the library tokenizers."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece

from onefold.checkpoints.document import Place, Reference

TEXTS = ("low lower lowest", "new newer newest", "wide wider widest")


def reference(name):
    return Reference(Place(name))


A, B, C = map(reference, "ABC")


def bpe(extra=(), merges=(("l", "o"), ("lo", "w"), ("e", "r")), special=("<s>", "</s>")):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *dict.fromkeys(a + b for a, b in merges)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocab, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with(tokenizer, special, extra)


def wordpiece(extra=(), words=("low", "##er", "##est", "new")):
    start = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [mark + one for one in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    pieces = [*start, *letters, *words]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return _with(tokenizer, start, extra)


def unigram(extra=(), words=(("▁low", -3.0), ("er", -4.0), ("est", -5.0))):
    start = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(one, -8.0) for one in "▁abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(Unigram([*start, *letters, *words], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _with(tokenizer, [one for one, _ in start], extra)


KINDS = {"BPE": bpe, "WordPiece": wordpiece, "Unigram": unigram}


def _with(tokenizer, special, extra):
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(one, normalized=False) for one in extra])
    return tokenizer


def save(folder, tokenizer, *, rows=None, template=None, **settings):
    """The folder of a model: tokenizer.json, tokenizer_config.json, config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    if template is not None:
        content["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    size = tokenizer.get_vocab_size() if rows is None else rows
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": size}))
    return folder


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
