"""A model or a data set by name; each kind of source is an entry of a registry that a user's own package can add to."""

from onefold.sources.data import DataSource, Request, build_data, data_sources
from onefold.sources.digits import digits
from onefold.sources.idx import idx
from onefold.sources.imagefolder import imagefolder
from onefold.sources.loader import ImageBatches, Images, number_of_classes
from onefold.sources.models import ModelFactory, ModelSource, build_model, model_sources, resolve_model
from onefold.sources.names import Name
from onefold.sources.parquet import parquet
from onefold.sources.python_file import python_data

__all__ = [
    "DataSource",
    "ImageBatches",
    "Images",
    "ModelFactory",
    "ModelSource",
    "Name",
    "Request",
    "build_data",
    "build_model",
    "data_sources",
    "digits",
    "idx",
    "imagefolder",
    "model_sources",
    "number_of_classes",
    "parquet",
    "python_data",
    "resolve_model",
]
