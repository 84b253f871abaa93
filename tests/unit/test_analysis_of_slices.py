"""A CT or MR is compared on key slices, says so, and claims nothing beyond them."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cds.domain.key_slices import BY_POSITION, SlicePlace
from cds.domain.report import AnswerState, Priority
from cds.fhir.exported_sentences import report_sentences
from smart_app.pages.answer_parts import answer_parts
from tests.unit.test_analysis import STUDY, Peers, a_frame, for_hook

CT = replace(STUDY, modality="CT", n_instances=640)
SENTENCE = (
    "Compared on 5 of 312 slices (no. 100, 128, 156, 184, 212), chosen by even spacing "
    "over the middle of one series in order of slice position; the rest was not analysed."
)


def a_slice(number: int, **overrides):
    place = SlicePlace(number, 312, BY_POSITION)
    values = {"modality": "CT", "view_position": None, "slice_place": place, **overrides}
    return replace(a_frame(), **values)


class SlicePeers(Peers):
    """Peers that remember what was embedded, and give each picture its own direction."""

    def __init__(self, *frames) -> None:
        super().__init__((CT,))
        self.frames = frames
        self.embedded: list = []
        self.queries: list = []

    def embed(self, frames):
        self.embedded = list(frames)
        return super().embed(frames)

    def rank(self, query, eligibility, *, cutoff):
        self.queries.append(query)
        return super().rank(query, eligibility, cutoff=cutoff)


def test_ct_is_compared_on_its_key_slices_and_says_which():
    peers = SlicePeers(*(a_slice(n) for n in (156, 100, 128, 184, 212)))
    report = for_hook(peers).report
    assert report is not None
    assert len(peers.embedded) == 5
    assert len(peers.queries[0].images()) == 5
    assert report.state is AnswerState.COMPARED
    assert report.compared_part == SENTENCE
    assert report.inputs_used[0] == "picture: 5 slices"
    assert SENTENCE in report_sentences(report)
    assert SENTENCE in answer_parts(report, ZoneInfo("Europe/Berlin")).notices


def test_ct_that_was_compared_states_no_finding_and_no_priority():
    report = for_hook(SlicePeers(a_slice(156))).report
    assert report is not None
    assert report.neighbors
    assert report.findings == ()
    assert report.priority is Priority.NOT_ASSESSED
    assert report.priority_sentence == (
        "Not assessed: only a few slices were compared. Place in the list unchanged."
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"pixels": np.zeros((128, 128), np.float32)}, id="flat"),
        pytest.param({"pixels": np.eye(32, dtype=np.float32)}, id="thumbnail"),
        pytest.param({"slice_place": None}, id="of-no-series"),
        pytest.param({"modality": "OT"}, id="screenshot"),
    ],
)
def test_slice_that_shows_nothing_is_neither_compared_nor_named(other):
    peers = SlicePeers(a_slice(156), a_slice(100), a_slice(128, **other))
    report = for_hook(peers).report
    assert report is not None
    assert len(peers.embedded) == 2
    assert "Compared on 2 of 312 slices (no. 100, 156)" in str(report.compared_part)


def test_same_object_at_another_slice_is_another_question():
    first = SlicePeers(a_slice(156))
    again = SlicePeers(a_slice(157))
    again.kept = first.kept
    assert for_hook(first).report != for_hook(again).report
    assert again.ranked == 1


def test_two_films_are_still_compared_on_the_first_alone():
    peers = SlicePeers(a_frame(), a_frame())
    peers.studies = (STUDY,)
    report = for_hook(peers).report
    assert report is not None
    assert len(peers.embedded) == 1
    assert peers.queries[0].more_images == ()
    assert report.inputs_used[0] == "picture: the first frontal frame"
    assert report.compared_part is None
    assert report.priority is Priority.NONE


def test_single_slice_without_a_series_says_that_the_rest_was_not_analysed():
    peers = SlicePeers(a_slice(156, slice_place=None))
    report = for_hook(peers).report
    assert report is not None
    assert report.compared_part == (
        "Compared on 1 of 640 slices, chosen by whoever sent it; the rest was not analysed."
    )
