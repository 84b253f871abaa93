"""Values and units as a person writes them; codes of units stay in the machine's answers."""

from __future__ import annotations

_UNITS = {
    "Cel": "\N{DEGREE SIGN}C",
    "[degF]": "\N{DEGREE SIGN}F",
    "mm[Hg]": "mmHg",
    "10*3/uL": "10\N{SUPERSCRIPT THREE}/\N{MICRO SIGN}L",
    "10*9/L": "10\N{SUPERSCRIPT NINE}/L",
    "/uL": "/\N{MICRO SIGN}L",
    "umol/L": "\N{MICRO SIGN}mol/L",
    "ug/L": "\N{MICRO SIGN}g/L",
    "ng/mL{FEU}": "ng/mL FEU",
    "mL/min/{1.73_m2}": "mL/min/1.73 m\N{SUPERSCRIPT TWO}",
    "[pH]": "",
}
_WHOLE_FROM = 1000.0  # from here on decimals say nothing
_DIGITS = 4


def unit_text(ucum: str) -> str:
    """Return a UCUM unit as it is printed for a clinician; an unknown one stays as it is.

    Examples
    --------
    >>> unit_text("mm[Hg]"), unit_text("mg/L"), unit_text("[pH]")
    ('mmHg', 'mg/L', '')

    """
    return _UNITS.get(ucum, ucum)


def number_text(value: float) -> str:
    """Return a finite value with at most four significant digits, never with an exponent.

    Examples
    --------
    >>> number_text(34120.4), number_text(1.7604), number_text(36.0), number_text(0.00012)
    ('34120', '1.76', '36', '0.00012')

    """
    if abs(value) >= _WHOLE_FROM:
        return f"{value:.0f}"
    text = f"{float(f'{value:.{_DIGITS}g}'):.10f}".rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text


def value_text(value: float, ucum: str) -> str:
    """Return a value with its printed unit.

    Examples
    --------
    >>> value_text(158, "mm[Hg]"), value_text(7.31, "[pH]")
    ('158 mmHg', '7.31')

    """
    return f"{number_text(value)} {unit_text(ucum)}".rstrip()
