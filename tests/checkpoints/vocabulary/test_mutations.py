"""Broken tokenizer files end in one sentence, never in a traceback of another kind."""

import json
import random

import pytest
from vocabulary_folders import KINDS, A, B, bpe, save

from onefold.checkpoints.document import Tokenizer
from onefold.checkpoints.vocabulary import plan_vocabulary, write_tokenizer
from onefold.errors import OnefoldError

VALUES = (None, True, -1, 0, 3, 10**30, 1.5, "", "low", [], [1], ["a", "b", "c"], {}, {"a": 1})


def places(content, at=()):
    """Every place in a JSON content, as the keys that lead to it."""
    yield at
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items)[:12]:
        if isinstance(value, (dict, list)):
            yield from places(value, (*at, key))
        else:
            yield (*at, key)


def spoiled(content, generator):
    content = json.loads(json.dumps(content))
    at = generator.choice([one for one in places(content) if one])
    part = content
    for key in at[:-1]:
        part = part[key]
    if generator.random() < 0.3:
        del part[at[-1]]
    else:
        part[at[-1]] = generator.choice(VALUES)
    return json.dumps(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_spoiled_contents(tmp_path, kind, seed):
    generator = random.Random(seed)
    decoder = {str(number): {"content": one} for one, number in _whole(kind)}
    folders = {
        A: save(tmp_path / "a", KINDS[kind](["<x>"]), template="t"),
        B: save(tmp_path / "b", KINDS[kind](["<y>"]), added_tokens_decoder=decoder),
    }
    (folders[B] / "added_tokens.json").write_text(json.dumps(dict(_whole(kind))))
    names = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "config.json")
    texts = {(model, name): "" for model in folders for name in names}
    for model, name in texts:
        path = folders[model] / name
        texts[model, name] = path.read_text() if path.exists() else "{}"
    for number in range(40):
        model, name = generator.choice(list(texts))
        path = folders[model] / name
        path.write_text(spoiled(json.loads(texts[model, name] or "{}") or {"a": 1}, generator))
        target = tmp_path / str(number)
        target.mkdir()
        told = ""
        try:
            plan = plan_vocabulary(folders, [A, B], A, Tokenizer("union"), {})
            write_tokenizer(plan, target, "{{ messages }}")
        except OnefoldError as error:
            told = str(error)
        assert "\n" not in told
        path.write_text(texts[model, name])


def _whole(kind):
    tokenizer = KINDS[kind](["<y>"])
    return [("<y>", tokenizer.token_to_id("<y>"))]


def test_text_cut_off_at_any_place(tmp_path):
    folder = save(tmp_path / "a", bpe(["<x>"]))
    path = folder / "tokenizer.json"
    data = path.read_bytes()
    for end in range(0, len(data) - 1, 97):
        path.write_bytes(data[:end])
        with pytest.raises(OnefoldError, match=r"broken JSON at line|no UTF-8 text"):
            plan_vocabulary({A: folder}, [A], A, None, {})
