"""Documents of methods that look at how far models agree, or at pairs of them."""

from __future__ import annotations

# name: (family, text)
AGREEMENT: dict[str, tuple[str, str]] = {
    "model_stock": (
        "llama",
        """
merge_method: model_stock
base_model: base
models: [{model: a}, {model: b}, {model: c}]
""",
    ),
    "model_stock by rows": (
        "gpt2",
        """
merge_method: model_stock
base_model: base
models: [{model: a}, {model: b}, {model: base}]
parameters: {filter_wise: true}
""",
    ),
    "model_stock of two": (
        "bert",
        """
merge_method: model_stock
base_model: base
models: [{model: a}, {model: far}]
""",
    ),
    "model_stock of small changes": (
        "bert",
        """
merge_method: model_stock
base_model: base
models: [{model: near}, {model: close}]
parameters: {filter_wise: true}
""",
    ),
    "sce": (
        "llama",
        """
merge_method: sce
base_model: base
models: [{model: a}, {model: b}, {model: c}]
parameters: {select_topk: 0.1, int8_mask: true}
""",
    ),
    "sce of all": (
        "gpt2",
        """
merge_method: sce
base_model: base
models: [{model: a}, {model: far}]
""",
    ),
    "sce of small changes": (
        "bert",
        """
merge_method: sce
base_model: base
models: [{model: near}, {model: close}]
parameters: {select_topk: 0.7}
""",
    ),
    "nearswap": (
        "llama",
        """
merge_method: nearswap
base_model: a
models: [{model: a}, {model: b}]
parameters: {t: 0.001}
""",
    ),
    "nearswap by less than the least difference": (
        "bert",
        """
merge_method: nearswap
base_model: base
models: [{model: near}]
parameters: {t: 5e-7}
""",
    ),
    "arcee_fusion": (
        "llama",
        """
merge_method: arcee_fusion
base_model: base
models: [{model: b}]
""",
    ),
    "arcee_fusion of models far apart": (
        "gpt2",
        """
merge_method: arcee_fusion
base_model: a
models: [{model: a}, {model: far}]
""",
    ),
    "ram": (
        "llama",
        """
merge_method: ram
base_model: base
models: [{model: a}, {model: b}, {model: c}]
""",
    ),
    "ram of large changes": (
        "bert",
        """
merge_method: ram
base_model: base
models: [{model: a}, {model: b}]
parameters: {epsilon: 0.01}
""",
    ),
    "ramplus_tl": (
        "gpt2",
        """
merge_method: ramplus_tl
base_model: base
models: [{model: a}, {model: b}, {model: c}]
parameters: {r: 0.2, alpha: 30.0, epsilon: 0.005}
""",
    ),
    "ramplus_tl by default": (
        "llama",
        """
merge_method: ramplus_tl
base_model: base
models: [{model: a}, {model: b}]
""",
    ),
}
