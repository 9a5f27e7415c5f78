"""Small line charts as SVG, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2f6fb3", "#c2571a", "#3a8f5c", "#8a5bb5")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 300, 56, 34, 48


def lines(
    title: str,
    x_name: str,
    y_name: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    diagonal: bool = False,
) -> str:
    """Shares, 0 to 1, over some x.

    Args:
        title: above the chart.
        x_name: below it.
        y_name: beside it.
        series: points by name, in order of x.
        diagonal: whether to draw what a perfectly calibrated figure would be.
    """
    xs = [x for points in series.values() for x, _ in points] or [0.0, 1.0]
    low, high = min(xs), max(xs)
    if diagonal:
        low, high = 0.0, 1.0
    span = (high - low) or 1.0
    inner_width, inner_height = WIDTH - LEFT - 20, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - low) / span * inner_width, TOP + (1.0 - y) * inner_height

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for k in range(6):
        _, y = at(low, k / 5)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{k / 5:.1f}</text>')
    for k in range(9):
        x_value = low + span * k / 8
        x, y = at(x_value, 0.0)
        out.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle" fill="#444">{x_value:.3g}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#222">{escape(x_name)}</text>')
    middle = TOP + inner_height / 2
    out.append(
        f'<text x="14" y="{middle}" text-anchor="middle" fill="#222" transform="rotate(-90 14 {middle})">'
        f"{escape(y_name)}</text>"
    )
    if diagonal:
        (x1, y1), (x2, y2) = at(0.0, 0.0), at(1.0, 1.0)
        out.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#999" stroke-dasharray="4"/>'
        )
    for k, (name, points) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        places = [at(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        legend = TOP + 12 + 16 * k
        out.append(f'<rect x="{WIDTH - 220}" y="{legend - 9}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - 204}" y="{legend}" fill="#222">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
