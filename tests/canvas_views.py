"""The page's canvases in a real browser: plain pictures for them, the colours that they show, and their models."""

import numpy as np


def flat(value: int, c: int = 1, side: int = 32) -> np.ndarray:
    """A picture of one value, (c, side, side)."""
    return np.full((c, side, side), value, np.uint8)


def colour_at(page, name: str, x: float, y: float) -> int:
    """Red value that the canvas of a model shows at a CSS position of its stage, -1 where it is empty."""
    return page.evaluate(
        """([name, x, y]) => {
          const canvas = view_of(name).shadow_el.querySelector("canvas"), ratio = devicePixelRatio
          const context = canvas.getContext("2d")
          const [r, , , a] = context.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data
          return a == 0 ? -1 : r
        }""",
        [name, x, y],
    )


def wait_value(page, expression: str, value) -> None:
    """Wait until a JavaScript expression has that value."""
    page.wait_for_function(f"(value) => ({expression}) === value", arg=value)


def model(name: str) -> str:
    """JavaScript for the model of that name."""
    return f"Bokeh.documents[0].get_model_by_name('{name}')"
