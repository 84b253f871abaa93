"""The 31 source attributes of a predictive decision support intervention, and a card of them.

The wording is the regulation's, so that a buyer can compare it line by line.

References
----------
45 CFR 170.315(b)(11)(iv)(B), as of 89 FR 1192 (9 January 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

REGULATION = "45 CFR 170.315(b)(11)(iv)(B)"
NOT_AVAILABLE = "not available"
NOT_STATED = "The makers of this encoder have not stated it."

GROUPS = (
    "Details and output of the intervention",
    "Purpose of the intervention",
    "Cautioned out-of-scope use of the intervention",
    "Intervention development details and input features",
    "Process used to ensure fairness in development of the intervention",
    "External validation process",
    "Quantitative measures of performance",
    "Ongoing maintenance of intervention implementation and use",
    "Update and continued validation or fairness assessment schedule",
)
_WORDING = (
    (
        "Name and contact information for the intervention developer",
        "Funding source of the technical implementation for the intervention(s) development",
        "Description of value that the intervention produces as an output",
        "Whether the intervention output is a prediction, classification, recommendation, "
        "evaluation, analysis, or other type of output",
    ),
    (
        "Intended use of the intervention",
        "Intended patient population(s) for the intervention's use",
        "Intended user(s)",
        "Intended decision-making role for which the intervention was designed to be used/for "
        "(e.g., informs, augments, replaces clinical management)",
    ),
    (
        "Description of tasks, situations, or populations where a user is cautioned against "
        "applying the intervention",
        "Known risks, inappropriate settings, inappropriate uses, or known limitations",
    ),
    (
        "Exclusion and inclusion criteria that influenced the training data set",
        "Use of variables in paragraph (b)(11)(iv)(A)(5)-(13) as input features",
        "Description of demographic representativeness according to variables in paragraph "
        "(b)(11)(iv)(A)(5)-(13) including, at a minimum, those used as input features in the "
        "intervention",
        "Description of relevance of training data to intended deployed setting",
    ),
    (
        "Description of the approach the intervention developer has taken to ensure that the "
        "intervention's output is fair",
        "Description of approaches to manage, reduce, or eliminate bias",
    ),
    (
        "Description of the data source, clinical setting, or environment where an intervention's "
        "validity and fairness has been assessed, other than the source of training and testing "
        "data",
        "Party that conducted the external testing",
        "Description of demographic representativeness of external data according to variables in "
        "paragraph (b)(11)(iv)(A)(5)-(13) including, at a minimum, those used as input features "
        "in the intervention",
        "Description of external validation process",
    ),
    (
        "Validity of intervention in test data derived from the same source as the initial "
        "training data",
        "Fairness of intervention in test data derived from the same source as the initial "
        "training data",
        "Validity of intervention in data external to or from a different source than the initial "
        "training data",
        "Fairness of intervention in data external to or from a different source than the initial "
        "training data",
        "References to evaluation of use of the intervention on outcomes, including, bibliographic "
        "citations or hyperlinks to evaluations of how well the intervention reduced morbidity, "
        "mortality, length of stay, or other outcomes",
    ),
    (
        "Description of process and frequency by which the intervention's validity is monitored "
        "over time",
        "Validity of intervention in local data",
        "Description of the process and frequency by which the intervention's fairness is "
        "monitored over time",
        "Fairness of intervention in local data",
    ),
    (
        "Description of process and frequency by which the intervention is updated",
        "Description of frequency by which the intervention's performance is corrected when risks "
        "related to validity and fairness are identified",
    ),
)
_ROMAN = ("i", "ii", "iii", "iv", "v")


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """One attribute that the regulation asks for.

    Attributes
    ----------
    key
        Paragraph within (B), for example ``7.iii``.
    group
        What the paragraph's first level is about.
    wording
        The attribute in the regulation's words.

    """

    key: str
    group: str
    wording: str

    @property
    def citation(self) -> str:
        """Return the full paragraph.

        Examples
        --------
        >>> SOURCE_ATTRIBUTES[0].citation
        '45 CFR 170.315(b)(11)(iv)(B)(1)(i)'

        """
        number, _, letter = self.key.partition(".")
        return f"{REGULATION}({number})({letter})"


SOURCE_ATTRIBUTES = tuple(
    SourceAttribute(f"{number}.{letter}", group, wording)
    for number, (group, wordings) in enumerate(zip(GROUPS, _WORDING, strict=True), start=1)
    for letter, wording in zip(_ROMAN, wordings, strict=False)
)
SOURCE_ATTRIBUTE_KEYS = tuple(attribute.key for attribute in SOURCE_ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said about one attribute: a text, or why there is none.

    Attributes
    ----------
    value
        One or more lines, or None if not available.
    reason
        Why it is not available; None if it is.

    """

    value: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        given = [text for text in (self.value, self.reason) if text is not None]
        if len(given) != 1 or not given[0].strip():
            raise ValueError("a statement has either a value or a reason, and it is not blank")

    @property
    def text(self) -> str:
        """Return what a person reads.

        Examples
        --------
        >>> Statement(reason="Nobody has measured it.").text
        'not available: Nobody has measured it.'

        """
        return self.value if self.value is not None else f"{NOT_AVAILABLE}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SourceAttributeCard:
    """All 31 attributes of one encoder; what is not known is there, as not available.

    Attributes
    ----------
    encoder_name, encoder_hash
        The encoder that it is about; the hash is that of the answers it gave.
    stated_on
        ISO date of the statements, None if the encoder came without a card.
    statements
        One for each of `SOURCE_ATTRIBUTE_KEYS`.

    """

    encoder_name: str
    encoder_hash: str
    stated_on: str | None
    statements: Mapping[str, Statement]

    def __post_init__(self) -> None:
        differing = set(self.statements) ^ set(SOURCE_ATTRIBUTE_KEYS)
        if differing:
            raise ValueError(f"not the regulation's attributes: {', '.join(sorted(differing))}")

    @classmethod
    def of_unknown(cls, encoder_name: str, encoder_hash: str) -> Self:
        """Return the card of an encoder that came without one."""
        unknown = dict.fromkeys(SOURCE_ATTRIBUTE_KEYS, Statement(reason=NOT_STATED))
        return cls(encoder_name, encoder_hash, None, unknown)

    @property
    def n_available(self) -> int:
        """Return how many attributes have a value."""
        return sum(one.value is not None for one in self.statements.values())

    def rows(self) -> tuple[tuple[SourceAttribute, Statement], ...]:
        """Return attribute and statement, in the regulation's order."""
        return tuple((one, self.statements[one.key]) for one in SOURCE_ATTRIBUTES)

    def groups(self) -> tuple[tuple[str, tuple[tuple[SourceAttribute, Statement], ...]], ...]:
        """Return each of the nine groups with its attributes and statements."""
        rows = self.rows()
        return tuple(
            (group, tuple(row for row in rows if row[0].group == group)) for group in GROUPS
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `/model-card.json` serves: every attribute, with citation and wording."""
        return {
            "regulation": REGULATION,
            "encoder": {"name": self.encoder_name, "hash": self.encoder_hash},
            "stated_on": self.stated_on,
            "n_attributes": len(SOURCE_ATTRIBUTES),
            "n_available": self.n_available,
            "attributes": [
                {
                    "key": attribute.key,
                    "citation": attribute.citation,
                    "group": attribute.group,
                    "attribute": attribute.wording,
                    "available": statement.value is not None,
                    "value": NOT_AVAILABLE if statement.value is None else statement.value,
                    "reason_not_available": statement.reason,
                }
                for attribute, statement in self.rows()
            ],
        }


def attribute_table(statements: Mapping[str, Statement]) -> str:
    """Return one Markdown table of all attributes, in the regulation's order.

    Parameters
    ----------
    statements
        One for each of `SOURCE_ATTRIBUTE_KEYS`.

    """
    lines = ["| (B) | Attribute | Statement |", "|---|---|---|"]
    for attribute in SOURCE_ATTRIBUTES:
        number, _, letter = attribute.key.partition(".")
        cells = (f"({number})({letter})", attribute.wording, statements[attribute.key].text)
        lines.append(f"| {' | '.join(_cell(text) for text in cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Fit a text into one cell of a Markdown table."""
    return "<br>".join(line.replace("|", "\\|") for line in text.splitlines())
