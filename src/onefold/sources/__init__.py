"""A model or a data set by name; each kind of source is an entry of a registry that a user's own package can add to."""

from onefold.sources.data import DataSource, Request, build_data, data_sources
from onefold.sources.loader import ImageBatches, Images, number_of_classes
from onefold.sources.parquet import parquet

__all__ = ["DataSource", "ImageBatches", "Images", "Request", "build_data", "data_sources", "number_of_classes", "parquet"]
