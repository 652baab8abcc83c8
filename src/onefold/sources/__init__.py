"""Models and data sets by name, and several networks as one type.

Each kind of source is an entry of a registry, to which a user's own package can add.
"""

# Each of these registers its source.
from onefold.sources import (
    digits,
    hfdata,
    idx,
    imagefolder,
    masks,
    numpy_files,
    parquet,
    python_file,
    tables,
    text,
    transformers_config,
)
from onefold.sources.data import DataSource, Request, build_data, check_source, data_sources
from onefold.sources.disk_members import DiskMembers
from onefold.sources.loader import ImageBatches, Images, number_of_classes
from onefold.sources.members import Members, ResidentMembers, as_members, on_disk
from onefold.sources.models import (
    ModelFactory,
    ModelSource,
    build_model,
    model_sources,
    resolve_model,
)
from onefold.sources.names import Name

__all__ = [
    "DataSource",
    "DiskMembers",
    "ImageBatches",
    "Images",
    "Members",
    "ModelFactory",
    "ModelSource",
    "Name",
    "Request",
    "ResidentMembers",
    "as_members",
    "build_data",
    "build_model",
    "check_source",
    "data_sources",
    "model_sources",
    "number_of_classes",
    "on_disk",
    "resolve_model",
]
