"""Documents of means, of interpolation on spheres, and of single models."""

from __future__ import annotations

# name: (family, text)
MEANS: dict[str, tuple[str, str]] = {
    "linear of three": (
        "llama",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 1.0}}
  - {model: b, parameters: {weight: 0.3}}
  - {model: c, parameters: {weight: 0.5}}
""",
    ),
    "linear without a division": (
        "gpt2",
        """
merge_method: linear
models:
  - {model: a, parameters: {weight: 0.7}}
  - {model: b, parameters: {weight: -0.2}}
parameters: {normalize: false}
""",
    ),
    "linear, the base one of the models": (
        "bert",
        """
merge_method: linear
base_model: base
models:
  - {model: base, parameters: {weight: 0.1}}
  - {model: a, parameters: {weight: 0.9}}
""",
    ),
    "slerp with gradients by filter": (
        "llama",
        """
slices:
  - sources:
      - {model: a, layer_range: [0, 3]}
      - {model: b, layer_range: [0, 3]}
merge_method: slerp
base_model: a
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - value: 0.5
""",
    ),
    "slerp, the base added": (
        "gpt2",
        """
merge_method: slerp
base_model: base
models: [{model: b}]
parameters: {t: [0.1, 0.9]}
""",
    ),
    "slerp between models far apart": (
        "bert",
        """
merge_method: slerp
base_model: a
models: [{model: a}, {model: far}]
parameters: {t: 0.35}
""",
    ),
    "slerp between models close together": (
        "bert",
        """
merge_method: slerp
base_model: base
models: [{model: fairly}]
parameters: {t: 0.4}
""",
    ),
    "nuslerp": (
        "llama",
        """
merge_method: nuslerp
models:
  - {model: a, parameters: {weight: [0.2, 0.8]}}
  - {model: far, parameters: {weight: 0.5}}
""",
    ),
    "nuslerp of task vectors": (
        "bert",
        """
merge_method: nuslerp
base_model: base
models:
  - {model: a, parameters: {weight: 0.6}}
  - {model: b, parameters: {weight: 0.4}}
""",
    ),
    "nuslerp of task vectors by rows": (
        "llama",
        """
merge_method: nuslerp
base_model: base
models:
  - {model: a, parameters: {weight: 0.6}}
  - {model: b, parameters: {weight: 0.4}}
parameters: {nuslerp_flatten: false}
""",
    ),
    "nuslerp by columns": (
        "gpt2",
        """
merge_method: nuslerp
models:
  - {model: a, parameters: {weight: 0.3}}
  - {model: far, parameters: {weight: 0.5}}
parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}
""",
    ),
    "nuslerp of weights that cancel": (
        "llama",
        """
merge_method: nuslerp
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: -0.5}}
""",
    ),
    "multislerp": (
        "llama",
        """
merge_method: multislerp
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: far, parameters: {weight: 0.3}}
  - {model: c, parameters: {weight: 0.2}}
""",
    ),
    "multislerp of weights that almost cancel": (
        "llama",
        """
merge_method: multislerp
models:
  - {model: a, parameters: {weight: 1.0}}
  - {model: b, parameters: {weight: 1.0}}
  - {model: c, parameters: {weight: -1.8}}
""",
    ),
    "multislerp of task vectors": (
        "gpt2",
        """
merge_method: multislerp
base_model: base
models:
  - {model: far, parameters: {weight: 0.5}}
  - {model: a, parameters: {weight: 0.3}}
  - {model: b, parameters: {weight: 0.2}}
""",
    ),
    "multislerp of a tensor that nobody changed": (
        "gpt2",
        """
merge_method: multislerp
base_model: base
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: 0.3}}
  - {model: c, parameters: {weight: 0.2}}
""",
    ),
    "multislerp without a division": (
        "bert",
        """
merge_method: multislerp
base_model: base
models:
  - {model: a, parameters: {weight: 0.7}}
  - {model: b, parameters: {weight: 0.6}}
parameters: {normalize_weights: false, eps: 1e-9}
""",
    ),
    "karcher": (
        "llama",
        """
merge_method: karcher
models: [{model: a}, {model: far}, {model: c}]
""",
    ),
    "karcher to the end": (
        "bert",
        """
merge_method: karcher
models: [{model: a}, {model: far}]
parameters: {max_iter: 1000, tol: 1e-9}
""",
    ),
    "karcher with a base": (
        "gpt2",
        """
merge_method: karcher
base_model: base
models: [{model: a}, {model: b}]
parameters: {max_iter: 3}
""",
    ),
    "passthrough": ("bert", "merge_method: passthrough\nmodels: [{model: a}]\n"),
    "passthrough scaled by filter": (
        "gpt2",
        """
merge_method: passthrough
models:
  - model: a
    parameters:
      scale:
        - {filter: c_proj, value: 0.5}
        - {filter: mlp, value: [0.0, 1.0, 3.0]}
        - value: 1.5
""",
    ),
}
