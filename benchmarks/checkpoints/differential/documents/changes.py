"""Documents of sums of changes, trimmed or not; of random methods with a density of 1."""

from __future__ import annotations

# name: (family, text)
CHANGES: dict[str, tuple[str, str]] = {
    "task arithmetic": (
        "llama",
        """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.35}}
  - {model: b, parameters: {weight: 0.65}}
  - {model: c, parameters: {weight: -0.1}}
parameters: {lambda: 0.5}
""",
    ),
    "task arithmetic, normalized": (
        "bert",
        """
merge_method: task_arithmetic
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 0.8, normalize: true}
""",
    ),
    "task arithmetic of weights that cancel": (
        "gpt2",
        """
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: 0.8}}
  - {model: b, parameters: {weight: -0.8}}
parameters: {normalize: true}
""",
    ),
    "ties": (
        "llama",
        """
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 1.0, density: 0.5}}
  - {model: b, parameters: {weight: 0.6, density: 0.33}}
  - {model: c, parameters: {weight: 0.8, density: 0.2}}
parameters: {int8_mask: true}
""",
    ),
    "ties with gradients": (
        "gpt2",
        """
merge_method: ties
base_model: base
models:
  - model: a
    parameters: {density: [1, 0.7, 0.1], weight: 1.0}
  - model: b
    parameters: {density: 0.5, weight: [0, 0.3, 0.7, 1]}
  - model: c
    parameters:
      density: 0.33
      weight:
        - {filter: mlp, value: 0.5}
        - value: 0
parameters: {normalize: true}
""",
    ),
    "ties without a division": (
        "bert",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 0.5, density: 0.2, lambda: 0.8, normalize: false}
""",
    ),
    "ties rescaled": (
        "llama",
        """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 0.5, density: 0.3, rescale: true}
""",
    ),
    "ties against one of the models": (
        "gpt2",
        """
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 1.0}}
  - {model: b, parameters: {weight: -0.7}}
parameters: {density: 0.6}
""",
    ),
    "ties of almost nothing": (
        "bert",
        """
merge_method: ties
base_model: base
models:
  - {model: a, parameters: {density: 0.00001}}
  - {model: b, parameters: {density: 0.0}}
  - {model: c, parameters: {density: 0.9999}}
parameters: {weight: 1}
""",
    ),
    "dare_linear of all": (
        "llama",
        """
merge_method: dare_linear
base_model: base
models:
  - {model: a, parameters: {density: 1.0, weight: 0.7}}
  - {model: b, parameters: {density: 1.0, weight: 0.5}}
parameters: {lambda: 0.9}
""",
    ),
    "dare_ties of all": (
        "bert",
        """
merge_method: dare_ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: b, parameters: {weight: 0.3}}
  - {model: c, parameters: {weight: 0.3}}
""",
    ),
    "dare_ties of all, normalized": (
        "gpt2",
        """
merge_method: dare_ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: b, parameters: {weight: 0.3}}
parameters: {normalize: true, lambda: 1.2}
""",
    ),
    "della of all": (
        "llama",
        """
merge_method: della
base_model: base
models:
  - {model: a, parameters: {weight: 0.6, density: 1.0}}
  - {model: b, parameters: {weight: 0.4, density: 1.0}}
parameters: {lambda: 1.1}
""",
    ),
    "della_linear of all": (
        "bert",
        """
merge_method: della_linear
base_model: base
models:
  - {model: a, parameters: {weight: [0.2, 0.5, 0.2]}}
  - {model: b, parameters: {weight: 0.4}}
parameters: {normalize: true}
""",
    ),
    "breadcrumbs": (
        "llama",
        """
merge_method: breadcrumbs
base_model: base
models:
  - {model: a, parameters: {weight: 1.0, density: 0.6, gamma: 0.01}}
  - {model: b, parameters: {weight: 0.5, density: 0.5, gamma: 0.05}}
""",
    ),
    "breadcrumbs of almost all": (
        "gpt2",
        """
merge_method: breadcrumbs
base_model: base
models:
  - {model: a, parameters: {weight: 1.0, density: 0.99, gamma: 0.05}}
  - {model: b, parameters: {weight: 0.5, density: [0.9, 0.3]}}
parameters: {normalize: true}
""",
    ),
    "breadcrumbs_ties": (
        "bert",
        """
merge_method: breadcrumbs_ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.5, gamma: 0.05, normalize: true}
""",
    ),
    "breadcrumbs_ties rescaled": (
        "llama",
        """
merge_method: breadcrumbs_ties
base_model: base
models: [{model: a}, {model: b}, {model: c}]
parameters: {weight: 0.4, density: 0.4, rescale: true}
""",
    ),
}
