"""Documents read strictly and as mergekit reads them: what is refused, what is ignored."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from onefold.checkpoints.document import (
    Document,
    IgnoredSetting,
    documents_from,
    is_merge_document,
    parse_documents,
    read_documents,
)
from onefold.errors import RecipeError

START = "merge_method: linear\nmodels:\n  - model: a\n"
WEIGHTS = "parameters: {weight: 1}\n"


def read(text: str, as_mergekit: bool = False) -> Document:
    return parse_documents(text, "The document c.yml", as_mergekit)[0]


def refusal(text: str, as_mergekit: bool = False) -> str:
    with pytest.raises(RecipeError) as caught:
        read(text, as_mergekit)
    sentence = str(caught.value)
    assert sentence.startswith("The document c.yml")
    assert "\n" not in sentence
    assert sentence[-1] in ".?"
    return sentence.removeprefix("The document c.yml")


IGNORED = {
    "a misspelt key": (
        START + WEIGHTS + "dype: float32\n",
        ", line 5, has an unknown key 'dype'; did you mean 'dtype'?",
    ),
    "a parameter at the top": (
        START + WEIGHTS + "normalize: true\n",
        ", line 5, has an unknown key 'normalize'; write it under 'parameters'.",
    ),
    "a parameter beside a model": (
        START + "    weight: 2\n" + WEIGHTS,
        ", line 4, has an unknown key 'models.0.weight'; write it under 'parameters'.",
    ),
    "a revision as a key": (
        START + "    revision: v1\n" + WEIGHTS,
        ", line 4, has an unknown key 'models.0.revision'; write it behind the model, as"
        " 'model: path@revision'.",
    ),
    "layers of a model": (
        START + "    layer_range: [0, 4]\n" + WEIGHTS,
        ", line 4, has an unknown key 'models.0.layer_range'; layers are given for the 'sources'"
        " of 'slices'.",
    ),
    "a dtype among parameters": (
        START + "parameters: {weight: 1, dtype: float16}\n",
        ", line 4, has an unknown key 'parameters.dtype'; write it at the top of the document.",
    ),
    "a dtype of a model": (
        START + "    dtype: float16\n" + WEIGHTS,
        ", line 4, has an unknown key 'models.0.dtype'; write it at the top of the document.",
    ),
    "padding at the top": (
        START + WEIGHTS + "pad_to_multiple_of: 8\n",
        ", line 5, has an unknown key 'pad_to_multiple_of'; write it under 'tokenizer'.",
    ),
    "a parameter of another method": (
        START + "parameters: {weight: 1, select_topk: 0.1}\n",
        ", line 4, has an unknown key 'parameters.select_topk'; linear has no such parameter; it"
        " has normalize, weight.",
    ),
    "a misspelt parameter": (
        START + "parameters: {weight: 1, normalise: false}\n",
        ", line 4, has an unknown key 'parameters.normalise'; linear has no such parameter; did you"
        " mean 'normalize'?",
    ),
    "a shared parameter of a model": (
        START + "    parameters: {normalize: false}\n" + WEIGHTS,
        ", line 4, key 'models.0.parameters.normalize': it is one value for the whole merge; write"
        " it under 'parameters' of the document.",
    ),
    "an entry behind one for all": (
        START + "parameters:\n  weight:\n    - value: 1\n    - {filter: mlp, value: 2}\n",
        ", line 7, key 'parameters.weight.1': it is never reached, as an entry before it fits every"
        " tensor; move it up, or leave it out.",
    ),
    "an entry behind a wider one": (
        START
        + "parameters:\n  weight:\n    - {filter: mlp, value: 2}\n"
        + "    - {filter: mlp.up, value: 2}\n    - value: 1\n",
        ", line 7, key 'parameters.weight.1': it is never reached, as an entry before it fits every"
        " such tensor; move it up, or leave it out.",
    ),
    "an unknown key of a filter": (
        START + "parameters: {weight: {filer: mlp, value: 1}}\n",
        ", line 4, has an unknown key 'parameters.weight.filer'; did you mean 'filter'?",
    ),
    "an empty list": (
        START + "    parameters: {weight: []}\n" + WEIGHTS,
        ", line 4, key 'models.0.parameters.weight': an empty list sets nothing; give a value, or"
        " leave the key out.",
    ),
    "a residual weight": (
        "merge_method: linear\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n"
        "    residual_weight: 0.5\n" + WEIGHTS,
        ", line 4, key 'slices.0.residual_weight': mergekit takes it and never uses it; leave it"
        " out (found: 0.5).",
    ),
    "a name of a single document": (
        "name: it\n" + START + WEIGHTS,
        ", line 1, key 'name': a name is for other documents to refer to, and there are none"
        " (found: 'it').",
    ),
    "two forms": (
        START + "slices: []\n" + WEIGHTS,
        ", line 4, key 'slices': it is empty; leave it out, as 'models' is given.",
    ),
    "a parameter that does nothing": (
        "merge_method: task_arithmetic\nbase_model: b\nmodels:\n  - model: a\n"
        "parameters: {weight: 1, density: 0.5}\n",
        ", line 5, key 'parameters.density': task_arithmetic does not use it; leave it out.",
    ),
    "a parameter of the base": (
        "merge_method: task_arithmetic\nbase_model: b\nmodels:\n  - model: a\n  - model: b\n"
        "    parameters: {weight: 0.5}\n" + WEIGHTS,
        ", line 6, key 'models.1.parameters.weight': task_arithmetic reads no 'weight' of the base,"
        " which the other models are compared with; leave it out.",
    ),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_mergekit_ignores_is_refused(name: str) -> None:
    text, sentence = IGNORED[name]
    assert refusal(text) == sentence


@pytest.mark.parametrize("name", IGNORED)
def test_as_mergekit_it_is_ignored_with_a_sentence(name: str) -> None:
    text, sentence = IGNORED[name]
    (told,) = read(text, as_mergekit=True).ignored
    line = sentence.split(",")[1]
    assert told.startswith(f"The document c.yml,{line}, key '")
    assert ": ignored, as in mergekit" in told
    assert told[-1] in ".?"


REFUSED = {
    "no method": (
        "models: [{model: a}]\n",
        ": it lacks the key 'merge_method'; name the method by it, as merge_method: linear.",
    ),
    "another method": (
        START.replace("linear", "Linear") + WEIGHTS,
        ", line 1, key 'merge_method': there is no method 'Linear'; did you mean 'linear'?",
    ),
    "dashes": (
        "merge_method: task-arithmetic\nmodels: [{model: a}]\n",
        ", line 1, key 'merge_method': there is no method 'task-arithmetic'; did you mean"
        " 'task_arithmetic'?",
    ),
    "mixtures": (
        START.replace("linear", "moe"),
        ", line 1, key 'merge_method': there is no method 'moe'; mixtures of experts are made by"
        " mergekit-moe, not here.",
    ),
    "no models": (
        "merge_method: linear\n",
        ": a document has exactly one of 'models', 'slices' and 'modules', and this has none of"
        " them.",
    ),
    "models and slices": (
        START + "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n",
        ", line 4, key 'slices': a document has exactly one of 'models', 'slices' and 'modules',"
        " and this has 'models' and 'slices'.",
    ),
    "a model as a text": (
        "merge_method: linear\nmodels:\n  - a\n",
        ", line 3, key 'models.0': it must hold the key 'model'; write '- model: ...' (found:"
        " 'a').",
    ),
    "no model": ("merge_method: linear\nmodels:\n  - parameters: {weight: 1}\n", ", line 3,"),
    "a dtype": (
        START + WEIGHTS + "dtype: bfloat\n",
        ", line 5, key 'dtype': there is no such dtype; did you mean 'bfloat16'? (found:"
        " 'bfloat').",
    ),
    "no weight": (
        START + "  - model: b\n    parameters: {weight: 1}\n",
        ", line 3, key 'models.0': linear needs a value for 'weight' of a; give it under"
        " 'parameters'.",
    ),
    "no weight of the base that is added": (
        START + "    parameters: {weight: 1}\nbase_model: b\n",
        ", line 5, key 'base_model': linear needs a value for 'weight' of b; give it under"
        " 'parameters'.",
    ),
    "a text for a number": (
        START + "parameters: {weight: half}\n",
        ", line 4, key 'parameters.weight': it is 'half', not a number.",
    ),
    "a truth value for a number": (
        START + "parameters: {weight: true}\n",
        ", line 4, key 'parameters.weight': it is True, not a number.",
    ),
    "nothing for a number": (
        START + "parameters: {weight: }\n",
        ", line 4, key 'parameters.weight': it must be a number, true, false, a list of numbers,"
        " or values with filters (found: None).",
    ),
    "no finite number": (
        START + "parameters: {weight: [1, .inf]}\n",
        ", line 4, key 'parameters.weight.1': it must be finite (found: inf).",
    ),
    "a mixed list": (
        START + "parameters: {weight: [{filter: mlp, value: 0.1}, 3]}\n",
        ", line 4, key 'parameters.weight.1': a list holds either numbers or values with filters"
        " (found: 3).",
    ),
    "a list in a list": (
        START + "parameters: {weight: [[1, 2], 3]}\n",
        ", line 4, key 'parameters.weight.0': it must be a number, true, false, a list of numbers,"
        " or values with filters.",
    ),
    "a filter without a value": (
        START + "parameters: {weight: {filter: mlp}}\n",
        ", line 4, lacks the key 'parameters.weight.value'; add it.",
    ),
    "weights that sum to 0": (
        START + "    parameters: {weight: 1}\n  - {model: b, parameters: {weight: -1}}\n",
        ", line 2, key 'models': the weights of linear sum to 0; change one, or set normalize to"
        " false.",
    ),
    "weights that sum to 0 in the last layer": (
        START + "    parameters: {weight: 1}\n  - {model: b, parameters: {weight: [1, -1]}}\n",
        ", line 2, key 'models': the weights of linear sum to 0; change one, or set normalize to"
        " false.",
    ),
    "no base": (
        START.replace("linear", "task_arithmetic") + WEIGHTS,
        ", line 1, key 'merge_method': task_arithmetic needs a base; give base_model.",
    ),
    "a base that is no source": (
        "merge_method: task_arithmetic\nbase_model: b\nslices:\n"
        "  - sources: [{model: a, layer_range: [0, 1]}]\n" + WEIGHTS,
        ", line 4, key 'slices.0.sources': the base b must be one of the sources of each slice;"
        " list it.",
    ),
    "a model twice": (
        START + "  - model: a\n" + WEIGHTS,
        ", line 4, key 'models.1.model': it is listed twice; list it once (found: 'a').",
    ),
    "unequal slices": (
        "merge_method: linear\nslices:\n  - sources:\n      - {model: a, layer_range: [0, 4]}\n"
        "      - {model: b, layer_range: [0, 5]}\n" + WEIGHTS,
        ", line 5, key 'slices.0.sources.1.layer_range': it has 5 layers, and the first source of"
        " this slice has 4; all sources of a slice have equally many.",
    ),
    "a backward slice": (
        "merge_method: linear\nslices:\n  - sources:\n      - {model: a, layer_range: [4, 0]}\n",
        ", line 4, key 'slices.0.sources.0.layer_range': [4, 0] must begin at 0 or later, and not"
        " end first.",
    ),
    "no range": (
        "merge_method: linear\nslices:\n  - sources:\n      - {model: a, layer_range: 4}\n",
        ", line 4, key 'slices.0.sources.0.layer_range': it must be two whole numbers, [first,"
        " behind the last].",
    ),
    "two adapters": (
        "merge_method: linear\nmodels:\n  - model: a+b+c\n",
        ", line 3, key 'models.0.model': it holds more than one '+', which adds an adapter; where"
        " a path holds '+', write model: {model: {path: ...}} (found: 'a+b+c').",
    ),
    "two revisions": (
        "merge_method: linear\nmodels:\n  - model: a@b@c\n",
        ", line 3, key 'models.0.model': it holds more than one '@', which names a revision;",
    ),
    "no revision": ("merge_method: linear\nmodels:\n  - model: a@\n", ", line 3, key 'models.0."),
    "two tokenizers": (
        START + WEIGHTS + "tokenizer_source: base\ntokenizer: {}\n",
        ", line 5, key 'tokenizer_source': it is given beside 'tokenizer'; write 'source' into"
        " that.",
    ),
    "a template": (
        START + WEIGHTS + "chat_template: chatlm\n",
        ", line 5, key 'chat_template': it is neither a template in Jinja nor a known name; did"
        " you mean 'chatml'? (found: 'chatlm').",
    ),
    "two kinds of a token": (
        START + WEIGHTS + "tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}\n",
        ", line 5, key 'tokenizer.tokens.x.source': it needs either 'token' or 'token_id'.",
    ),
    "a list": ("- a\n", ": it must hold keys and values."),
    "nothing": ("# nothing\n", " holds nothing; write a 'merge_method' and 'models'."),
    "no YAML": ("merge_method: [linear\n", " is no valid YAML at line 2, column 1: "),
}


@pytest.mark.parametrize("as_mergekit", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_in_both_ways(name: str, as_mergekit: bool) -> None:
    text, sentence = REFUSED[name]
    told = refusal(text, as_mergekit)
    assert told.startswith(sentence), told


def test_a_key_that_is_given_twice_is_refused_or_the_last_value_counts() -> None:
    text = START + "parameters: {weight: 1, weight: 2}\n"
    assert refusal(text) == ", line 4: the key 'weight' is given twice; give it once."
    document = read(text, as_mergekit=True)
    assert document.parameters["weight"][0].value == 2
    assert (
        "line 4, key 'weight': it is given twice, and the last value counts" in document.ignored[0]
    )


def test_a_file_is_read_and_what_is_ignored_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(START + WEIGHTS + "dype: float32\n")
    with pytest.warns(IgnoredSetting, match="line 5, key 'dype': ignored, as in mergekit"):
        (document,) = read_documents(path, as_mergekit=True)
    assert len(document.ignored) == 1
    with pytest.raises(RecipeError, match="did you mean 'dtype'"):
        read_documents(path)
    path.write_text(START + WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_documents(path)
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read_documents(tmp_path / "none.yml")


@pytest.mark.parametrize("text", [START, '{"merge_method": linear}', "a: 1\nmerge_method : x"])
def test_a_document_is_told_by_its_method(text: str) -> None:
    assert is_merge_document(text)
    assert not is_merge_document(text.replace("merge_method", "data"))
    assert not is_merge_document("# merge_method: linear\n")


@pytest.mark.parametrize(
    "text",
    [
        START,
        "merge_metod: ties\nmodels: [{model: a}]\n",
        "merge-method: ties\n",
        "mergemethod: ties\nslices: []\n",
        "method: ties\nmodels:\n- model: a\n",
        "{'merge_methd': ties}",
        "models:\n- model: a\n",
        "base_model: a\n",
        "modules: {x: 1}\nname: a\n",
        "name: a\n---\nmerge_method: ties\n",
        "experts: []\n",
    ],
)
def test_a_document_is_told_by_its_keys_even_where_one_is_misspelt(text: str) -> None:
    assert is_merge_document(text)


@pytest.mark.parametrize(
    "text",
    [
        "members: [a, b]\nfold: average\n",
        "members: [a, b]\nmodel: resnet20\ndata: sklearn:digits\n",
        "members: [a, b]\nmodels: [a, b]\n",
        "model: x\nfold: average\n",
        "",
        "seed: 0\n",
        "# merge_method is a key of mergekit\nmembers: [a]\n",
    ],
)
def test_recipes_are_no_documents(text: str) -> None:
    assert not is_merge_document(text)


@pytest.mark.parametrize("key", ["merge_metod", "merge-method", "mergemethod", "method"])
def test_a_misspelt_method_is_told_as_such(key: str) -> None:
    told = refusal(f"models: [{{model: a}}]\n{key}: ties\n")
    assert told.endswith(f"line 2, has an unknown key '{key}'; did you mean 'merge_method'?")


def test_keys_and_values_are_documents_as_well() -> None:
    text = START + WEIGHTS + "slices:\n"
    content = {
        "merge_method": "linear",
        "models": ({"model": Path("a")},),
        "parameters": {"weight": 1},
    }
    assert documents_from([content]) == (read(START + WEIGHTS),)
    first = content | {"name": "first"}
    last = content | {"models": [{"model": "first"}]}
    assert [one.name for one in documents_from([last, first])] == ["first", None]
    with pytest.raises(RecipeError, match=r"The document has an unknown key 'merge_metod'; did"):
        documents_from([{"merge_metod": "linear", "models": [{"model": "a"}]}])
    with pytest.raises(RecipeError, match="lacks the key 'merge_method'"):
        documents_from([{}])
    with pytest.raises(RecipeError):
        documents_from([content | {"slices": None}])
    with pytest.warns(IgnoredSetting, match="slices"):
        documents_from([content | {"slices": None}], as_mergekit=True)
    assert read(text, as_mergekit=True).ignored
