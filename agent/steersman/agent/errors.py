"""What can go wrong beside the jobs, in words: what happened, to what, what to do next."""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors of the agent and of those who start it."""


class FolderError(AgentError):
    """A folder the agent needs cannot be used, or is not ours."""


class AgentUnavailableError(AgentError):
    """No agent answers on this host, or it could not be started."""
