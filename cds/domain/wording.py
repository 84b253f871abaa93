"""Exact sentences of card, page and report (CLINICAL 1.2, 1.6, 2.2); the only place that words them.

A card summary is refused when it is too long: a clinical sentence is never cut.
"""

from __future__ import annotations

from cds.domain.report import Interval

WORDING_VERSION = "3"
SUMMARY_LIMIT = 140  # CDS Hooks 2.0.1: strictly fewer
FEW = 5  # SAFETY R-HIP-4: counts of 1 to 4 read "fewer than 5" outside a treatment relationship
MIN_PATIENTS = 10  # CLINICAL 1.6: below 10 no proportion is printed

REPORT_TITLE = "Similar-case comparison by software (investigational): not a radiology report"
NOT_THIS_PATIENT = "This is not this patient's probability."
NOT_NORMAL = "It does not mean that this film is normal."
NO_PRIORITY = "No priority suggested. This does not mean the film is normal."
READ_IN_ORDER = "Read in normal order."


def header(library_name: str) -> str:
    """Return the header of every page and report before a human signed it."""
    return (
        f"Investigational software. Compares this picture with past cases of {library_name}; "
        "it does not read the picture. Lines, tubes and devices are not assessed. "
        "Not reviewed by a radiologist."
    )


def checked_summary(text: str) -> str:
    """Return `text` if it fits a card summary.

    Raises
    ------
    ValueError
        If it has 140 characters or more, or none.

    """
    if not 0 < len(text) < SUMMARY_LIMIT:
        raise ValueError(f"a card summary has 1 to {SUMMARY_LIMIT - 1} characters, not {len(text)}")
    return text


def ready_card_summary(study_label: str, time_text: str, n_patients: int) -> str:
    """Return the site option's information card: a comparison is ready.

    Examples
    --------
    >>> ready_card_summary("Chest film", "06:41", 31)
    'Chest film 06:41, not yet reported: comparison with 31 past patients is ready.'

    """
    return checked_summary(
        f"{study_label} {time_text}, not yet reported: "
        f"comparison with {count_text(n_patients, is_exported=True)} past patients is ready."
    )


def nothing_comparable_summary(study_label: str, time_text: str) -> str:
    """Return the site option's information card: the comparison found nothing comparable."""
    return checked_summary(
        f"{study_label} {time_text}: no past case is similar enough; nothing is said about findings. {READ_IN_ORDER}"
    )


def pending_summary(study_label: str, time_text: str) -> str:
    """Return row 10 of the silence table."""
    return checked_summary(
        f"{study_label} {time_text} has arrived. Comparison with past cases is still running; read in normal order."
    )


def not_assessed_summary(study_label: str, time_text: str, why: str) -> str:
    """Return row 11 of the silence table; `why` is a short phrase without PHI.

    Examples
    --------
    >>> len(not_assessed_summary("Chest film", "06:41", "image type not supported"))
    95

    """
    return checked_summary(
        f"{study_label} {time_text} was not assessed by software ({why}). {READ_IN_ORDER}"
    )


def identity_summary(study_label: str, time_text: str) -> str:
    """Return row 12 of the silence table.

    Examples
    --------
    >>> len(identity_summary("Chest film", "06:41"))
    108

    """
    return checked_summary(
        f"{study_label} {time_text} was not assessed by software: its patient ID does not match this chart. "
        "Tell the PACS team."
    )


def outage_summary(study_label: str, time_text: str, since_text: str) -> str:
    """Return row 13 of the silence table.

    Examples
    --------
    >>> len(outage_summary("Chest film", "13:58", "14:05"))
    106

    """
    return checked_summary(
        f"Images cannot be reached since {since_text}. {study_label} {time_text} was not assessed by software. "
        f"{READ_IN_ORDER}"
    )


def slices_sentence(numbers: list[int], n_slices: int, ordered_by: str) -> str:
    """Return what was compared of a series (CLINICAL 5, item 19).

    Parameters
    ----------
    numbers
        Of the compared slices, rising.
    n_slices
        Of the series.
    ordered_by
        What the slices were ordered by.

    Examples
    --------
    >>> print(slices_sentence([100, 148, 196], 312, "slice position"))
    Compared on 3 of 312 slices (no. 100, 148, 196), chosen by even spacing over the middle of one series in order of slice position; the rest was not analysed.
    >>> print(slices_sentence([1], 1, "instance number"))
    Compared on 1 of 1 slice (no. 1), chosen as the only one of its series; the rest was not analysed.

    """
    shown = ", ".join(map(str, numbers))
    if n_slices == 1:
        return (
            f"Compared on 1 of 1 slice (no. {shown}), chosen as the only one of its series; "
            "the rest was not analysed."
        )
    return (
        f"Compared on {len(numbers)} of {n_slices} slices (no. {shown}), chosen by even spacing over "
        f"the middle of one series in order of {ordered_by}; the rest was not analysed."
    )


def one_slice_sentence(n_known: int) -> str:
    """Return what was compared where one slice came alone.

    Examples
    --------
    >>> print(one_slice_sentence(1))
    Compared on 1 slice, chosen by whoever sent it; the rest was not analysed.
    >>> print(one_slice_sentence(312))
    Compared on 1 of 312 slices, chosen by whoever sent it; the rest was not analysed.

    """
    of = f" of {n_known} slices" if n_known > 1 else " slice"
    return f"Compared on 1{of}, chosen by whoever sent it; the rest was not analysed."


def percent(proportion: float) -> str:
    """Return a whole-number percentage, ``39 %``."""
    return f"{100 * proportion:.0f} %"


def interval_text(interval: Interval) -> str:
    """Return ``interval 24-56 %``."""
    return f"interval {100 * interval.low:.0f}-{100 * interval.high:.0f} %"


def count_text(n: int, *, is_exported: bool) -> str:
    """Return a count of patients; 1 to 4 are masked in everything that leaves the app page."""
    if is_exported and 0 < n < FEW:
        return f"fewer than {FEW}"
    return str(n)


def finding_sentence(
    display: str,
    *,
    counts: tuple[int, int],
    interval: Interval,
    eligible: tuple[int, int],
    eligible_kind: str,
    is_diagnosis: bool,
) -> str:
    """Return the statement about one finding.

    Parameters
    ----------
    display
        Name of the finding or diagnosis.
    counts
        Neighbours' patients with it, and all neighbours' patients.
    interval
        Of the proportion among the neighbours.
    eligible
        Eligible patients with it, and all eligible patients.
    eligible_kind
        What the eligible patients have in common, for example ``with a portable chest film``.
    is_diagnosis
        Diagnoses read "recorded", signs "on their film".

    Examples
    --------
    >>> print(
    ...     finding_sentence(
    ...         "heart failure",
    ...         counts=(12, 31),
    ...         interval=Interval(0.237, 0.562),
    ...         eligible=(45, 204),
    ...         eligible_kind="with a portable film",
    ...         is_diagnosis=True,
    ...     )
    ... )
    Of the 31 past patients most like this one, 12 had heart failure recorded (39 %, interval 24-56 %). Among all 204 eligible past patients with a portable film it was 22 %. This is not this patient's probability.

    """
    n_with, n = counts
    n_eligible_with, n_eligible = eligible
    if n < MIN_PATIENTS:
        return too_few_sentence(n)
    where = "recorded" if is_diagnosis else "on their film"
    return (
        f"Of the {n} past patients most like this one, {n_with} had {display} {where} "
        f"({percent(n_with / n)}, {interval_text(interval)}). "
        f"Among all {n_eligible} eligible past patients {eligible_kind} it was {percent(n_eligible_with / n_eligible)}. "
        f"{after_finding(display)}"
    )


def is_absence(display: str) -> bool:
    """Tell whether a "finding" says that nothing was found; it is named last, with a caveat."""
    return display.lower().startswith("no ")


def after_finding(display: str) -> str:
    """Return the last words of a statement about a finding.

    Examples
    --------
    >>> after_finding("No acute finding")
    "This is not this patient's probability. It does not mean that this film is normal."

    """
    return f"{NOT_THIS_PATIENT} {NOT_NORMAL}" if is_absence(display) else NOT_THIS_PATIENT


def too_few_sentence(n: int) -> str:
    """Return what is said instead of a proportion.

    Examples
    --------
    >>> too_few_sentence(3)
    '3 patients: too few to count.'

    """
    return f"{n} {'patient' if n == 1 else 'patients'}: too few to count."


def outcome_sentence(
    event: str,
    *,
    n: int,
    n_known: int,
    n_with: int,
    interval: Interval,
    years: tuple[int, int] | None,
) -> str:
    """Return the folded outcome statement.

    Examples
    --------
    >>> print(
    ...     outcome_sentence(
    ...         "died within 30 days",
    ...         n=31,
    ...         n_known=19,
    ...         n_with=3,
    ...         interval=Interval(0.055, 0.376),
    ...         years=(2019, 2024),
    ...     )
    ... )
    Recorded for 19 of these 31 patients: 3 of 19 died within 30 days (16 %, interval 6-38 %); 12 were not recorded. Treatment, severity and years (2019-2024) differ. Do not use as a prognosis.

    """
    when = f" ({years[0]}-{years[1]})" if years else ""
    return (
        f"Recorded for {n_known} of these {n} patients: {n_with} of {n_known} {event} "
        f"({percent(n_with / n_known)}, {interval_text(interval)}); {n - n_known} were not recorded. "
        f"Treatment, severity and years{when} differ. Do not use as a prognosis."
    )


def missing_sentences(phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Return what was not used, as one or two sentences.

    Parameters
    ----------
    phrases
        For example ``Lactate (none within 6 h of the film)`` or ``NT-proBNP (none)``.

    Examples
    --------
    >>> missing_sentences(("Lactate (none within 6 h of the film)", "NT-proBNP (none)"))
    ('Not used: lactate (none within 6 h of the film).', 'None in the record: NT-proBNP.')

    """
    absent = [lower_first(p.removesuffix(" (none)")) for p in phrases if p.endswith(" (none)")]
    others = [lower_first(p) for p in phrases if not p.endswith(" (none)")]
    sentences = []
    if others:
        sentences.append(f"Not used: {', '.join(others)}.")
    if absent:
        sentences.append(f"None in the record: {', '.join(absent)}.")
    return tuple(sentences)


def abstention_sentence(best_similarity: float | None, similarity_limit: float) -> str:
    """Return what is said when nothing comparable exists.

    Examples
    --------
    >>> print(abstention_sentence(0.41, 0.58))
    No past case is similar enough: best similarity 0.41, limit 0.58 (set so that 5 % of this library's own cases are refused). Nothing is said about findings. Read in normal order.

    """
    best = (
        "none was eligible" if best_similarity is None else f"best similarity {best_similarity:.2f}"
    )
    return (
        f"No past case is similar enough: {best}, limit {similarity_limit:.2f} "
        "(set so that 5 % of this library's own cases are refused). Nothing is said about findings. "
        f"{READ_IN_ORDER}"
    )


def unlike_sentence(distance: float, limit: float) -> str:
    """Return what is said when a picture is unlike the library's pictures of its kind.

    Examples
    --------
    >>> print(unlike_sentence(31.24, 24.7))
    Could not compare: this picture is unlike the library's pictures of its kind (distance 31.2, limit 24.7). It may show another part of the body, another kind of picture, or be damaged, inverted or turned. Nothing is said about findings. Read in normal order.

    """
    return (
        "Could not compare: this picture is unlike the library's pictures of its kind "
        f"(distance {distance:.1f}, limit {limit:.1f}). It may show another part of the body, "
        "another kind of picture, or be damaged, inverted or turned. "
        f"Nothing is said about findings. {READ_IN_ORDER}"
    )


def guard_sentence(what: str, n_of: int, n_eligible: int) -> str:
    """Return the composition guard.

    Examples
    --------
    >>> print(guard_sentence("COVID-19 of 2020", 140, 155))
    The comparable cases here are mostly COVID-19 of 2020 (140 of 155). What they share says little about this patient.

    """
    return (
        f"The comparable cases here are mostly {what} ({n_of} of {n_eligible}). "
        "What they share says little about this patient."
    )


def lower_first(display: str) -> str:
    """Return a display text for the middle of a sentence: acronyms keep their capitals.

    Examples
    --------
    >>> lower_first("Pulmonary oedema"), lower_first("NT-proBNP"), lower_first("C-reactive protein")
    ('pulmonary oedema', 'NT-proBNP', 'C-reactive protein')

    """
    return (
        display
        if len(display) > 1 and (display[1].isupper() or display[1] in "-0123456789")
        else display[:1].lower() + display[1:]
    )
