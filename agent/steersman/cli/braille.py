"""A canvas of braille dots: two columns and four rows of dots in each character cell."""

from __future__ import annotations

from collections.abc import Sequence

# bit of the dot at (row, column) of a cell, counted from its upper left corner
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class Canvas:
    """Dots on a grid of character cells; each cell has the colour of the last layer that drew in it.

    Attributes:
        width: in cells.
        height: in cells.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._dots = [[0] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]

    def column(self, x: int, low: int, high: int, style: str = "") -> None:
        """Draws the dots `low` to `high` of dot column `x`; dot row 0 is the lowest. What lies outside is cut."""
        if not 0 <= x < 2 * self.width:
            return
        rows = 4 * self.height
        for y in range(max(0, min(low, high)), min(rows - 1, max(low, high)) + 1):
            row, bit = divmod(rows - 1 - y, 4)
            self._dots[row][x // 2] |= _BITS[bit][x % 2]
            self._styles[row][x // 2] = style

    def trace(self, spans: Sequence[tuple[int, int] | None], style: str = "") -> None:
        """Draws one curve: for each dot column the least and greatest dot row, None where no point lies.

        Neighbours are joined, so that a curve stays one curve however steep it is or however far apart its points are.
        """
        before: tuple[int, int, int] | None = None
        for x, span in enumerate(spans):
            if span is None:
                continue
            low, high = span
            if before is not None:
                x0, low0, high0 = before
                for between in range(x0 + 1, x):
                    share = (between - x0) / (x - x0)
                    y = round((low0 + high0) / 2 * (1 - share) + (low + high) / 2 * share)
                    if y > high0:
                        self.column(between, high0 + 1, y, style)
                    elif y < low0:
                        self.column(between, y, low0 - 1, style)
                    else:
                        self.column(between, y, y, style)
                    low0 = high0 = y
                if low > high0 + 1:
                    low = high0 + 1
                elif high < low0 - 1:
                    high = low0 - 1
            self.column(x, low, high, style)
            before = (x, *span)

    def rows(self) -> list[list[tuple[str, str]]]:
        """The rows from the top, each as runs of (characters, style)."""
        result: list[list[tuple[str, str]]] = []
        for dots, styles in zip(self._dots, self._styles, strict=True):
            runs: list[tuple[str, str]] = []
            for bits, style in zip(dots, styles, strict=True):
                character = chr(0x2800 + bits) if bits else " "
                if runs and (runs[-1][1] == style):
                    runs[-1] = (runs[-1][0] + character, style)
                else:
                    runs.append((character, style))
            result.append(runs)
        return result
