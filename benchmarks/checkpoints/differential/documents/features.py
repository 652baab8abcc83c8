"""Documents of the features of the format, with any method."""

from __future__ import annotations

# name: (family, text, dtype of the models)
FEATURES: dict[str, tuple[str, str, str]] = {
    "gradients and filters by model": (
        "llama",
        """
merge_method: linear
models:
  - model: a
    parameters:
      weight:
        - {filter: lm_head, value: 1}
        - {filter: embed_tokens, value: 0.75}
        - {filter: self_attn, value: [0.1, 0.9]}
        - value: [0.2, 0.4, 0.9, 0.1]
  - model: b
    parameters: {weight: 0.5}
""",
        "float32",
    ),
    "parameters at every level": (
        "qwen2",
        """
merge_method: task_arithmetic
base_model: base
slices:
  - sources:
      - {model: base, layer_range: [0, 1]}
      - {model: a, layer_range: [0, 1], parameters: {weight: {filter: mlp, value: 0.9}}}
      - {model: b, layer_range: [0, 1]}
    parameters: {weight: {filter: self_attn, value: 0.2}}
  - sources:
      - {model: base, layer_range: [1, 3]}
      - {model: a, layer_range: [1, 3], parameters: {weight: [0.1, 0.7]}}
      - {model: b, layer_range: [1, 3]}
    parameters: {lambda: 0.5}
parameters: {weight: 0.6, lambda: 1.2}
""",
        "float32",
    ),
    "a gradient of truth values": (
        "gpt2",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 0.7, density: 0.5, normalize: [true, false]}
""",
        "float32",
    ),
    "modules as a program prints them": (
        "bert",
        """
base_model: base
dtype: float32
merge_method: ties
modules:
  default:
    slices:
    - sources:
      - {model: a, layer_range: [0, 3], parameters: {density: 0.5, weight: 0.6}}
      - {model: b, layer_range: [0, 3], parameters: {density: 0.5, weight: 0.4}}
      - {model: base, layer_range: [0, 3]}
    parameters: {lambda: 0.9}
""",
        "float32",
    ),
    "layers of two models one after the other": (
        "llama",
        """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [1, 3]}]
""",
        "float32",
    ),
    "layers twice, scaled": (
        "gpt2",
        """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources:
      - model: a
        layer_range: [1, 3]
        parameters:
          scale:
            - {filter: c_proj, value: 0.0}
            - value: 1.0
  - sources: [{model: a, layer_range: [2, 3]}]
""",
        "bfloat16",
    ),
    "the head of another model": (
        "llama",
        """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 3]}]
  - sources: [{model: b, layer_range: [3, 3]}]
""",
        "float32",
    ),
    "layers of other numbers merged": (
        "bert",
        """
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 2], parameters: {weight: [0.2, 0.8]}}
      - {model: b, layer_range: [1, 3], parameters: {weight: 0.5}}
  - sources:
      - {model: b, layer_range: [0, 1], parameters: {weight: {filter: layer.0, value: 2.0}}}
      - {model: c, layer_range: [2, 3], parameters: {weight: {filter: layer.2, value: 1.0}}}
    parameters: {weight: 0.4}
""",
        "float32",
    ),
    "another order of layers": (
        "qwen2",
        """
merge_method: slerp
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [2, 3]}
      - {model: b, layer_range: [2, 3]}
  - sources:
      - {model: a, layer_range: [0, 2]}
      - {model: b, layer_range: [1, 3]}
    parameters: {t: [0.2, 0.4]}
parameters: {t: 0.7}
""",
        "float32",
    ),
    "fewer layers": (
        "gpt2",
        """
merge_method: ties
base_model: base
slices:
  - sources:
      - {model: base, layer_range: [0, 1]}
      - {model: a, layer_range: [0, 1], parameters: {weight: 0.7, density: 0.5}}
  - sources:
      - {model: base, layer_range: [2, 3]}
      - {model: a, layer_range: [2, 3], parameters: {weight: 0.4, density: 0.3}}
""",
        "float32",
    ),
    "a base for a slice of its own": (
        "bert",
        """
merge_method: task_arithmetic
base_model: base
slices:
  - sources:
      - {model: base, layer_range: [0, 2]}
      - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
  - sources:
      - {model: c, layer_range: [1, 2]}
      - {model: a, layer_range: [2, 3], parameters: {weight: 0.5}}
    base_model: c
""",
        "float32",
    ),
    "numbers as YAML 1.1 takes them": (
        "qwen2",
        """
merge_method: karcher
models: [{model: a}, {model: b}, {model: far}]
parameters: {tol: "1e-10", max_iter: "20"}
""",
        "float32",
    ),
    "truth values in many words": (
        "llama",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.5, normalize: no, int8_mask: on, rescale: yes}
""",
        "float32",
    ),
    "a filter for every tensor": (
        "gpt2",
        """
merge_method: slerp
base_model: a
models: [{model: far}]
parameters:
  t: [{filter: ln_, value: [0.9, 0.1]}, {filter: "*", value: 0.25}]
""",
        "float32",
    ),
    "float32 within bfloat16": (
        "llama",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.4}
dtype: float32
out_dtype: bfloat16
""",
        "bfloat16",
    ),
    "bfloat16 asked of float32": (
        "llama",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: b, parameters: {weight: 0.6}}
dtype: bfloat16
""",
        "float32",
    ),
    "float32 asked of bfloat16": (
        "gpt2",
        """
merge_method: slerp
base_model: a
models: [{model: b}]
parameters: {t: 0.3}
dtype: float32
""",
        "bfloat16",
    ),
    "float16": (
        "bert",
        """
merge_method: task_arithmetic
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 0.5}
dtype: float16
""",
        "float16",
    ),
    "float16 written of bfloat16": (
        "gpt2",
        """
merge_method: model_stock
base_model: base
models: [{model: a}, {model: b}]
out_dtype: float16
""",
        "bfloat16",
    ),
    "models of two dtypes": (
        "bert",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.3}}
  - {model: wide, parameters: {weight: 0.7}}
""",
        "bfloat16",
    ),
    "a base of another dtype": (
        "llama",
        """
merge_method: task_arithmetic
base_model: base
models:
  - {model: wide, parameters: {weight: 0.6}}
  - {model: a, parameters: {weight: 0.3}}
""",
        "bfloat16",
    ),
    "a tied head": (
        "qwen2",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.5}
""",
        "float32",
    ),
    "a tied head that one model stores": (
        "qwen2",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: untied, parameters: {weight: 0.6}}
""",
        "float32",
    ),
    "tokens of the base": (
        "llama",
        """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.2}}
  - {model: more, parameters: {weight: 0.8}}
tokenizer_source: base
""",
        "float32",
    ),
    "tokens of one model": (
        "llama",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: other, parameters: {weight: 0.6}}
tokenizer_source: other
""",
        "float32",
    ),
    "tokens of all models": (
        "qwen2",
        """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: more, parameters: {weight: 0.6}}
tokenizer: {source: union}
""",
        "float32",
    ),
    "tokens of all models, trimmed": (
        "qwen2",
        """
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: more, parameters: {weight: 0.6}}
parameters: {density: 0.5}
tokenizer_source: union
""",
        "float32",
    ),
    "tokens of all models, other numbers": (
        "llama",
        """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.4}}
  - {model: other, parameters: {weight: 0.6}}
tokenizer_source: union
""",
        "float32",
    ),
    "tokens padded": (
        "gpt2",
        """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.4}}
  - {model: more, parameters: {weight: 0.6}}
tokenizer: {source: base, pad_to_multiple_of: 64}
""",
        "float32",
    ),
    "rows of single tokens": (
        "llama",
        """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.4}}
  - {model: more, parameters: {weight: 0.6}}
tokenizer:
  source: union
  tokens:
    <|one|>: {source: more, force: true}
    <s>: {source: {kind: model_token, model: more, token: <|two|>}, force: true}
    <pad>: {source: {kind: zero}, force: true}
""",
        "float32",
    ),
}
