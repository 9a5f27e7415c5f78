"""Whether torch is compiling, asked without a call."""

from __future__ import annotations

from typing import Any, Dict

import torch

COMPILING = "_is_compiling_flag"


class _Asked(Dict[str, bool]):
    """Looks like torch's own variables and asks its function, for versions that keep no such variable."""

    def __missing__(self, key: str) -> bool:
        return torch.compiler.is_compiling()


def compiler_flags() -> Dict[str, Any]:
    """Where `COMPILING` stands: what `torch.compiler.is_compiling` returns outside of dynamo's own tracing.

    >>> compiler_flags()[COMPILING]
    False
    """
    there: Dict[str, Any] = torch.compiler.__dict__
    read = getattr(torch.compiler.is_compiling, "__code__", None)
    return there if COMPILING in there and COMPILING in getattr(read, "co_names", ()) else _Asked()
