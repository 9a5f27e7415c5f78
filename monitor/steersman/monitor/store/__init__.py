"""What the daemon keeps."""

from steersman.monitor.store.contract import (
    Damage,
    EventRecord,
    JobRecord,
    LedgerRecord,
    Restored,
    RowsWrite,
    SeriesInfo,
    Store,
    Unit,
)
from steersman.monitor.store.memory import MemoryStore
from steersman.monitor.store.open import open_store, public_url
from steersman.monitor.store.thin import thin

__all__ = [
    "Damage",
    "EventRecord",
    "JobRecord",
    "LedgerRecord",
    "MemoryStore",
    "Restored",
    "RowsWrite",
    "SeriesInfo",
    "Store",
    "Unit",
    "open_store",
    "public_url",
    "thin",
]
