"""The agent's log: one JSON object a line, a fixed event name plus fields."""

from __future__ import annotations

import json
import logging
import logging.handlers
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 1024 * 1024
"""Size of one log file; one older one is kept beside it."""


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: time, level, event, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line feed."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def fields(**values: Any) -> dict[str, Any]:
    """The `extra` of a log call.

    >>> fields(attempt="a")
    {'fields': {'attempt': 'a'}}
    """
    return {"fields": values}


def log_to(path: Path, level: int = logging.INFO) -> logging.Handler:
    """Send everything under the logger `steersman` to a file that stays bounded; returns the handler, to be closed.

    Lines for which there is no room are dropped, as is the whole log where not even its folder can be made.
    """
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, delay=True)
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("steersman")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(handler)
    return handler
