"""Merge documents of all the shapes that are in use, each made for this project.

All of them are valid in mergekit 0.1.5 but for what OWN lists. Models are named, and none exists.
"""

from __future__ import annotations

SLERP = """
slices:
  - sources:
      - model: org/chat-7b
        layer_range: [0, 32]
      - model: org/code-7b
        layer_range: [0, 32]
merge_method: slerp
base_model: org/chat-7b
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: bfloat16
"""

VALID = {
    "slerp with gradients by filter": SLERP,
    "slerp of two models": """
merge_method: slerp
base_model: a
models:
  - model: a
  - model: b
parameters:
  t: 0.25
dtype: float16
""",
    "slerp, the base added": """
merge_method: slerp
base_model: a
models: [{model: b}]
parameters: {t: [0.1, 0.9]}
""",
    "slerp in two slices": """
merge_method: slerp
base_model: org/a
slices:
  - sources:
      - {model: org/a, layer_range: [0, 8]}
      - {model: org/b, layer_range: [0, 8]}
    parameters: {t: 0.2}
  - sources:
      - {model: org/a, layer_range: [8, 16]}
      - {model: org/b, layer_range: [8, 16]}
    parameters: {t: [0.2, 0.8]}
dtype: float32
out_dtype: bfloat16
""",
    "linear of three": """
models:
  - model: one
    parameters:
      weight: 1.0
  - model: two
    parameters:
      weight: 0.3
  - model: three
    parameters:
      weight: 0.5
merge_method: linear
dtype: float16
""",
    "linear without a division": """
merge_method: linear
models:
  - {model: one, parameters: {weight: 0.7}}
  - {model: two, parameters: {weight: -0.2}}
parameters: {normalize: false}
""",
    "linear with a base among the models": """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.1}}
  - {model: one, parameters: {weight: 0.9}}
tokenizer_source: base
""",
    "linear with filters by model": """
merge_method: linear
models:
  - model: one
    parameters:
      weight:
        - filter: lm_head
          value: 1
        - filter: embed_tokens
          value: 0.75
        - value: [0.2, 0.4, 0.9]
  - model: two
    parameters: {weight: 0.5}
dtype: bfloat16
""",
    "ties with a list of densities": """
models:
  - model: org/base-8b
  - model: org/math-8b
    parameters:
      density: [1, 0.7, 0.1]
      weight: 1.0
  - model: org/talk-8b
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1]
  - model: org/tool-8b
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: org/base-8b
parameters:
  normalize: true
  int8_mask: true
dtype: float16
""",
    "ties with values for all": """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.2, lambda: 0.8}
""",
    "dare_ties": """
models:
  - model: base
    # the base has none
  - model: a
    parameters: {density: 0.53, weight: 0.4}
  - model: b
    parameters: {density: 0.53, weight: 0.3}
merge_method: dare_ties
base_model: base
parameters:
  int8_mask: true
dtype: bfloat16
""",
    "dare_linear": """
merge_method: dare_linear
base_model: base
models:
  - {model: a, parameters: {density: 0.5, weight: 0.5}}
  - {model: b, parameters: {density: 0.5, weight: 0.5}}
parameters: {rescale: false}
""",
    "dare_ties in slices": """
slices:
  - sources:
      - model: base
        layer_range: [0, 24]
      - model: a
        layer_range: [0, 24]
        parameters:
          density: [0.5, 0.4]
          weight: 0.6
      - model: b
        layer_range: [0, 24]
        parameters:
          density: 0.5
          weight: 0.4
merge_method: dare_ties
base_model: base
dtype: bfloat16
tokenizer_source: union
""",
    "della": """
merge_method: della
base_model: base
models:
  - {model: a, parameters: {density: 0.5, epsilon: 0.1, weight: 0.6}}
  - {model: b, parameters: {density: 0.6, epsilon: 0.1, weight: 0.4}}
parameters: {lambda: 1.1}
dtype: bfloat16
""",
    "della_linear with gradients": """
merge_method: della_linear
base_model: base
models:
  - model: a
    parameters:
      weight: [0.2, 0.5, 0.2]
      density: [0.4, 0.6]
  - model: b
    parameters: {weight: 0.4, density: 0.5}
parameters: {epsilon: 0.15, lambda: 1.0, normalize: true}
out_dtype: bfloat16
dtype: float32
""",
    "breadcrumbs": """
merge_method: breadcrumbs
base_model: base
models:
  - {model: a, parameters: {weight: 1.0, density: 0.9, gamma: 0.01}}
  - {model: b, parameters: {weight: 0.5, density: 0.9, gamma: 0.02}}
""",
    "breadcrumbs_ties": """
merge_method: breadcrumbs_ties
base_model: base
models:
  - model: a
  - model: b
parameters: {weight: 1, density: 0.5, gamma: 0.05, normalize: true}
dtype: torch.bfloat16
""",
    "task arithmetic": """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.35}}
  - {model: b, parameters: {weight: 0.65}}
  - {model: c, parameters: {weight: -0.1}}
parameters: {lambda: 0.5}
""",
    "model_stock": """
models:
  - model: a
  - model: b
  - model: c
merge_method: model_stock
base_model: base
dtype: bfloat16
""",
    "model_stock by rows": """
models: [{model: a}, {model: b}, {model: base}]
merge_method: model_stock
base_model: base
parameters: {filter_wise: true}
chat_template: auto
""",
    "passthrough of layers twice": """
slices:
  - sources:
    - model: org/a
      layer_range: [0, 20]
  - sources:
    - model: org/b
      layer_range: [10, 32]
merge_method: passthrough
dtype: float16
""",
    "passthrough scaled": """
slices:
  - sources: [{model: a, layer_range: [0, 8]}]
  - sources:
      - model: a
        layer_range: [4, 12]
        parameters:
          scale:
            - filter: o_proj
              value: 0.0
            - filter: down_proj
              value: 0.0
            - value: 1.0
  - sources: [{model: a, layer_range: [8, 16]}]
merge_method: passthrough
dtype: bfloat16
""",
    "passthrough with the head of another": """
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 16]}]
  - sources: [{model: b, layer_range: [16, 16]}]
""",
    "one model with an adapter": """
merge_method: passthrough
models:
  - model: org/base-8b+org/refusal-lora
dtype: bfloat16
""",
    "adapters on one base": """
merge_method: task_arithmetic
base_model: org/base
models:
  - {model: org/base+org/first-lora, parameters: {weight: 0.5}}
  - {model: org/base@v2+org/second-lora@main, parameters: {weight: 0.5}}
""",
    "nuslerp": """
merge_method: nuslerp
models:
  - {model: a, parameters: {weight: [0.2, 0.8]}}
  - {model: b, parameters: {weight: 0.5}}
parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}
""",
    "nuslerp of task vectors": """
merge_method: nuslerp
base_model: base
models:
  - {model: a, parameters: {weight: 0.6}}
  - {model: b, parameters: {weight: 0.4}}
""",
    "multislerp": """
merge_method: multislerp
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: 0.3}}
  - {model: c, parameters: {weight: 0.2}}
parameters: {normalize_weights: false, eps: 1e-9}
""",
    "karcher": """
merge_method: karcher
models: [{model: a}, {model: b}, {model: c}]
parameters: {max_iter: 1000, tol: 1e-9}
dtype: bfloat16
""",
    "sce": """
merge_method: sce
base_model: base
models: [{model: a}, {model: b}]
parameters: {select_topk: 0.1, int8_mask: true}
""",
    "nearswap": """
merge_method: nearswap
base_model: a
models:
  - model: a
  - model: b
parameters: {t: 0.0001}
""",
    "arcee_fusion": """
merge_method: arcee_fusion
base_model: a
models: [{model: b}]
dtype: bfloat16
tokenizer: {source: base}
""",
    "ram": """
merge_method: ram
base_model: base
models: [{model: a}, {model: b}]
parameters: {epsilon: 1e-6}
""",
    "ramplus_tl": """
merge_method: ramplus_tl
base_model: base
models: [{model: a}, {model: b}]
parameters: {r: 0.2, alpha: 0.3}
""",
    "modules as a program prints them": """
base_model: base
dtype: bfloat16
merge_method: dare_ties
modules:
  default:
    slices:
    - sources:
      - layer_range: [0, 28]
        model: a
        parameters:
          density: 0.5
          weight: 0.6
      - layer_range: [0, 28]
        model: b
        parameters:
          density: 0.5
          weight: 0.4
      - layer_range: [0, 28]
        model: base
out_dtype: bfloat16
tokenizer: {}
""",
    "modules of two towers": """
merge_method: linear
modules:
  text_decoder:
    slices:
      - sources:
          - {model: a, layer_range: [0, 4], parameters: {weight: 1}}
          - {model: b, layer_range: [0, 4]}
        parameters: {weight: 2}
  vision_tower:
    models: [{model: a}, {model: b}]
    parameters: {weight: {value: 3}}
parameters: {weight: 4, normalize: {filter: "*", value: true}}
""",
    "revisions": """
merge_method: linear
models:
  - {model: org/a@v1.0, parameters: {weight: 1}}
  - {model: org/a@refs/pr/2, parameters: {weight: 1}}
  - {model: {model: {path: ./odd+name, revision: null}}, parameters: {weight: 1}}
""",
    "long references": """
merge_method: linear
models:
  - model:
      model: {path: org/a, revision: main}
      lora: {path: org/l}
      override_architecture: LlamaForCausalLM
    parameters: {weight: 1}
  - model: org/b
    parameters: {weight: 1}
""",
    "a tokenizer with tokens": """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: 0.5}}
tokenizer:
  source: union
  pad_to_multiple_of: 64
  tokens:
    <|im_start|>:
      source: b
    <|im_end|>:
      source: {kind: model_token, model: b, token: <|end|>}
      force: true
    <pad>:
      source: {kind: zero}
    <tool>:
      source: {kind: model_token, model: {model: {path: a}}, token_id: 7}
    <new>: {}
chat_template: chatml
""",
    "a tokenizer of a model": """
merge_method: linear
base_model: base
models: [{model: a}]
parameters: {weight: 1}
tokenizer_source: org/other
chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}"
""",
    "anchors": """
merge_method: ties
base_model: base
models:
  - model: a
    parameters: &p
      weight: 0.5
      density: 0.4
  - model: b
    parameters: *p
  - model: c
    parameters: {<<: *p, weight: 0.7}
""",
    "numbers as YAML 1.1 takes them": """
merge_method: karcher
models: [{model: a}, {model: b}]
parameters: {tol: "1e-10", max_iter: "20"}
""",
    "truth values in many words": """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 1, normalize: yes, int8_mask: on, rescale: 0}
""",
    "a gradient of truth values": """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.5, normalize: [true, false]}
""",
    "a base for a slice of its own": """
merge_method: task_arithmetic
base_model: base
slices:
  - sources:
      - {model: base, layer_range: [0, 2]}
      - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
  - sources:
      - {model: other, layer_range: [0, 2]}
      - {model: a, layer_range: [2, 4], parameters: {weight: 0.5}}
    base_model: other
""",
    "text as JSON": """
{"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 1}}],
 "dtype": "float32"}
""",
    "several that refer to one another": f"""
name: talk
merge_method: ties
base_model: base
models: [{{model: a}}, {{model: b}}]
parameters: {{weight: 1, density: 0.5}}
---
name: code
{SLERP.strip()}
---
merge_method: linear
models:
  - {{model: talk, parameters: {{weight: 1}}}}
  - {{model: code, parameters: {{weight: 2}}}}
dtype: bfloat16
""",
}

# Documents that mergekit does not know.
OWN = {
    "magmax": """
merge_method: magmax
base_model: base
models: [{model: a}, {model: b}]
parameters: {lambda: 0.5}
""",
    "a step behind the method": """
merge_method: task_arithmetic
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1}
finish: svc
""",
    "a step with a setting": """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.5}
finish: {name: singular_value_calibration, alpha: 0.2}
""",
}
