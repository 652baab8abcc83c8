"""Documents of random methods, whose outputs are compared by their statistics."""

from __future__ import annotations

# name: (family, text)
RANDOM: dict[str, tuple[str, str]] = {
    "dare_linear of one": (
        "llama",
        """
merge_method: dare_linear
base_model: base
models: [{model: a}]
parameters: {weight: 1, density: 0.3}
""",
    ),
    "dare_linear of one, not rescaled": (
        "gpt2",
        """
merge_method: dare_linear
base_model: base
models: [{model: a}]
parameters: {weight: 1, density: 0.7, rescale: false}
""",
    ),
    "dare_linear": (
        "bert",
        """
merge_method: dare_linear
base_model: base
models:
  - {model: a, parameters: {density: 0.5, weight: 0.7}}
  - {model: b, parameters: {density: 0.4, weight: -0.3}}
""",
    ),
    "dare_ties": (
        "llama",
        """
merge_method: dare_ties
base_model: base
models:
  - {model: a, parameters: {density: 0.53, weight: 0.4}}
  - {model: b, parameters: {density: 0.53, weight: 0.3}}
  - {model: c, parameters: {density: 0.2, weight: 0.3}}
""",
    ),
    "dare_ties, normalized": (
        "gpt2",
        """
merge_method: dare_ties
base_model: base
models:
  - {model: a, parameters: {density: [0.2, 0.8], weight: 0.4}}
  - {model: b, parameters: {density: 0.5, weight: [0.1, 0.9]}}
parameters: {normalize: true}
""",
    ),
    "della_linear of one": (
        "llama",
        """
merge_method: della_linear
base_model: base
models: [{model: a}]
parameters: {weight: 1, density: 0.5, epsilon: 0.4}
""",
    ),
    "della_linear": (
        "bert",
        """
merge_method: della_linear
base_model: base
models:
  - {model: a, parameters: {density: 0.4, weight: 0.6}}
  - {model: b, parameters: {density: 0.6, weight: 0.4}}
parameters: {epsilon: 0.1}
""",
    ),
    "della": (
        "gpt2",
        """
merge_method: della
base_model: base
models:
  - {model: a, parameters: {density: 0.5, epsilon: 0.1, weight: 0.6}}
  - {model: b, parameters: {density: 0.6, epsilon: 0.3, weight: 0.4}}
parameters: {lambda: 1.1}
""",
    ),
    "della of one, not rescaled": (
        "bert",
        """
merge_method: della
base_model: base
models: [{model: a}]
parameters: {weight: 1, density: 0.3, epsilon: 0.25, rescale: false, normalize: false}
""",
    ),
}
