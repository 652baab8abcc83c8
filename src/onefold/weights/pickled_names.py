"""The names in pickles that are known to be of no harm.

An object of a known name is passed over, or read as a plain dictionary or tensor. A pickle that
names anything else is refused (`torch_file`).
"""

from __future__ import annotations

# Classes and functions by module. "*" stands for all names of a module.
KNOWN: dict[str, set[str]] = {
    "argparse": {"Namespace"},
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
        *("object", "range", "set", "slice", "str", "tuple", "Ellipsis", "NotImplemented"),
        *("long", "unicode", "xrange"),  # of Python 2
    },
    "_codecs": {"encode"},  # bytes, in older pickles
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},  # its first argument says what is made
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "zoneinfo": {"ZoneInfo"},
    "zoneinfo.ZoneInfo": {"_unpickle"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "http": {"HTTPStatus"},
    "ipaddress": {"IPv4Address", "IPv6Address"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID", "SafeUUID"},
    "pathlib": {"*"},
    "pathlib._local": {"*"},
    "numpy": {"ndarray", "dtype", "bool"},  # and the scalars below
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.dtypes": {"*"},
    "numpy.random._pickle": {"*"},
    "numpy.random._mt19937": {"*"},
    "numpy.random._pcg64": {"*"},
    "numpy.random.bit_generator": {"*"},
    "torch": {"Size", "Tensor", "device", "dtype", "Generator", "layout", "memory_format"},
    "torch.nn.parameter": {"Parameter", "Buffer", "UninitializedParameter"},
    "torch.serialization": {"_get_layout"},
    "torch.torch_version": {"TorchVersion"},
    "torch.storage": {"UntypedStorage", "TypedStorage", "_load_from_bytes"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    # Configurations and settings of training programs.
    "addict.addict": {"Dict"},
    "easydict": {"EasyDict"},
    "lightning_fabric.utilities.data": {"AttributeDict"},
    "lightning.fabric.utilities.data": {"AttributeDict"},
    "ml_collections.config_dict.config_dict": {"ConfigDict", "FrozenConfigDict"},
    "munch": {"Munch"},
    "omegaconf.base": {"ContainerMetadata", "Metadata"},
    "omegaconf.dictconfig": {"DictConfig"},
    "omegaconf.listconfig": {"ListConfig"},
    "omegaconf.nodes": {"*"},
    "typing": {"Any"},
    "pytorch_lightning.utilities.parsing": {"AttributeDict"},
    "lightning.pytorch.utilities.parsing": {"AttributeDict"},
    "yacs.config": {"CfgNode"},
}
# Families of names: a module, and how the names begin.
FAMILIES = {
    "numpy": ("bool_", "int", "uint", "float", "complex", "str_", "bytes_", "datetime64"),
    "torch._utils": ("_rebuild_",),
}
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # their names in Python 2

# Tensors that have no plain values in the file -> what they are, for messages.
NOT_PLAIN = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without its data (a meta tensor)",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
    "torch.nn.parameter.UninitializedParameter": "a parameter without a shape (a lazy module's)",
}


# Dictionaries of these classes are read as plain ones.
DICTIONARIES = {
    *("builtins.dict", "__builtin__.dict"),
    *("collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
    *("addict.addict.Dict", "easydict.EasyDict", "munch.Munch", "yacs.config.CfgNode"),
    *(
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    ),
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
}


def is_known(name: str) -> bool:
    """Whether the class, function or constant of this name is of no harm."""
    module, _, last = name.rpartition(".")
    module = OLD_MODULES.get(module, module)
    names = KNOWN.get(module, set())
    return (
        last in names
        or "*" in names
        or last.startswith(FAMILIES.get(module, ()))
        or _is_torch_constant(module, last)
    )


def _is_torch_constant(module: str, last: str) -> bool:
    """Whether the name is that of a dtype or of a class of storages, such as FloatStorage."""
    if module not in ("torch", "torch.cuda"):
        return False
    if last.endswith("Storage"):
        return True
    import torch

    constants = torch.dtype | torch.memory_format | torch.layout | torch.qscheme
    return isinstance(getattr(torch, last, None), constants)
