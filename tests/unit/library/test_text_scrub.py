"""What of a report may be shown, and that no planted identity is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.library.text_scrub import MAX_REMOVED_SHARE, REMOVED, scrub

CLEAN = (
    "The heart is normal in size. There is a small left pleural effusion. "
    "No pneumothorax or focal consolidation is seen. The bony thorax is intact."
)
SENTENCES = (
    "Seen by Dr. {name} on {date}.",
    "Reviewed with {name}, phone {phone}.",
    "Patient {name} MRN {number} was compared with {date}.",
    "Transferred from {place}.",
)


@pytest.mark.parametrize(
    "text",
    [
        CLEAN,
        "2. Stable T12 compression fracture and healed 4th rib fracture.",
        "A 67-year-old woman with cough. A mass of 3.2 x 4 cm in the right upper lobe.",
        "PORTABLE CHEST. NO ACUTE DISEASE. LUNGS ARE CLEAR.",
        "Patient's port-a-cath tip in the SVC; no x-ray signs of edema.",
    ],
)
def test_text_about_nobody_stays_as_it_is(text: str) -> None:
    assert scrub(text).text == text


@pytest.mark.parametrize(
    ("planted", "hidden"),
    [
        ("Seen by Dr. Frank Long.", ("Frank", "Long")),
        ("Read by Frank Long and Rose Hill.", ("Frank", "Rose", "Hill")),
        ("Mr. Small was informed.", ("Mr", "Small")),
        ("SEEN BY DR. MUELLER LONG.", ("DR", "MUELLER", "LONG")),
        ("Compared with 12 March 2021.", ("12", "March", "2021")),
        ("Compared with 03/12/2021 and 2021-12-03.", ("03", "12", "2021")),
        ("Call 555-123-4567 or (02) 9999 1234.", ("555", "4567", "9999", "1234")),
        ("MRN A12345, accession 20211203-77.", ("A12345", "20211203", "77")),
        ("A 94-year-old and a 95 year old woman.", ("94", "95")),
        ("Seen in Springfield, ward B12.", ("Springfield", "B12")),
        ("Mail anna.mueller@example.invalid.", ("anna", "mueller", "example", "invalid")),
        ("Signed: Žofie Nováková.", ("Žofie", "Nováková")),
    ],
)
def test_identity_when_planted_is_removed(planted: str, hidden: tuple[str, ...]) -> None:
    scrubbed = scrub(f"{CLEAN} {planted} {CLEAN}")
    assert scrubbed.is_showable
    assert REMOVED in scrubbed.text
    assert not [one for one in hidden if one in scrubbed.text]
    assert scrubbed.text.count("No pneumothorax") == 2


def test_text_with_too_many_holes_is_shown_not_at_all() -> None:
    scrubbed = scrub("Anna Mueller of Springfield, born 03/12/1950, has an effusion.")
    assert not scrubbed.is_showable
    assert scrubbed.n_removed > MAX_REMOVED_SHARE * scrubbed.n_words


@pytest.mark.parametrize("text", ["", "   ", "XXXX", "?!"])
def test_text_without_words_is_not_shown(text: str) -> None:
    assert not scrub(text).is_showable


def test_placeholders_of_an_earlier_deidentification_do_not_count() -> None:
    scrubbed = scrub("Compared with XXXX. XXXX XXXX XXXX clear lungs.")
    assert (scrubbed.n_removed, scrubbed.is_showable) == (0, True)
    assert "XXXX" not in scrubbed.text


def _syllables(count: int) -> st.SearchStrategy[str]:
    syllable = st.tuples(st.sampled_from("bcdfgklmnprtvwz"), st.sampled_from("aeiouyäöü"))
    return st.lists(syllable, min_size=count, max_size=count + 2).map(
        lambda parts: "q" + "".join(a + b for a, b in parts)  # no word of the list begins so
    )


@st.composite
def planted_identities(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A sentence about somebody, and what in it must not survive."""
    upper = draw(st.sampled_from((str.title, str.upper, str.lower)))
    year, month, day = (
        draw(st.integers(1920, 2030)),
        draw(st.integers(1, 12)),
        draw(st.integers(1, 28)),
    )
    form = draw(st.sampled_from(("{y}-{m:02d}-{d:02d}", "{d:02d}.{m:02d}.{y}", "{m}/{d}/{y}")))
    number = draw(st.integers(10_000, 10**9))
    values = {
        "name": upper(draw(_syllables(2))),
        "place": upper(draw(_syllables(3))),
        "date": form.format(y=year, m=month, d=day),
        "phone": f"+49 {number}",
        "number": str(number),
    }
    sentence = draw(st.sampled_from(SENTENCES))
    used = {key: value for key, value in values.items() if "{" + key + "}" in sentence}
    return sentence.format(**values), {**used, "year": str(year), "digits": str(number)}


@given(planted=planted_identities())
def test_planted_name_date_and_number_never_survive(planted: tuple[str, dict[str, str]]) -> None:
    sentence, hidden = planted
    text = scrub(f"{CLEAN} {sentence} {CLEAN}").text
    assert not [value for value in hidden.values() if value in text]


def test_public_reports_when_scrubbed_keep_most_of_their_words(shared_dir: Path) -> None:
    path = shared_dir / "data" / "openi_reports" / "reports.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        texts = [f"{row['findings']} {row['impression']}".strip() for row in csv.DictReader(stream)]
    scrubbed = [scrub(text) for text in texts if text]
    n_words = sum(one.n_words for one in scrubbed)
    assert sum(one.is_showable for one in scrubbed) >= 0.99 * len(scrubbed)
    assert sum(one.n_removed for one in scrubbed) <= 0.015 * n_words
