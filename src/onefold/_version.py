"""The version, which the package metadata reads."""

__version__ = "0.1.0"
