"""Cards about a study, and those that have no sentence."""

from dataclasses import replace

import pytest

from cds.domain.errors import Reason
from cds.domain.registration import Stage
from cds.domain.silence import CardKind
from cds.hooks.from_report import CardSubject, card_from_subject, source_label, why_phrase
from tests.builders.answers import NOW, a_case_report, a_registration, a_study

CARD_UUID = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"


def a_subject() -> CardSubject:
    return CardSubject(
        registration=a_registration(protocol_number=None),
        study=a_study(imaging_study_id=None, accession_number=None),
        now=NOW,
        data_at=NOW,
        public_url="https://cds.example.invalid/",
        library_name="the test library",
        missing=("Observation: the EHR answered 503",),
    )


@pytest.mark.parametrize("kind", [CardKind.PROMPT, CardKind.CATEGORY_1, CardKind.READY])
def test_card_when_its_kind_has_no_sentence_is_refused(kind: CardKind) -> None:
    with pytest.raises(ValueError, match="no sentence"):
        card_from_subject(kind, a_subject(), card_uuid=CARD_UUID)


def test_card_when_not_assessed_says_what_could_not_be_read() -> None:
    card = card_from_subject(CardKind.NOT_ASSESSED, a_subject(), card_uuid=CARD_UUID)
    assert card.detail is not None
    assert "Not used: observation: the EHR answered 503." in card.detail
    assert "Stage of use: research." in card.detail
    assert card.links[0].app_context == '{"study":"2.25.1"}'


def test_card_of_a_ct_says_which_slices_were_compared() -> None:
    part = "Compared on 1 of 312 slices (no. 148); the rest was not analysed."
    subject = replace(a_subject(), report=a_case_report(compared_part=part))
    card = card_from_subject(CardKind.READY, subject, card_uuid=CARD_UUID)
    assert part in str(card.detail).replace("\\", "")


def test_subject_when_printed_shows_nothing() -> None:
    assert repr(a_subject()) == "CardSubject(<redacted>)"


@pytest.mark.parametrize(
    ("reason", "phrase"),
    [(None, "comparison not possible"), (Reason.NO_IMAGING, "no image found")],
)
def test_why_when_a_reason_is_known_names_it(reason: Reason | None, phrase: str) -> None:
    assert why_phrase(reason) == phrase


@pytest.mark.parametrize(
    ("stage", "label"),
    [(Stage.SANDBOX, "X-ray TEST"), (Stage.SILENT, "X-ray"), (Stage.RESEARCH, "X-ray")],
)
def test_source_when_in_a_stage_is_marked(stage: Stage, label: str) -> None:
    registration = a_registration(stage=stage, department_label="X-ray")
    assert source_label(registration) == label
