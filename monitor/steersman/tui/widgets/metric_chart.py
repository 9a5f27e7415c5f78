"""One chart, drawn at whatever size it is given."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from steersman.cli.chart import Chart, Row, draw


class MetricChart(Widget):
    """Renders a `Chart`; draws again only when the chart or the size has changed."""

    def __init__(self, chart: Chart, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chart = chart

    @property
    def drawn(self) -> bool:
        """Whether it has any curve to show."""
        return bool(self._chart.curves)

    def show(self, chart: Chart) -> None:
        """Draws another chart."""
        if chart is not self._chart:
            self._chart = chart
            self.refresh()

    def render(self) -> Text:
        """The chart as text."""
        return as_text(draw(self._chart, self.size.width, self.size.height))


def as_text(rows: list[Row]) -> Text:
    """Rows of (characters, style) as one Rich text."""
    text = Text(no_wrap=True, end="")
    for place, row in enumerate(rows):
        if place:
            text.append("\n")
        for characters, style in row:
            text.append(characters, style)
    return text
