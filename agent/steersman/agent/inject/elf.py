"""Where a program's exported functions lie, read from its file."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

X86_64 = 62
_EXECUTABLE = 1
_PAGE = 4096
_DYNSYM, _LOAD = 11, 1
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class ElfError(Exception):
    """A file that is no program for this kind of machine, or says nothing of what it exports."""


@dataclass(frozen=True)
class Elf:
    """One file.

    Attributes:
        machine: for which processors; `X86_64` is what we can enter.
        content: the file.
    """

    machine: int
    content: bytes

    @classmethod
    def of(cls, content: bytes) -> Elf:
        """The file with this content.

        Raises:
            ElfError: it is no 64-bit little-endian ELF file.
        """
        if content[:6] != b"\x7fELF\x02\x01" or len(content) < 64:
            raise ElfError("no 64-bit program file")
        return cls(struct.unpack_from("<H", content, 18)[0], content)

    def exported(self, names: Collection[str]) -> dict[str, tuple[int, int]]:
        """Address, as the file was linked, and size of those functions that it exports.

        Raises:
            ElfError: the file is cut short.
        """
        try:
            return self._exported({name.encode() for name in names})
        except struct.error as error:
            raise ElfError(f"a program file that is cut short: {error}") from None

    def bias(self, start: int, offset: int) -> int:
        """What to add to linked addresses, where the part of the file at `offset` is mapped at `start`.

        Raises:
            ElfError: no segment of the file begins there.
        """
        where, size, count = self._table(32, 54)
        for index in range(count):
            kind, _, at, linked, *_ = _SEGMENT.unpack_from(self.content, where + index * size)
            if kind == _LOAD and at // _PAGE * _PAGE == offset:
                return int(start - linked // _PAGE * _PAGE)
        raise ElfError(f"no segment at offset {offset}")

    def code_with(self, pattern: bytes) -> int:
        """The linked address of some executable bytes that read so.

        Raises:
            ElfError: there are none.
        """
        where, size, count = self._table(32, 54)
        for index in range(count):
            kind, flags, at, linked, _, length, *_ = _SEGMENT.unpack_from(self.content, where + index * size)
            if kind == _LOAD and flags & _EXECUTABLE:
                found = self.content.find(pattern, at, at + length)
                if found >= 0:
                    return int(found - at + linked)
        raise ElfError(f"no executable {pattern.hex()}")

    def _exported(self, wanted: set[bytes]) -> dict[str, tuple[int, int]]:
        where, size, count = self._table(40, 58)
        sections = [_SECTION.unpack_from(self.content, where + index * size) for index in range(count)]
        found: dict[str, tuple[int, int]] = {}
        for section in sections:
            if section[1] != _DYNSYM:
                continue
            symbols = self.content[section[4] : section[4] + section[5]]
            strings = sections[section[6]][4]
            for name, _, _, index, value, length in _SYMBOL.iter_unpack(symbols):
                if not index or not value:
                    continue  # named, but defined elsewhere
                begin = strings + name
                word = self.content[begin : self.content.find(b"\0", begin, begin + 64)]
                if word in wanted:
                    found[word.decode()] = (value, length)
        return found

    def _table(self, place: int, entry: int) -> tuple[int, int, int]:
        size, count = struct.unpack_from("<HH", self.content, entry)
        return struct.unpack_from("<Q", self.content, place)[0], size, count
