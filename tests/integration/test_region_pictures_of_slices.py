"""The regions of a CT pair are those of the slices that matched, from import to picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cds.cli.main import main
from cds.domain.case import LibraryCase
from cds.domain.errors import CdsError, Reason
from cds.domain.launch import StudyHint
from cds.domain.pixels import PixelFrame
from cds.domain.query import BlockWeights
from cds.domain.region_pair import RegionPair
from cds.domain.report import CaseReport, Neighbor
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.engine import Engine, engine_from_settings
from cds.library.picture_preparation import from_png
from cds.ports import FhirAccess
from cds.settings import Settings
from tests.builders.dicom import STUDY_INSTANCE_UID, a_dicom_instance
from tests.builders.fhir import PATIENT_ID, a_patient, an_imaging_study
from tests.builders.registration import a_registration
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.fhir_server import TOKEN, FhirServer
from tests.fakes.http_server import a_server

N_SLICES = 21
MIDDLE = 11
KEY_SLICES = (MIDDLE, 5, 8, 14, 17)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
QUERY = 0  # the patient's study; the library's are numbered from 1


def a_slice_of(study: int, number: int) -> bytes:
    """A slice of a series of 21; each shows something else."""
    study_uid = f"{STUDY_INSTANCE_UID}.{study}" if study else STUDY_INSTANCE_UID
    return a_dicom_instance(
        _texture(study, number),
        SOPClassUID=CT_IMAGE,
        StudyInstanceUID=study_uid,
        SeriesInstanceUID=f"{study_uid}.1",
        SOPInstanceUID=f"{study_uid}.1.{number}",
        PatientID=f"P{100 + study}",
        Modality="CT",
        ViewPosition=None,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        InstanceNumber=number,
        ImagePositionPatient=[0.0, 0.0, 5.0 * number],
        ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def _texture(study: int, number: int) -> NDArray[np.uint16]:
    coarse = np.random.default_rng([study, number]).integers(0, 255, (6, 6)).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((160, 160), Image.Resampling.BICUBIC)
    return np.asarray(smooth).astype(np.uint16) * 16


@dataclass
class Site:
    """An installation whose library holds series, and the patient's right to be compared."""

    engine: Engine
    access: FhirAccess
    pacs: DicomwebServer

    def report(self) -> CaseReport:
        analysis = self.engine.analyse_for_launch(
            self.access,
            study_hint=StudyHint(study_instance_uid=STUDY_INSTANCE_UID),
            weights=BlockWeights(1.0),
            deadline=TimeLimit(60),
        )
        assert analysis.report is not None
        return analysis.report

    def regions(self, report: CaseReport, neighbor: Neighbor) -> NDArray[np.uint8]:
        pictures = self.engine.region_pictures(
            self.access,
            StudyRef(study_instance_uid=STUDY_INSTANCE_UID),
            RegionPair(report.report_id, neighbor.case_id, str(neighbor.picture_id)),
            who="Practitioner/okafor",
            deadline=TimeLimit(60),
        )
        return np.asarray(Image.open(BytesIO(pictures.png)))

    def case_of(self, neighbor: Neighbor) -> LibraryCase:
        case = self.engine.storage.catalogue.case_by_id(neighbor.case_id)
        assert case is not None
        return case

    def kept(self, case: LibraryCase) -> dict[str, PixelFrame]:
        blobs = self.engine.storage.blobs
        return {p.picture_id: from_png(blobs.get(p.blob_key)) for p in case.pictures}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, state = (tmp_path_factory.mktemp(name) for name in ("series", "state"))
    for study, number in product(range(1, 9), range(1, N_SLICES + 1)):
        (folder / f"{study}-{number:02}.dcm").write_bytes(a_slice_of(study, number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEDENT_STATE_DIR", str(state))
        assert main(["init"]) == 0
        assert main(["library", "import", str(folder)]) == 0
    listed = an_imaging_study(numberOfInstances=N_SLICES)
    listed["series"][0]["modality"]["code"] = "CT"
    fhir = FhirServer(a_patient(), listed)
    pacs = DicomwebServer(*(a_slice_of(QUERY, number) for number in range(1, N_SLICES + 1)))
    with a_server(fhir) as ehr, a_server(pacs) as images:
        fhir.base_url = f"{ehr.url}/fhir"
        registration = a_registration(
            fhir_base_url=fhir.base_url,
            default_pacs_url=f"{images.url}/dicomweb",
            permitted_networks=("127.0.0.0/8",),
        )
        engine = engine_from_settings(Settings(state_dir=state, development=True))
        yield Site(engine, FhirAccess(registration, SecretText(TOKEN), PATIENT_ID), pacs)


@pytest.fixture(scope="module")
def report(site: Site) -> CaseReport:
    return site.report()


def off_the_middle(report: CaseReport) -> tuple[Neighbor, int]:
    """Return a matched case that was found by another slice than the first frame."""
    for neighbor in report.neighbors:
        if neighbor.query_place is not None and neighbor.query_place.number != MIDDLE:
            return neighbor, neighbor.query_place.number
    raise AssertionError("every case was found by the middle slice: choose other textures")


def test_case_of_a_series_is_kept_with_the_places_of_its_slices(site: Site) -> None:
    for case in site.engine.storage.catalogue.iter_cases():
        places = [picture.slice_place for picture in case.pictures]
        assert tuple(p and p.number for p in places) == KEY_SLICES
        assert {p and p.n_slices for p in places} == {N_SLICES}


def test_neighbors_name_the_pair_of_slices_that_is_most_similar(
    site: Site, report: CaseReport
) -> None:
    embedder = site.engine.embedder
    scaled = {n: _frame(QUERY, n) for n in KEY_SLICES}
    query = {n: embedder.embed([frame])[0].vector for n, frame in scaled.items()}
    assert len(report.neighbors) >= 5
    for neighbor in report.neighbors:
        case = site.case_of(neighbor)
        found = {
            (number, picture_id): float(vector @ embedder.embed([frame])[0].vector)
            for picture_id, frame in site.kept(case).items()
            for number, vector in query.items()
        }
        assert neighbor.query_place is not None
        named = (neighbor.query_place.number, str(neighbor.picture_id))
        assert found[named] == pytest.approx(max(found.values()), abs=1e-3)
        assert neighbor.image_similarity == pytest.approx(found[named], abs=1e-3)
        shown = next(p for p in case.pictures if p.picture_id == neighbor.picture_id)
        assert neighbor.case_place == shown.slice_place


def test_regions_lie_over_the_slices_that_matched(site: Site, report: CaseReport) -> None:
    neighbor, number = off_the_middle(report)
    sheet = site.regions(report, neighbor).astype(float).mean(axis=2)
    side = sheet.shape[0]
    assert sheet.shape == (side, 2 * side)
    query = {n: _likeness(sheet[:, :side], _frame(QUERY, n)) for n in KEY_SLICES}
    assert max(query, key=lambda n: query[n]) == number
    kept = site.kept(site.case_of(neighbor))
    case = {i: _likeness(sheet[:, side:], frame) for i, frame in kept.items()}
    assert max(case, key=lambda i: case[i]) == neighbor.picture_id


def test_regions_when_the_pacs_no_longer_gives_the_slice_are_refused(
    site: Site, report: CaseReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbor, _ = off_the_middle(report)
    monkeypatch.setattr(site.pacs, "contents", site.pacs.contents[:3])
    with pytest.raises(CdsError, match="no longer gives the slice") as refused:
        site.regions(report, neighbor)
    assert refused.value.reason is Reason.NOT_FOUND


def test_regions_when_the_case_is_not_in_the_answer_are_refused(
    site: Site, report: CaseReport
) -> None:
    with pytest.raises(CdsError, match="no longer part of the answer") as refused:
        site.regions(report, replace(report.neighbors[0], picture_id="another"))
    assert refused.value.reason is Reason.NOT_FOUND


def _frame(study: int, number: int) -> PixelFrame:
    pixels = _texture(study, number).astype(np.float32)
    low, high = pixels.min(), pixels.max()
    return PixelFrame((pixels - low) / (high - low), content_sha256="")


def _likeness(shown: NDArray[np.float64], frame: PixelFrame) -> float:
    return float(np.corrcoef(shown.ravel(), frame.pixels.ravel())[0, 1])
