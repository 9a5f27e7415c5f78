"""The rows of one rank that are in no chunk yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from steersman.monitor.store.codec import Piece
from steersman.monitor.store.rows import joined
from steersman.rules.samples import Samples


@dataclass
class JournalEntry:
    """A row of the journal table, and how many of its pieces still hold rows that are in no chunk."""

    key: int
    pieces: int = 0


@dataclass
class OpenPiece:
    """A piece that waits for its chunk; `entry` is None until it is in the journal."""

    piece: Piece
    entry: JournalEntry | None


@dataclass
class Tail:
    """Where one rank stands.

    Attributes:
        high_water: last sequence number that needs no resending.
        sealed: last sequence number in a chunk.
        lost: rows lost for good.
        chunks: how many have been sealed.
        pieces: what is in no chunk yet, in order.
        rows: how many rows these are.
    """

    high_water: int = 0
    sealed: int = 0
    lost: int = 0
    chunks: int = 0
    pieces: deque[OpenPiece] = field(default_factory=deque)
    rows: int = 0

    def append(self, piece: Piece, entry: JournalEntry | None) -> None:
        """Take a piece; one that is in the journal already counts there."""
        self.pieces.append(OpenPiece(piece, entry))
        self.rows += len(piece.samples)
        if entry is not None:
            entry.pieces += 1

    def take(self, rows: int) -> tuple[Samples, list[int]]:
        """Take the oldest rows out for a chunk.

        Returns:
            The rows, and the keys of the journal entries that nothing needs any more.
        """
        taken: list[Samples] = []
        freed: list[int] = []
        while rows and self.pieces:
            first = self.pieces[0]
            samples = first.piece.samples
            count = min(rows, len(samples))
            taken.append(samples.rows(0, count))
            self.sealed = first.piece.first_seq + count - 1
            rows -= count
            self.rows -= count
            if count < len(samples):
                rest = Piece(first.piece.rank, first.piece.first_seq + count, samples.rows(count, len(samples)))
                self.pieces[0] = OpenPiece(rest, first.entry)
                continue
            self.pieces.popleft()
            if first.entry is not None:
                first.entry.pieces -= 1
                if not first.entry.pieces:
                    freed.append(first.entry.key)
        self.chunks += 1
        return joined(taken), freed

    def unwritten(self) -> list[OpenPiece]:
        """What is not in the journal yet."""
        fresh: list[OpenPiece] = []
        for waiting in reversed(self.pieces):
            if waiting.entry is not None:
                break
            fresh.append(waiting)
        return fresh[::-1]
