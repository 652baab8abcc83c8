"""Chat templates: those of a folder, and the one that a merge writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onefold.checkpoints.vocabulary import files
from onefold.checkpoints.vocabulary.content import DEFAULT
from onefold.errors import SettingError, WeightsError, nearest, shown

AUTO = "auto"
# Templates by name, written from the public formats. A line break behind a block is an expression,
# because transformers removes those that stand there as they are.
NAMED = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for message in messages %}"
        "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "alpaca": (
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
        "{% elif message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n"
        "{% elif message['role'] == 'assistant' %}### Response:\n{{ message['content'] }}"
        "{{ eos_token }}\n\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}### Response:\n{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% set system = namespace(text='') %}{% for message in messages %}"
        "{% if message['role'] == 'system' %}"
        "{% set system.text = message['content'] + '\n\n' %}"
        "{% elif message['role'] == 'user' %}"
        "[INST] {{ system.text }}{{ message['content'] }} [/INST]{% set system.text = '' %}"
        "{% elif message['role'] == 'assistant' %}"
        " {{ message['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
    "exaone": (
        "{% for message in messages %}"
        "{% if loop.first and message['role'] != 'system' %}"
        "{{ '[|system|][|endofturn|]\n' }}{% endif %}"
        "[|{{ message['role'] }}|]{{ message['content'] }}"
        "{% if message['role'] != 'user' %}[|endofturn|]{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}[|assistant|]{% endif %}"
    ),
}
TOKENS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "exaone": ("[|system|]", "[|endofturn|]", "[|assistant|]"),
}


def templates_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates of a folder by name.

    Args:
        folder: the folder.
        settings: the content of its tokenizer_config.json.

    Raises:
        WeightsError: a file of them cannot be read.
    """
    found: dict[str, str] = {}
    _enter(found, settings.get("chat_template"), folder / files.SETTINGS)
    path = folder / files.TEMPLATE_JSON
    _enter(found, files.json_if_there(path).get("chat_template"), path)
    path = folder / files.TEMPLATE
    if path.is_file():
        found[DEFAULT] = files.text_of(path)
    for path in sorted((folder / files.MORE_TEMPLATES).glob("*.jinja")):
        found[path.stem] = files.text_of(path)
    return found


def own_template(folder: Path) -> str | None:
    """The chat template of a folder that is used where none is named; None: it has none.

    Raises:
        WeightsError: a file of them cannot be read.
    """
    return templates_of(folder, files.json_if_there(folder / files.SETTINGS)).get(DEFAULT)


def chosen_template(
    asked: str, templates: Sequence[str | None], tokens: Mapping[str, int]
) -> tuple[str | None, list[str]]:
    """The chat template that a merge writes, and notes on it.

    Args:
        asked: "auto" (the most frequent one of the models, the first of those as frequent), a name
            of `NAMED`, or a template of Jinja, told by its braces.
        templates: that of each model (`own_template`), the base's first.
        tokens: the tokens of the result; empty: they are not known.

    Returns:
        The template (None: no model has one), and one sentence for each thing that may surprise.

    Raises:
        SettingError: the name is unknown, or the template is no Jinja.
    """
    if asked == AUTO:
        counts = Counter(text for text in templates if text is not None)
        if not counts:
            return None, ["No model has a chat template, so that chat_template 'auto' writes none."]
        text, most = counts.most_common(1)[0]
        note = f"The chat template is that of {most} of {len(templates)} models"
        return text, [f"{note}; there are {len(counts)} different ones."] if len(counts) > 1 else []
    if asked in NAMED:
        missing = [one for one in TOKENS.get(asked, ()) if one not in tokens]
        if not missing or not tokens:
            return NAMED[asked], []
        return NAMED[asked], [
            f"The chat template '{asked}' writes {', '.join(map(repr, missing))}, which the"
            " vocabulary has not as tokens, so that they are cut into pieces; name them under"
            " 'tokenizer: tokens'."
        ]
    if "{" not in asked:
        raise SettingError(
            f"The chat template {asked!r} is neither '{AUTO}' nor a known name nor Jinja;"
            f" {nearest(asked, [AUTO, *NAMED])}"
        )
    _check_jinja(asked)
    return asked, []


def _enter(found: dict[str, str], content: object, path: Path) -> None:
    if isinstance(content, str):
        found[DEFAULT] = content
    elif isinstance(content, list):
        for one in content:
            if not isinstance(one, dict) or not isinstance(one.get("template"), str):
                raise WeightsError(f"{path} has a chat template without a text: {shown(one)}.")
            found[str(one.get("name", DEFAULT))] = one["template"]
    elif content is not None:
        raise WeightsError(f"{path} has {shown(content)} as its chat template, not a text.")


def _check_jinja(text: str) -> None:
    try:
        from jinja2 import Environment, TemplateSyntaxError
    except ImportError:
        return  # it is checked by whoever uses it
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateSyntaxError as error:
        if "generation" in str(error):  # a tag that transformers adds
            return
        raise SettingError(
            f"The chat template is no valid Jinja at its line {error.lineno}: {error.message}."
        ) from None
