"""The report as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from models.evaluation.figure_style import Figure
from models.evaluation.report_document import Heading, Paragraph, ReportDocument, Table

_NARROW_COLUMNS = 5  # whose intervals fit on one line each
_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #56616e; --line: #dfe4ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 2rem 4rem; background: #fff; }
header { border-bottom: 3px solid var(--accent); padding-bottom: 1rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
header p { margin: .35rem 0 0; color: var(--soft); font-size: 1.05rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-top: .4rem;
  border-top: 1px solid var(--line); }
p { margin: .55rem 0; max-width: 48rem; }
.warning { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); padding-top: .45rem; }
th, td { text-align: left; padding: .42rem .7rem .42rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 600; min-width: 9rem; }
.figures td { white-space: nowrap; }
figure { margin: 1.4rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .5rem; }
@media print {
  @page { size: A4; margin: 16mm; }
  body { background: #fff; font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  figure, tr, .warning { break-inside: avoid; }
}
"""


def report_html(document: ReportDocument) -> str:
    """Print the report as HTML 5; every text is escaped, pictures are inside."""
    blocks = "\n".join(_printed(block) for block in document.blocks)
    title = escape(document.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{title}</h1><p>{escape(document.subtitle)}</p></header>\n"
        f"{blocks}\n</main>\n</body>\n</html>\n"
    )


def _printed(block: Heading | Paragraph | Table | Figure) -> str:
    if isinstance(block, Heading):
        return f"<h2>{escape(block.text)}</h2>"
    if isinstance(block, Paragraph):
        mark = ' class="warning"' if block.is_warning else ""
        return f"<p{mark}>{escape(block.text)}</p>"
    if isinstance(block, Table):
        return _table(block)
    content = b64encode(block.svg).decode("ascii")
    return (
        f'<figure><img src="data:image/svg+xml;base64,{content}" alt="{escape(block.alt)}">'
        f"<figcaption>{escape(block.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    head = f"<thead><tr>{cells}</tr></thead>" if any(table.head) else ""
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    is_narrow = 2 < len(table.head) <= _NARROW_COLUMNS
    mark = ' class="figures"' if is_narrow else ""
    return (
        f'<div class="scroll" tabindex="0"><table{mark}>{caption}{head}<tbody>{rows}</tbody>'
        "</table></div>"
    )
