"""Readers of logs that others have written, one file a format."""

from steersman.rules.readers.formats import FORMATS
from steersman.rules.readers.reading import ReadError, Wishes
from steersman.rules.readers.runs import read_runs

__all__ = ["FORMATS", "ReadError", "Wishes", "read_runs"]
