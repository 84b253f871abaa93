"""Figures of a source-attribute card, taken from a run record and from evaluation reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cds.domain.source_attributes import Statement

REPORT_SCHEMA = "precedent.evaluation/1"
_INTERVALS = "In brackets: 95 % bootstrap interval by patient, descriptive."
_NO_GROUPS = "The evaluated pictures state neither sex, age nor view."
_PARTY = "The report does not say who measured."


def figures_of_run(run: Mapping[str, Any]) -> dict[str, Statement]:
    """Return what ``run.json`` measured on the held-out patients of its own sources.

    Parameters
    ----------
    run
        Of `precedent models train`; its ``measures`` map "frozen" and "trained" to place, measure
        and estimate.

    Returns
    -------
    dict
        Paragraph 7.i.

    Raises
    ------
    ValueError
        If it holds no finished measures.

    """
    try:
        lines = [
            f"{place}: {title}: {_named(measures)}"
            for place in run["measures"]["trained"]
            for title, measures in _of_place(run["measures"], place)
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the run record holds no measures of a finished run") from error
    if not lines:
        return {"7.i": Statement(reason="No source had two classes among the held-out patients.")}
    head = f"Retrieval within one source, held-out patients, beside the frozen start. {_INTERVALS}"
    return {"7.i": Statement("\n".join([head, *lines]))}


def figures_of_report(report: Mapping[str, Any], *, is_external: bool) -> dict[str, Statement]:
    """Return what an evaluation report measured.

    Parameters
    ----------
    report
        The JSON of `precedent models evaluate`.
    is_external
        Whether its pictures come from another source than those trained on. The regulation tells
        the two apart, and a program cannot.

    Returns
    -------
    dict
        Paragraphs 7.i and 7.ii; if external, 7.iii, 7.iv and 6.i to 6.iv.

    Raises
    ------
    ValueError
        If it is not such a report.

    """
    if report.get("schema") != REPORT_SCHEMA:
        raise ValueError("this is not an evaluation report that this version reads")
    try:
        validity, fairness = Statement(_validity(report)), _fairness(report)
        if not is_external:
            return {"7.i": validity, "7.ii": fairness}
        return {"7.iii": validity, "7.iv": fairness, **_external(report)}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the evaluation report lacks a part") from error


def sources_of_report(report: Mapping[str, Any]) -> frozenset[str]:
    """Return the collections that the report's pictures state."""
    groups: Sequence[Mapping[str, Any]] = report.get("subgroups", ())
    return frozenset(str(one["value"]) for one in groups if one["attribute"] == "source")


def _of_place(measures: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every encoder that was measured in a place."""
    return ((title, places[place]) for title, places in measures.items() if place in places)


def _named(measures: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_estimate(one)}" for name, one in measures.items())


def _estimate(one: Mapping[str, Any] | None, sign: str = "") -> str:
    """Print a value with its interval; what could not be settled as such."""
    if one is None or one["value"] is None:
        return "not settled"
    text = f"{one['value']:{sign}.3f}"
    if one["low"] is None or one["high"] is None:
        return text
    return f"{text} ({one['low']:{sign}.3f} to {one['high']:{sign}.3f})"


def _validity(report: Mapping[str, Any]) -> str:
    searched = "each in turn" if report["is_leave_one_out"] else "searched in a library"
    head = (
        f"On {report['data_name']}: {report['n_queries']} pictures of "
        f"{report['n_query_patients']} patients, {searched} of {report['n_library']} pictures; "
        f"classes {', '.join(report['classes'])}. {_INTERVALS}"
    )
    voted = report["classifiers"][0]
    rows = [_measure(one, report["baseline_name"]) for one in report["retrieval"]]
    rows.append(f"Classes by {voted['method']}:")
    rows += [_measure(one, report["baseline_name"]) for one in voted["measures"]]
    notes = [*report.get("training_notes", ()), *report["notes"]]
    return "\n".join([head, *rows, *notes])


def _measure(row: Mapping[str, Any], baseline: str | None) -> str:
    parts = [f"{row['name']} {_estimate(row['estimate'])}"]
    if baseline is not None and row["baseline"] is not None:
        parts.append(f"{baseline} {_estimate(row['baseline'])}")
        parts.append(f"difference {_estimate(row['gain'], '+')}")
    if row["majority"] is not None:
        parts.append(f"most frequent class alone {row['majority']:.3f}")
    return "; ".join(parts)


def _groups(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the groups of patients; the collection is not one."""
    return [one for one in report["subgroups"] if one["attribute"] != "source"]


def _counted(one: Mapping[str, Any]) -> str:
    return (
        f"{one['attribute']} {one['value']}: {one['n_queries']} pictures of "
        f"{one['n_patients']} patients"
    )


def _fairness(report: Mapping[str, Any]) -> Statement:
    groups = _groups(report)
    if not groups:
        return Statement(reason=_NO_GROUPS)
    lines = [
        f"{_counted(one)}: P@1 {_estimate(one['precision_at_1'])}, AUROC {_estimate(one['auroc'])}"
        for one in groups
    ]
    return Statement("\n".join([f"By group, on {report['data_name']}. {_INTERVALS}", *lines]))


def _external(report: Mapping[str, Any]) -> dict[str, Statement]:
    groups = [_counted(one) for one in _groups(report)]
    return {
        "6.i": Statement(
            f"{report['data_name']}: {report['n_queries']} pictures of "
            f"{report['n_query_patients']} patients."
        ),
        "6.ii": Statement(reason=_PARTY),
        "6.iii": Statement("\n".join(groups)) if groups else Statement(reason=_NO_GROUPS),
        "6.iv": Statement(
            "Retrospective, on labelled pictures: each query's nearest neighbours among other "
            "patients' pictures, with intervals by resampling patients; no reader took part."
        ),
    }
