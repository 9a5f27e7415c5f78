"""What can go wrong in the daemon, in words: what happened, to what, what to do next."""

from __future__ import annotations


class MonitorError(Exception):
    """Base of all errors of the daemon."""


class StoreError(MonitorError):
    """The store could not be read or written."""


class StoreInUseError(StoreError):
    """Another daemon holds the store."""


class AddressInUseError(MonitorError):
    """A port the daemon should listen on is taken."""


class NotFoundError(MonitorError):
    """A job, series or adjustment that does not exist."""


class RefusedError(MonitorError):
    """A request that the state of things or the owner's limits forbid."""


class MalformedError(MonitorError):
    """A message that breaks the contract."""


class LimitError(MonitorError):
    """More of something than the daemon takes."""


class DrainingError(MonitorError):
    """The daemon is going down and takes nothing new."""


class SettingsError(MonitorError):
    """The daemon can't start as it was asked to."""
