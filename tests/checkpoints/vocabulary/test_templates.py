import jinja2
import pytest

from onefold.checkpoints.vocabulary import chosen_template, own_template
from onefold.checkpoints.vocabulary.templates import NAMED, TOKENS
from onefold.errors import SettingError, WeightsError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
SAID = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "alpaca": (
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n"
        "### Instruction:\nBye\n\n### Response:\n"
    ),
    "mistral": "<s>[INST] Be brief.\n\nHi [/INST] Hello</s>[INST] Bye [/INST]",
    "exaone": (
        "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello[|endofturn|]\n"
        "[|user|]Bye\n[|assistant|]"
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_templates_write_their_formats(name):
    text, _ = chosen_template(name, [], {})
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers
    told = {"messages": TALK, "bos_token": "<s>", "eos_token": "</s>"}
    assert environment.from_string(text).render(**told, add_generation_prompt=True) == SAID[name]


def test_auto_is_the_most_frequent_one_and_the_first_of_equals():
    assert chosen_template("auto", ["a", "b", "b", None], {})[0] == "b"
    text, notes = chosen_template("auto", ["a", "b"], {})
    assert text == "a"
    assert "2 different ones" in notes[0]
    assert chosen_template("auto", ["a", "a"], {}) == ("a", [])
    text, notes = chosen_template("auto", [None], {})
    assert text is None
    assert "writes none" in notes[0]


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_of_a_named_template_that_are_missing_are_told(name):
    _, notes = chosen_template(name, [], {"a": 0})
    assert repr(TOKENS[name][0]) in notes[0]
    assert not chosen_template(name, [], dict.fromkeys(TOKENS[name], 0))[1]


def test_a_template_of_ones_own_is_checked():
    assert chosen_template("{{ messages }}", [], {}) == ("{{ messages }}", [])
    with pytest.raises(SettingError, match="no valid Jinja at its line 2"):
        chosen_template("a\n{% for x %}", [], {})
    with pytest.raises(SettingError, match="did you mean 'chatml'"):
        chosen_template("chat-ml", [], {})


def test_a_broken_template_of_a_folder_is_told(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(WeightsError, match="not a text"):
        own_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": [{"name": "x"}]}')
    with pytest.raises(WeightsError, match="without a text"):
        own_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "t"}')
    assert own_template(tmp_path) == "t"
