"""What a checkpoint holds, from its headers alone: tensors, layers, vocabularies, tied heads.

Importing this package imports no torch.
"""

from onefold.checkpoints.layouts.adapters import check_no_adapter
from onefold.checkpoints.layouts.buffers import is_constant, with_whole_averages
from onefold.checkpoints.layouts.dtypes import is_float, item_size, promoted
from onefold.checkpoints.layouts.layers import Stack, main_stack, stacks_of
from onefold.checkpoints.layouts.layout import Held, Layout
from onefold.checkpoints.layouts.pipelines import check_components
from onefold.checkpoints.layouts.reading import read_layout
from onefold.checkpoints.layouts.vocabulary import embedding_of, is_head, is_vocabulary

__all__ = [
    "Held",
    "Layout",
    "Stack",
    "check_components",
    "check_no_adapter",
    "embedding_of",
    "is_constant",
    "is_float",
    "is_head",
    "is_vocabulary",
    "item_size",
    "main_stack",
    "promoted",
    "read_layout",
    "stacks_of",
    "with_whole_averages",
]
