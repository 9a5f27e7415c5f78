"""Why there is no figure."""

from __future__ import annotations

from steersman.agent.errors import AgentError


class MeasureError(AgentError):
    """Something that was measured did not go as it has to, so that a figure would mean nothing."""
