"""The figures of an evaluation report; needs the extra `evaluate` (matplotlib, seaborn)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from models.evaluation.bootstrap import Estimate
from models.evaluation.evaluation import Classifier, Evaluation, Measure
from models.evaluation.figure_style import (
    EASY,
    INK,
    OURS,
    PALETTE,
    SHOWN_CLASSES,
    THEIRS,
    Figure,
    canvas,
    drawn,
    error_arms,
)
from models.evaluation.shortcuts import Agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN_LINES = 4  # more lines in a reliability plot cannot be told apart


def figures_of(found: Evaluation) -> dict[str, Figure]:
    """Draw every figure that the evaluation has something for, by name."""
    figures = [_retrieval(found)]
    for number, classifier in enumerate(found.classifiers):
        figures += [
            _curves(found, classifier, number),
            _confusion(found, classifier, number),
            _reliability(classifier, number),
            _abstention(found, classifier, number),
        ]
    figures += [*_subgroups(found), *_shortcuts(found)]
    return {figure.name: figure for figure in figures}


def _bars(axis: Axes, rows: Sequence[Measure], title: str) -> None:
    """Draw bars of encoder and baseline with their intervals, and a mark for the majority."""
    places = np.arange(len(rows), dtype=np.float64)
    width = 0.38
    with_baseline = rows[0].baseline is not None
    shift = width / 2 if with_baseline else 0.0
    _bar(axis, places - shift, width, [row.estimate for row in rows], (OURS, "encoder"))
    if with_baseline:
        theirs = [row.baseline for row in rows if row.baseline is not None]
        _bar(axis, places + shift, width, theirs, (THEIRS, "baseline"))
    easy = [row.majority if row.majority is not None else np.nan for row in rows]
    left, right = places - width, places + width
    axis.hlines(easy, left, right, colors=INK, linestyles=":", label="most frequent class")
    axis.set_xticks(places, [_short(row.name) for row in rows], fontsize=8.5)
    axis.set_ylim(0.0, 1.05)
    axis.grid(visible=False, axis="x")
    axis.set_title(title)


def _bar(
    axis: Axes,
    places: Any,  # noqa: ANN401 - a numpy array of any float type
    width: float,
    estimates: Sequence[Estimate],
    look: tuple[str, str],
) -> None:
    colour, label = look
    values = np.array([one.value for one in estimates])
    axis.bar(places, values, width, color=colour, label=label, zorder=2)
    axis.errorbar(
        places, values, yerr=error_arms(estimates), fmt="none", ecolor=INK, elinewidth=1, capsize=2
    )


def _short(name: str) -> str:
    """Break a measure's name so that it fits below its bars."""
    plain, _, how = name.removesuffix(")").partition(" (")
    return f"{plain}\n{how.removesuffix(', Mahbod')}" if how not in {"", "Mahbod"} else plain


def _told(rows: Sequence[Measure]) -> str:
    return "; ".join(
        f"{row.name} {row.estimate.value:.2f}"
        + (f" (baseline {row.baseline.value:.2f})" if row.baseline is not None else "")
        for row in rows
    )


def _retrieval(found: Evaluation) -> Figure:
    with canvas(7.6, 3.3) as (figure, (axis,)):
        _bars(axis, found.retrieval, "What the ranking finds")
        axis.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=3)
        return drawn(
            figure,
            "retrieval",
            "Measures of retrieval with 95 % intervals by patient. The dotted line is what the "
            "library's most frequent class alone would give.",
            f"Bar chart of retrieval: {_told(found.retrieval)}.",
        )


def _curves(found: Evaluation, classifier: Classifier, number: int) -> Figure:
    with canvas(7.6, 3.5, 2) as (figure, (roc, recall)):
        shown = classifier.curves[:SHOWN_CLASSES]
        is_one_class = len(found.classes) == 2
        for place, curve in enumerate(shown):
            colour = (OURS, THEIRS)[place % 2] if is_one_class else PALETTE[place]
            label = curve.owner if is_one_class else curve.class_name
            style = "--" if is_one_class and place else "-"
            rates = (curve.false_positive_rates, curve.true_positive_rates)
            roc.plot(*rates, style, color=colour, label=label, linewidth=1.8)
            recall.plot(
                curve.recalls, curve.precisions, style, color=colour, label=label, linewidth=1.8
            )
        roc.plot([0, 1], [0, 1], ":", color=EASY, linewidth=1)
        if is_one_class and shown:
            recall.axhline(shown[0].prevalence, linestyle=":", color=EASY, linewidth=1)
        roc.set(title="ROC", xlabel="1 - specificity", ylabel="sensitivity")
        recall.set(title="Precision and recall", xlabel="recall", ylabel="precision")
        for axis in (roc, recall):
            axis.set(xlim=(-0.01, 1.01), ylim=(0.0, 1.02))
        roc.legend(loc="lower right", fontsize=8)
        areas = {one.name: one.estimate.value for one in classifier.measures}
        what = shown[0].class_name if is_one_class and shown else "each class against the rest"
        return drawn(
            figure,
            f"curves-{number}",
            f"Curves of {what}; {classifier.method}. Dotted: no information.",
            f"ROC curve with an area of {areas['AUROC']:.2f} and precision-recall curve with an "
            f"area of {areas['AUPRC']:.2f}.",
        )


def _confusion(found: Evaluation, classifier: Classifier, number: int) -> Figure:
    import seaborn as sns

    counts = np.array(classifier.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(found.classes)
    side = 1.9 + 0.6 * n
    labels = [
        [f"{count}\n{share:.0%}" for count, share in zip(*row, strict=True)]
        for row in zip(counts.tolist(), shares.tolist(), strict=True)
    ]
    with canvas(side + 1.2, side) as (figure, (axis,)):
        sns.heatmap(
            shares,
            annot=np.array(labels),
            fmt="",
            cmap="Blues",
            vmin=0.0,
            vmax=1.0,
            square=True,
            linewidths=1,
            xticklabels=list(found.classes),
            yticklabels=list(found.classes),
            cbar_kws={"label": "share of the true class", "shrink": 0.8},
            ax=axis,
        )
        axis.set(title="Confusion matrix", xlabel="decided", ylabel="true")
        if n > 2:
            axis.set_xticks(axis.get_xticks(), found.classes, rotation=35, ha="right")
        axis.tick_params(axis="y", rotation=0)
        right = ", ".join(
            f"{name} {shares[i, i]:.0%} of {counts[i].sum()}"
            for i, name in enumerate(found.classes)
        )
        return drawn(
            figure,
            f"confusion-{number}",
            f"Number and share of the true class in each cell; {classifier.method}.",
            f"Confusion matrix. Decided rightly: {right}.",
        )


def _reliability(classifier: Classifier, number: int) -> Figure:
    shown = sorted(classifier.calibrations, key=lambda one: -one.brier_base_rate)[:_SHOWN_LINES]
    with canvas(3.9 if len(shown) == 1 else 5.4, 3.7) as (figure, (axis,)):
        axis.plot([0, 1], [0, 1], ":", color=EASY, linewidth=1.2, label="ideal")
        for place, one in enumerate(shown):
            colour = PALETTE[place]
            said = [b.mean_probability for b in one.bins]
            seen = [b.observed_share for b in one.bins]
            arms = error_arms(
                [Estimate(b.observed_share, b.interval.low, b.interval.high) for b in one.bins]
            )
            axis.errorbar(said, seen, yerr=arms, fmt="none", ecolor=colour, alpha=0.5, elinewidth=1)
            axis.plot(said, seen, "-", color=colour, linewidth=1.2, alpha=0.8, label=one.class_name)
            sizes = [14 + 120 * b.n / max(x.n for x in one.bins) for b in one.bins]
            axis.scatter(said, seen, s=sizes, color=colour, zorder=3)
        axis.set(
            title="Reliability",
            xlabel="probability said",
            ylabel="share seen",
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
        axis.set_aspect("equal")
        outside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        axis.legend(fontsize=8, **(outside if len(shown) > 1 else {"loc": "upper left"}))
        told = "; ".join(
            f"{c.class_name}: slope {c.slope.value:.2f}, "
            f"ECE {c.expected_calibration_error.value:.3f}"
            for c in classifier.calibrations
        )
        return drawn(
            figure,
            f"reliability-{number}",
            f"Said against seen{_of_how_many(classifier)}, ten bins of equal width, larger dots "
            f"for more queries, Wilson intervals; {classifier.method}.",
            f"Reliability plot. {told}.",
        )


def _of_how_many(classifier: Classifier) -> str:
    n = len(classifier.calibrations)
    return f" ({_SHOWN_LINES} classes of {n}, the most frequent)" if n > _SHOWN_LINES else ""


def _abstention(found: Evaluation, classifier: Classifier, number: int) -> Figure:
    with canvas(5.0, 3.2) as (figure, (axis,)):
        owners = [(classifier.abstention, OURS, "-", found.encoder_name)]
        if classifier.baseline_abstention is not None:
            owners.append((classifier.baseline_abstention, THEIRS, "--", found.baseline_name or ""))
        for curve, colour, style, name in owners:
            risks = [one.value for one in curve.risks]
            axis.plot(curve.coverages, risks, style, color=colour, label=name, linewidth=1.8)
            low, high = ([getattr(one, end) for one in curve.risks] for end in ("low", "high"))
            axis.fill_between(curve.coverages, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.axhline(classifier.abstention.risks[-1].value, linestyle=":", color=EASY, linewidth=1)
        axis.set(
            title="Risk and coverage",
            xlabel="share of queries answered, surest first",
            ylabel="share of wrong decisions",
            xlim=(0.0, 1.0),
        )
        axis.set_ylim(bottom=0.0)
        axis.legend(loc="upper left", fontsize=8)
        at = {c: r.value for c, r in zip(*_curve_points(classifier), strict=True)}
        return drawn(
            figure,
            f"abstention-{number}",
            "What is gained by staying silent when unsure, with 95 % bands by patient. Dotted: "
            f"silence at random; {classifier.method}.",
            f"Risk-coverage curve: {at[1.0]:.1%} wrong when all are answered, {at[0.8]:.1%} "
            f"at 80 %, {at[0.5]:.1%} at half.",
        )


def _curve_points(classifier: Classifier) -> tuple[Sequence[float], Sequence[Estimate]]:
    return classifier.abstention.coverages, classifier.abstention.risks


def _subgroups(found: Evaluation) -> list[Figure]:
    rows = [one for one in found.subgroups if one.precision_at_1 is not None][::-1]
    if not rows:
        return []
    areas = [one.auroc for one in rows if one.auroc is not None and isfinite(one.auroc.value)]
    titles = ("P@1", "AUROC") if areas else ("P@1",)
    whole = (found.retrieval[0].estimate, found.classifiers[0].measures[5].estimate)
    with canvas(7.6, 1.2 + 0.26 * len(rows), len(titles)) as (figure, axes):
        places = range(len(rows))
        for axis, title, overall in zip(axes, titles, whole, strict=False):
            estimates = [one.precision_at_1 if title == "P@1" else one.auroc for one in rows]
            usable = [(p, e) for p, e in zip(places, estimates, strict=True) if e is not None]
            _draw_forest(axis, usable)
            axis.axvline(overall.value, linestyle=":", color=EASY, linewidth=1.2)
            axis.set(title=title, ylim=(-0.6, len(rows) - 0.4))
            axis.set_xlim(right=1.02)
        names = [f"{one.attribute}: {one.value} ({one.n_patients})" for one in rows]
        axes[0].set_yticks(places, names, fontsize=8.5)
        for axis in axes[1:]:
            axis.set_yticks(places, [""] * len(rows))
        told = "; ".join(
            f"{one.attribute} {one.value} {one.precision_at_1.value:.2f}"
            for one in rows[::-1]
            if one.precision_at_1 is not None
        )
        return [
            drawn(
                figure,
                "subgroups",
                "Each subgroup with its number of patients and 95 % interval. Dotted: all queries.",
                f"Forest plot of subgroups, P@1: {told}.",
            )
        ]


def _draw_forest(axis: Axes, usable: Sequence[tuple[int, Estimate]]) -> None:
    """Draw an estimate with its interval at each place."""
    axis.errorbar(
        [estimate.value for _, estimate in usable],
        [place for place, _ in usable],
        xerr=error_arms([estimate for _, estimate in usable]),
        fmt="o",
        color=OURS,
        ecolor=INK,
        elinewidth=1,
        capsize=2,
        markersize=5,
    )


def _shortcuts(found: Evaluation) -> list[Figure]:
    audits = found.shortcuts
    if not audits:
        return []
    with canvas(7.6, 3.0) as (figure, (axis,)):
        places = np.arange(len(audits), dtype=np.float64)
        bars = (
            ([a.agreement.excess for a in audits], "#D55E00", "attribute"),
            ([a.finding.excess for a in audits], OURS, "finding"),
            (
                [_excess_of(a.finding_within) for a in audits],
                "#56B4E9",
                "finding, within one value",
            ),
        )
        for number, (estimates, colour, label) in enumerate(bars):
            _bar(axis, places + 0.27 * (number - 1), 0.26, estimates, (colour, label))
        axis.axhline(0.0, color=INK, linewidth=0.8)
        axis.set_xticks(places, [a.attribute for a in audits])
        axis.grid(visible=False, axis="x")
        axis.set(
            title="What neighbours agree on, beyond chance", ylabel="excess agreement (1 = always)"
        )
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)
        told = "; ".join(
            f"{a.attribute} {a.agreement.excess.value:.2f} against finding "
            f"{a.finding.excess.value:.2f}"
            for a in audits
        )
        return [
            drawn(
                figure,
                "shortcuts",
                "Agreement of the first five neighbours beyond chance, with 95 % intervals by "
                "patient. An orange bar above the dark blue one is a likely shortcut.",
                f"Bar chart of agreement beyond chance: {told}.",
            )
        ]


def _excess_of(agreement: Agreement | None) -> Estimate:
    return agreement.excess if agreement is not None else Estimate(*[float("nan")] * 3)
