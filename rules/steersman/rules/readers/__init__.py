"""Readers of logs that others have written, one file a format."""

from steersman.rules.readers.reading import ReadError, Series

__all__ = ["ReadError", "Series"]
