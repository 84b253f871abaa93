"""What an evaluation report says, in order; HTML and PDF print the same blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from models.evaluation.bootstrap import Estimate
from models.evaluation.calibration import Calibration
from models.evaluation.evaluation import Classifier, Evaluation, Measure
from models.evaluation.figure_style import Figure
from models.evaluation.shortcuts import Agreement
from models.evaluation.subgroups import MINIMUM_PATIENTS

NOTHING = "-"
INVESTIGATIONAL = (
    "Investigational: figures of retrieval on these pictures, not of clinical performance."
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; a warning stands out."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Table | Figure


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A report, ready to be printed."""

    title: str
    subtitle: str
    blocks: tuple[Block, ...]


def report_document(
    found: Evaluation, figures: Mapping[str, Figure], *, made_at: str
) -> ReportDocument:
    """Put the report together.

    Parameters
    ----------
    found
        What was measured.
    figures
        As `figures_of` draws them.
    made_at
        Time of the run, for the head.

    Returns
    -------
    ReportDocument
        In the order of reading.

    """
    blocks = [
        *_summary(found),
        *_facts(found, made_at),
        *_retrieval(found, figures),
        *(
            block
            for number, one in enumerate(found.classifiers)
            for block in _classifier(found, one, figures, number)
        ),
        *_subgroups(found, figures),
        *_shortcuts(found, figures),
        *_how_to_read(found),
    ]
    return ReportDocument(
        f"Evaluation of {found.encoder_name}", f"on {found.data_name}", tuple(blocks)
    )


def shown(estimate: Estimate | None, *, sign: str = "") -> str:
    """Print a value with its interval; an unsettled one as a dash."""
    if estimate is None or not isfinite(estimate.value):
        return NOTHING
    value = f"{estimate.value:{sign}.3f}"
    if not isfinite(estimate.low):
        return value
    return f"{value} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def summary_sentences(found: Evaluation) -> tuple[str, ...]:
    """Return the findings in plain sentences."""
    first = found.retrieval[0]
    sentences = [
        f"The most similar case has the query's class in {first.estimate.value:.0%} of queries "
        f"(P@1 {shown(first.estimate)}); the most frequent class alone would give "
        f"{first.majority or 0.0:.0%}."
    ]
    if first.gain is not None:
        sentences.append(
            f"Against {found.baseline_name}, P@1 changes by {shown(first.gain, sign='+')}, paired "
            f"by query: {_direction(first.gain)}."
        )
    voted = found.classifiers[0]
    by_name = {one.name: one for one in voted.measures}
    sentences.append(
        f"The {voted.method} vote with AUROC {shown(by_name['AUROC'].estimate)} and accuracy "
        f"{shown(by_name['Accuracy'].estimate)}."
    )
    sentences += [f"{c.class_name}: {c.verdict}" for c in voted.calibrations[:1]]
    sentences += [audit.verdict for audit in found.shortcuts]
    return tuple(sentences)


def _direction(gain: Estimate) -> str:
    if gain.low > 0.0:
        return "better"
    if gain.high < 0.0:
        return "worse"
    return "not told apart"


def _summary(found: Evaluation) -> Iterator[Block]:
    yield Paragraph(INVESTIGATIONAL)
    yield Heading("In short")
    for note in found.training_notes:
        yield Paragraph(note, is_warning=True)
    for sentence in summary_sentences(found):
        is_shortcut = "likely shortcut" in sentence or "cannot be separated" in sentence
        yield Paragraph(sentence, is_warning=is_shortcut)


def _facts(found: Evaluation, made_at: str) -> Iterator[Block]:
    way = (
        "each picture is queried against all others"
        if found.is_leave_one_out
        else "queries are searched in a library apart"
    )
    rows = [
        ("Data", f"{found.data_name}; {way}"),
        ("Queries", f"{found.n_queries} pictures of {found.n_query_patients} patients"),
        ("Library", f"{found.n_library} pictures of {found.n_library_patients} patients"),
        (
            "Classes (queries / library)",
            "; ".join(f"{name} {q} / {n}" for name, (q, n) in found.class_counts.items()),
        ),
        ("Queries with no case to find", f"{found.n_without_relevant}; each counts as 0"),
        ("Encoder", f"{found.encoder_name}, {found.dimension} dimensions"),
        ("Encoder hash", found.encoder_hash),
        ("Baseline", found.baseline_name or "none given"),
        ("Data hash", found.data_hash),
        (
            "Settings",
            f"seed {found.settings.seed}, {found.settings.n_resamples} resamples of patients",
        ),
        ("Made at", made_at),
    ]
    yield Heading("What was measured")
    yield Table("", ("", ""), tuple(rows))
    for note in found.notes:
        yield Paragraph(note)


def measure_cells(
    found: Evaluation, measures: Sequence[Measure]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return head and rows of a table of measures; without a baseline its columns are gone."""
    head = ("Measure", "Encoder", "Baseline", "Gain, paired", "Most frequent class")
    rows = [
        (
            one.name,
            shown(one.estimate),
            shown(one.baseline),
            shown(one.gain, sign="+"),
            f"{one.majority:.3f}" if one.majority is not None else NOTHING,
        )
        for one in measures
    ]
    if found.baseline_name is None:
        return (*head[:2], head[4]), tuple((*row[:2], row[4]) for row in rows)
    return head, tuple(rows)


def _measure_table(found: Evaluation, caption: str, measures: Sequence[Measure]) -> Table:
    return Table(caption, *measure_cells(found, measures))


def _retrieval(found: Evaluation, figures: Mapping[str, Figure]) -> Iterator[Block]:
    yield Heading("Retrieval")
    yield figures["retrieval"]
    yield _measure_table(found, "95 % intervals by patient.", found.retrieval)


def _classifier(
    found: Evaluation, one: Classifier, figures: Mapping[str, Figure], number: int
) -> Iterator[Block]:
    yield Heading(f"Classification: {one.method}")
    what = (
        f"Sensitivity and the like are of {found.classes[1]}."
        if len(found.classes) == 2
        else "Sensitivity and the like are means over the classes, each against the rest."
    )
    yield _measure_table(found, f"{what} 95 % intervals by patient.", one.measures)
    yield figures[f"curves-{number}"]
    yield figures[f"confusion-{number}"]
    yield Heading(f"Calibration: {one.method}")
    for calibration in one.calibrations:
        yield Paragraph(f"{calibration.class_name}: {calibration.verdict}")
    yield _calibration_table(one.calibrations)
    yield figures[f"reliability-{number}"]
    yield Heading(f"Abstention: {one.method}")
    yield figures[f"abstention-{number}"]


def _calibration_table(calibrations: Sequence[Calibration]) -> Table:
    head = (
        *("Class", "Slope (1)", "Intercept (0)", "Brier", "Base rate's"),
        *("Skill", "ECE", "ECE if perfect"),
    )
    rows = tuple(
        (
            c.class_name,
            shown(c.slope),
            shown(c.intercept),
            shown(c.brier),
            f"{c.brier_base_rate:.3f}",
            shown(c.brier_skill),
            shown(c.expected_calibration_error),
            shown(c.null_error),
        )
        for c in calibrations
    )
    return Table("Ideal values in brackets. Not recalibrated.", head, rows)


def _subgroups(found: Evaluation, figures: Mapping[str, Figure]) -> Iterator[Block]:
    yield Heading("Subgroups")
    if not found.subgroups:
        yield Paragraph("Neither sex, age, view nor source takes two values on these pictures.")
        return
    if "subgroups" in figures:
        yield figures["subgroups"]
    rows = tuple(
        (
            f"{one.attribute}: {one.value}",
            f"{one.n_queries} of {one.n_patients}",
            f"{one.majority:.3f}",
            shown(one.precision_at_1),
            shown(one.auroc),
        )
        for one in found.subgroups
    )
    head = ("Subgroup", "Pictures of patients", "Most frequent class", "P@1", "AUROC")
    caption = (
        f"A dash: fewer than {MINIMUM_PATIENTS} patients, or a class is missing. Groups are not "
        "corrected for multiple looks."
    )
    yield Table(caption, head, rows)


def _shortcuts(found: Evaluation, figures: Mapping[str, Figure]) -> Iterator[Block]:
    yield Heading("Shortcut audit")
    if not found.shortcuts:
        yield Paragraph("No attribute takes two values: nothing can be audited on these pictures.")
        return
    for audit in found.shortcuts:
        is_warning = "likely shortcut" in audit.verdict or "cannot be separated" in audit.verdict
        yield Paragraph(audit.verdict, is_warning=is_warning)
    if "shortcuts" in figures:
        yield figures["shortcuts"]
    rows = tuple(
        (
            f"{audit.attribute} ({audit.n_values} values)",
            _lift(audit.agreement),
            _lift(audit.finding),
            shown(audit.difference, sign="+"),
            _lift(audit.among_other_findings),
            _lift(audit.finding_within),
        )
        for audit in found.shortcuts
    )
    head = (
        "Attribute",
        "Lift, attribute",
        "Lift, finding",
        "Excess, attribute minus finding",
        "Lift of attribute among other findings",
        "Lift of finding within one value",
    )
    yield Table("Lift over chance of the first five neighbours.", head, rows)


def _lift(agreement: Agreement | None) -> str:
    return shown(agreement.lift) if agreement is not None else NOTHING


def _how_to_read(found: Evaluation) -> Iterator[Block]:
    yield Heading("How to read this")
    yield Paragraph(
        "A query never meets pictures of its own patient or near-duplicates of itself. Intervals "
        "are 95 % percentile intervals over resampled patients; they are descriptive and hold for "
        "pictures like these only."
    )
    yield Paragraph(
        "mAP@5 (by min(k, R)) divides by the number of relevant cases, five at most; mAP@5 (by "
        "hits, Mahbod) divides by the hits among the first five, and mMV@5 counts a tie as right, "
        "as Mahbod et al. 2025 (arXiv:2409.09430) do. ACC@k: any of the first k has the class. "
        "The shares of the 15 nearest neighbours are shares among library cases, not "
        "probabilities of disease."
    )
    if found.baseline_name is not None:
        yield Paragraph(
            f"The baseline ({found.baseline_name}) saw the same pictures in the same run; a bare "
            "network with the same borders, contrast and size as the encoder."
        )
    yield Paragraph("Every measure is defined in docs/evaluate-an-encoder.md.")
