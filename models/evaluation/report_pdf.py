"""The report as a PDF, with reportlab (extra `evaluate`)."""

from __future__ import annotations

from html import escape
from io import BytesIO
from typing import Any

from models.evaluation.figure_style import Figure
from models.evaluation.report_document import Heading, Paragraph, ReportDocument, Table

_MARGIN_MM = 18.0
_INK, _SOFT, _LINE, _ACCENT = "#1d2733", "#56616e", "#dfe4ea", "#0072b2"
_WARNING_BACK, _WARNING_EDGE = "#fdf3ec", "#d55e00"
# Pixels of a figure per point on paper: the figures' own size, at most the width of the text.
_PX_PER_POINT = 170 / 72 * 1.12
_LONG_WORD = 40  # a hash, which has to be broken by hand


def report_pdf(document: ReportDocument) -> bytes:
    """Print the report as an A4 PDF with page numbers; equal reports give equal bytes."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import KeepTogether, SimpleDocTemplate

    buffer = BytesIO()
    template = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN_MM * mm,
        rightMargin=_MARGIN_MM * mm,
        topMargin=_MARGIN_MM * mm,
        bottomMargin=_MARGIN_MM * mm,
        title=document.title,
        author="Precedent",
        lang="en",
        invariant=1,
    )
    setter = _Setter(template.width)
    story = setter.head(document)
    heading: list[Any] = []
    for block in document.blocks:
        printed = setter.printed(block)
        if isinstance(block, Heading):
            heading = printed
        elif isinstance(block, Figure):  # its heading stays on its page
            story.append(KeepTogether([*heading, *printed]))
            heading = []
        else:
            story += [*heading, *printed]
            heading = []

    def numbered(canvas: Any, _template: object) -> None:  # noqa: ANN401 - reportlab's canvas
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(_SOFT)
        canvas.drawString(template.leftMargin, 9 * mm, document.title[:90])
        canvas.drawRightString(
            A4[0] - template.rightMargin, 9 * mm, f"page {canvas.getPageNumber()}"
        )

    template.build(story, onFirstPage=numbered, onLaterPages=numbered)
    return buffer.getvalue()


class _Setter:
    """Turns blocks into flowables of one text width."""

    def __init__(self, width: float) -> None:
        from reportlab.lib.styles import ParagraphStyle

        self._width = width
        body = ParagraphStyle(
            "body", fontName="Helvetica", fontSize=9.5, leading=13.5, textColor=_INK, spaceAfter=4
        )
        self._styles = {
            "title": ParagraphStyle(
                "title", body, fontName="Helvetica-Bold", fontSize=20, leading=24
            ),
            "subtitle": ParagraphStyle(
                "subtitle", body, fontSize=11, textColor=_SOFT, spaceAfter=8
            ),
            "heading": ParagraphStyle(
                "heading",
                body,
                fontName="Helvetica-Bold",
                fontSize=13.5,
                leading=17,
                spaceBefore=14,
                spaceAfter=6,
                keepWithNext=1,
            ),
            "body": body,
            "warning": ParagraphStyle(
                "warning",
                body,
                backColor=_WARNING_BACK,
                borderColor=_WARNING_EDGE,
                borderWidth=0.6,
                borderPadding=5,
                spaceBefore=7,
                spaceAfter=9,
            ),
            "caption": ParagraphStyle("caption", body, fontSize=8, leading=10.5, textColor=_SOFT),
            "cell": ParagraphStyle("cell", body, fontSize=7.8, leading=10, spaceAfter=0),
            "name": ParagraphStyle(
                "name", body, fontName="Helvetica-Bold", fontSize=7.8, leading=10, spaceAfter=0
            ),
        }

    def head(self, document: ReportDocument) -> list[Any]:
        """Return the title with a rule below it."""
        from reportlab.platypus import HRFlowable

        return [
            self._text(document.title, "title"),
            self._text(document.subtitle, "subtitle"),
            HRFlowable(width="100%", thickness=2, color=_ACCENT, spaceAfter=8),
        ]

    def printed(self, block: Heading | Paragraph | Table | Figure) -> list[Any]:
        """Return one block."""
        if isinstance(block, Heading):
            return [self._text(block.text, "heading")]
        if isinstance(block, Paragraph):
            return [self._text(block.text, "warning" if block.is_warning else "body")]
        return self._table(block) if isinstance(block, Table) else self._figure(block)

    def _text(self, text: str, style: str) -> Any:  # noqa: ANN401 - reportlab has no types
        from reportlab.platypus import Paragraph as Text

        words = [
            word if len(word) < _LONG_WORD else f"{word[:32]} {word[32:]}" for word in text.split()
        ]
        return Text(escape(" ".join(words)), self._styles[style])

    def _table(self, table: Table) -> list[Any]:
        from reportlab.platypus import Spacer
        from reportlab.platypus import Table as Grid

        has_head = any(table.head)
        lines = [table.head] if has_head else []
        cells = [[self._text(cell, "name") for cell in line] for line in lines]
        cells += [
            [self._text(row[0], "name"), *(self._text(cell, "cell") for cell in row[1:])]
            for row in table.rows
        ]
        n = len(table.head)
        first = self._width * (0.22 if n > 2 else 0.26)
        widths = [first, *[(self._width - first) / (n - 1)] * (n - 1)]
        rules = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, _LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 5),
        ]
        if has_head:
            rules.append(("LINEBELOW", (0, 0), (-1, 0), 1.2, _LINE))
        grid = Grid(cells, colWidths=widths, repeatRows=int(has_head), style=rules)
        caption = [self._text(table.caption, "caption")] if table.caption else []
        return [grid, Spacer(0, 3), *caption, Spacer(0, 5)]

    def _figure(self, figure: Figure) -> list[Any]:
        from reportlab.platypus import Image, Spacer

        width = min(self._width, figure.width_px / _PX_PER_POINT)
        height = width * figure.height_px / figure.width_px
        picture = Image(BytesIO(figure.png), width=width, height=height)
        caption = self._text(figure.caption, "caption")
        return [picture, caption, Spacer(0, 6)]
