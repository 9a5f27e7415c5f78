"""One probe a process, whatever name it was imported under."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Optional, cast

if TYPE_CHECKING:
    from .config import ProbeConfig
    from .probe import Probe

# `steersman run` carries a copy of this folder into the job as `_steersman.agent.probe`; a script that also calls
# `watch` imports the installed one. Both meet here, where every import system looks first.
KEY = "_steersman_probe"


def current() -> Optional[Probe]:
    """The probe of this process, or None where none is installed."""
    holder = sys.modules.get(KEY)
    return cast("Optional[Probe]", getattr(holder, "probe", None))


def install(config: ProbeConfig) -> Probe:
    """Put a probe into this process and start it; one that is there already stays, and is returned.

    Imports torch. Installs hooks and patches, opens no socket: that happens at the first optimizer step, or when
    `Probe.see` is told of an optimizer.
    """
    there = current()
    if there is not None:
        return there
    from .probe import Probe

    probe = Probe(config)
    holder: Any = ModuleType(KEY)
    holder.probe = probe
    sys.modules[KEY] = holder
    probe.start()
    return probe


def forget(probe: Probe) -> None:
    """Take a probe that has been closed out of its place, so that another may be installed."""
    if current() is probe:
        del sys.modules[KEY]
