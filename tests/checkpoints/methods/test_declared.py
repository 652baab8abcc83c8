"""Names, defaults, levels and numbers of models as existing documents have them."""

import pytest

from onefold.checkpoints.methods import methods, settings_of

NEEDED = object()
DELTA = {"normalize": False, "rescale": False, "lambda": 1.0, "int8_mask": False}
WEIGHT, DENSITY = {"weight": NEEDED}, {"weight": NEEDED, "density": 1.0}
# name: (settings, parameters of models, base, least and most models beside the base)
TABLE = {
    "linear": ({"normalize": True}, WEIGHT, "model", 1, None),
    "slerp": ({"t": NEEDED}, {}, "needed", 1, 1),
    "nuslerp": ({"nuslerp_flatten": True, "nuslerp_row_wise": False}, WEIGHT, "optional", 2, 2),
    "multislerp": ({"normalize_weights": True, "eps": 1e-8}, WEIGHT, "optional", 1, None),
    "karcher": ({"max_iter": 10, "tol": 1e-5}, {}, "model", 1, None),
    "passthrough": ({}, {"scale": None}, "model", 1, 1),
    "task_arithmetic": (DELTA, DENSITY, "needed", 0, None),
    "ties": ({**DELTA, "normalize": True}, DENSITY, "needed", 0, None),
    "dare_ties": ({**DELTA, "rescale": True}, DENSITY, "needed", 0, None),
    "dare_linear": ({**DELTA, "rescale": True}, DENSITY, "needed", 0, None),
    "breadcrumbs": (DELTA, {**DENSITY, "gamma": 0.01}, "needed", 0, None),
    "breadcrumbs_ties": (DELTA, {**DENSITY, "gamma": 0.01}, "needed", 0, None),
    "della": (
        {**DELTA, "normalize": True, "rescale": True},
        {**DENSITY, "epsilon": 0.15},
        "needed",
        0,
        None,
    ),
    "della_linear": ({**DELTA, "rescale": True}, {**DENSITY, "epsilon": 0.15}, "needed", 0, None),
    "sce": ({"select_topk": 1.0, "int8_mask": False}, {}, "needed", 0, None),
    "model_stock": ({"filter_wise": False}, {}, "needed", 2, None),
    "nearswap": ({"t": NEEDED}, {}, "needed", 1, 1),
    "arcee_fusion": ({}, {}, "needed", 1, 1),
    "ram": ({"epsilon": 1e-5}, {}, "needed", 0, None),
    "ramplus_tl": ({"r": 0.1, "alpha": 0.2, "epsilon": 1e-5}, {}, "needed", 0, None),
}
OWN = {"magmax", "tsv_m", "iso_c", "iso_cts", "swudi"}


@pytest.mark.parametrize("name", TABLE)
def test_declarations_are_those_of_existing_documents(name):
    settings, parameters, base, least, most = TABLE[name]
    kind = methods.get(name)
    told = {p.name: NEEDED if p.required else p.default for p in settings_of(kind)}
    assert told == settings
    assert {p.name: NEEDED if p.required else p.default for p in kind.per_model} == parameters
    assert (kind.least, kind.most) == (least, most)
    assert kind.needs_base == (base == "needed")
    assert kind.takes_base_as_model == (not kind.allows_base) == (base == "model")


def test_all_names_are_there():
    assert set(TABLE) | OWN <= set(methods.names())


def test_settings_without_effect_are_declared_so():
    found = {
        (entry.name, p.name)
        for entry in methods
        for p in (*settings_of(entry.value), *entry.value.per_model)
        if not p.used
    }
    masks = {(name, "int8_mask") for name in TABLE if "int8_mask" in TABLE[name][0]}
    assert found == masks | {("task_arithmetic", "density"), ("task_arithmetic", "rescale")}


@pytest.mark.parametrize("entry", list(methods), ids=lambda entry: entry.name)
def test_memory_is_estimated(entry):
    needed = {p.field: 0.5 for p in settings_of(entry.value) if p.required}
    method = entry.value(**needed)
    small, large = (method.working_bytes((size, 4096), 3) for size in (16, 4096))
    assert 0 < small <= large
    if method.cut != "whole" and not entry.name.startswith(("iso", "tsv", "swudi")):
        assert large <= 4 * 4096 * 4096 * 3  # less than the inputs in float32
