"""How the report's figures look, and how they are kept; needs the extra `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from cds.domain.errors import CdsError, Reason
from models.evaluation.bootstrap import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Okabe and Ito's colours, told apart with every common colour vision (jfly.uni-koeln.de/color).
OURS, THEIRS, EASY, INK = "#0072B2", "#E69F00", "#767676", "#222222"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6D1F")
SHOWN_CLASSES = len(PALETTE)
_PNG_DPI = 170
_MISSING = (
    "The report's plots need the extra 'evaluate': pip install 'precedent-cds[evaluate]' "
    "(matplotlib, reportlab, seaborn)."
)
_STYLE: Any = {
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9.5,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "svg.hashsalt": "precedent",  # so that equal figures are equal files
    "text.color": INK,
}


@dataclass(frozen=True, slots=True, repr=False)
class Figure:
    """One figure, drawn.

    Attributes
    ----------
    name
        File-name-like.
    caption
        Stands below it.
    alt
        Says in words what it shows, figures included.
    svg, png
        For screen and for print.
    width_px, height_px
        Of the PNG.

    """

    name: str
    caption: str
    alt: str
    svg: bytes
    png: bytes
    width_px: int
    height_px: int


def refuse_without_plots() -> None:
    """Raise if the extra is not installed, before anything is computed.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION with what to install.

    """
    try:
        import matplotlib
        import reportlab
        import seaborn
    except ImportError:
        raise CdsError(Reason.INVALID_CONFIGURATION, _MISSING) from None
    del matplotlib, reportlab, seaborn


@contextmanager
def canvas(width: float, height: float, columns: int = 1) -> Iterator[tuple[Canvas, list[Axes]]]:
    """Open a figure in our style; sizes in inches."""
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawn

    with sns.axes_style("whitegrid"), mpl.rc_context(_STYLE):
        figure = Drawn(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield figure, list(axes)


def drawn(figure: Canvas, name: str, caption: str, alt: str) -> Figure:
    """Keep a drawn figure as SVG and PNG; equal drawings give equal bytes."""
    import matplotlib as mpl

    svg, png = BytesIO(), BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=_PNG_DPI)
    width, height = (round(side * _PNG_DPI) for side in figure.get_size_inches())
    return Figure(name, caption, alt, svg.getvalue(), png.getvalue(), width, height)


def error_arms(estimates: Sequence[Estimate]) -> Any:  # noqa: ANN401 - what matplotlib takes
    """Return the lengths of error bars below and above, shape ``(2, n)``."""
    return np.array(
        [[one.value - one.low, one.high - one.value] for one in estimates], dtype=np.float64
    ).T.clip(0.0)
