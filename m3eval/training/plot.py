"""Curves over steps as one SVG: a panel each, drawn without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, MARGIN = 640, 110, 44


def plot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """An SVG with a panel for each curve, which has points (step, value)."""
    panels = [(name, points) for name, points in curves.items() if points]
    total = len(panels) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for number, (name, points) in enumerate(panels):
        parts += _panel(name, points, number * HEIGHT)
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, points: Sequence[tuple[float, float]], top: int) -> list[str]:
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    wide, tall = WIDTH - 2 * MARGIN, HEIGHT - 40
    of_step = wide / max(1, max(steps) - min(steps))
    of_value = tall / (high - low or 1)
    places = " ".join(
        f"{MARGIN + (step - min(steps)) * of_step:.1f},{top + 22 + (high - value) * of_value:.1f}"
        for step, value in points
    )
    bottom, right = top + 22 + tall, WIDTH - MARGIN
    return [
        f'<text x="{MARGIN}" y="{top + 14}" font-weight="bold">{name}</text>',
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">step {max(steps):,}</text>',
        f'<text x="4" y="{top + 26}">{high:.3g}</text>',
        f'<text x="4" y="{bottom}">{low:.3g}</text>',
        f'<line x1="{MARGIN}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#999"/>',
        f'<polyline points="{places}" fill="none" stroke="#1f6feb" stroke-width="1.3"/>',
    ]
