import csv
from collections import Counter
from pathlib import Path

import pytest

from cds.library.report_findings import (
    Assertion,
    findings_from_report,
    stated_findings,
)


def assertions(text: str) -> dict[str, Assertion]:
    return {f.finding.coding.display: f.assertion for f in findings_from_report(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("No pneumothorax.", Assertion.ABSENT, id="plain"),
        pytest.param(
            "There is no focal consolidation, pleural effusion, or pneumothorax.",
            Assertion.ABSENT,
            id="list",
        ),
        pytest.param("Pneumothorax is not seen.", Assertion.ABSENT, id="after"),
        pytest.param("The pneumothorax has resolved.", Assertion.ABSENT, id="resolved"),
        pytest.param("Negative for pneumothorax.", Assertion.ABSENT, id="negative-for"),
        pytest.param("Small left apical pneumothorax.", Assertion.PRESENT, id="present"),
        pytest.param("Pneumothorax, unchanged.", Assertion.PRESENT, id="unchanged"),
        pytest.param(
            "No significant change in the small pneumothorax.", Assertion.PRESENT, id="no-change"
        ),
        pytest.param("Pneumothorax cannot be excluded.", Assertion.UNCERTAIN, id="not-excluded"),
        pytest.param("Possible small pneumothorax.", Assertion.UNCERTAIN, id="possible"),
        pytest.param("History of pneumothorax.", Assertion.EARLIER, id="history"),
        pytest.param(
            "No effusion on the right, but a left pneumothorax.", Assertion.PRESENT, id="but"
        ),
        pytest.param(
            "No rib fracture.\nThere is a pneumothorax.", Assertion.PRESENT, id="next-sentence"
        ),
        pytest.param(
            "No pneumothorax on the left. Pneumothorax on the right.",
            Assertion.PRESENT,
            id="one-side",
        ),
    ],
)
def test_pneumothorax_when_a_report_speaks_of_it_is_read(text: str, expected: Assertion) -> None:
    assert assertions(text)["Pneumothorax"] is expected


def test_indication_when_it_asks_for_a_finding_states_nothing() -> None:
    text = (
        "INDICATION: pneumonia? rule out effusion\nFINDINGS: Heart is normal.\nIMPRESSION: Clear."
    )
    assert findings_from_report(text) == ()


def test_findings_when_stated_are_signs_proved_by_the_report() -> None:
    (finding,) = stated_findings("Moderate cardiomegaly. No effusion. Possible pneumonia.")
    assert (finding.coding.code, finding.proof, finding.is_diagnosis) == (
        "8186001",
        "report",
        False,
    )


def test_empty_text_when_read_states_nothing() -> None:
    assert findings_from_report("") == ()


# Finding -> MeSH headings that the indexers of the collection gave, and what was measured on all
# 3,955 reports (docs/library.md): recall and precision must not fall below these.
FLOORS = {
    "Pneumothorax": ({"pneumothorax", "hydropneumothorax"}, 0.78, 0.88),
    "Pleural effusion": ({"pleural effusion"}, 0.86, 0.88),
    "Cardiomegaly": ({"cardiomegaly"}, 0.84, 0.92),
    "Atelectasis": ({"pulmonary atelectasis"}, 0.85, 0.92),
    "Emphysema": ({"emphysema", "pulmonary emphysema"}, 0.94, 0.88),
}


def test_findings_when_compared_with_indexed_reports_agree(shared_dir: Path) -> None:
    counts = {name: Counter[tuple[bool, bool]]() for name in FLOORS}
    with (shared_dir / "data/openi_reports/reports.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            headings = {h.split("/")[0].strip().lower() for h in row["mesh_major"].split("|")}
            found = assertions(f"{row['findings']}\n\n{row['impression']}")
            for name, (mesh, _, _) in FLOORS.items():
                is_stated = found.get(name) is Assertion.PRESENT
                counts[name][bool(headings & mesh), is_stated] += 1
    for name, (_, recall, precision) in FLOORS.items():
        count = counts[name]
        assert count[True, True] / (count[True, True] + count[True, False]) >= recall, name
        assert count[True, True] / (count[True, True] + count[False, True]) >= precision, name
