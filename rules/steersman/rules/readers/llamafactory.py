"""LLaMA-Factory: `trainer_log.jsonl`."""

from __future__ import annotations

from pathlib import Path

from steersman.rules.readers import jsonlines
from steersman.rules.readers.reading import Format


def recognises(path: Path, head: bytes) -> bool:
    """Whether the first line has what this trainer writes in every line."""
    del path
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    return first.startswith(b"{") and b'"current_steps"' in first and b'"total_steps"' in first


FORMAT = Format("llamafactory", "LLaMA-Factory's trainer_log.jsonl", recognises, jsonlines.read)
