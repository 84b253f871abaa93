"""`precedent models promote|rollback`: limits, flips, approvers, record, switch and way back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from cds.adapters.encoder_rollouts import SqlRollouts, recent_change
from cds.analysis import Analyst
from cds.cli.main import main
from cds.domain.erasure import ErasureReason, ErasureRequest
from cds.domain.errors import CdsError, Reason
from cds.domain.query import CaseQuery
from cds.domain.registration import Stage
from cds.domain.report import CaseReport
from cds.domain.rollout import RolloutKind, SiteLimits
from cds.engine import Engine, engine_from_settings
from cds.engine.encoder_rollout import INSTALLATION, EncoderRollouts
from cds.engine.erasure import library_erasure
from tests.builders.case_report import a_case_report, a_study
from tests.builders.two_encoders import (
    N_CASES,
    NEW,
    OLD,
    a_question,
    answer,
    environment,
    settings_of,
    two_encoders,
)
from tests.unit.models.radiographs import a_frame

APPROVERS = ("A. Person", "B. Person")
SEEDS = range(8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_encoders(tmp_path_factory.mktemp("installation"))


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    opened = engine_from_settings(settings_of(folder))
    yield opened
    opened.storage.engine.dispose()


@dataclass
class AskedAgain:
    """Stands for EHR and PACS: one picture for each study; the last study is gone.

    The first encoder finds nothing similar to pictures of this kind, the second does: so the
    studies with even numbers flip. Those with odd numbers are knees, which the library lacks.
    """

    engine: Engine

    def __call__(self, report: CaseReport, analyst: Analyst) -> tuple[CaseQuery, Stage]:
        assert report.study is not None
        seed = int(str(report.study.study_instance_uid).rpartition(".")[2])
        if seed == SEEDS[-1]:
            raise CdsError(Reason.NO_IMAGING, "gone")
        query = replace(a_question(self.engine, seed), ehr_id=report.ehr_id)
        if seed % 2:
            query = replace(query, frames=(replace(query.frames[0], body_part="KNEE"),))
        return query, Stage.SANDBOX


def keep_answers(engine: Engine) -> None:
    for seed in SEEDS:
        study = a_study(study_instance_uid=f"1.2.3.{seed}")
        report = a_case_report(report_id=f"00000000-0000-0000-0000-{seed:012}", study=study)
        engine.results.save(report, requested_by="test")


def limits(engine: Engine, **changes: object) -> SiteLimits:
    ids = tuple(case.case_id for case in engine.storage.catalogue.iter_cases())
    values = {"cutoff": 3, "case_ids": ids, "smallest_precision": 0.0, "largest_drop": 1.0}
    return SiteLimits(**{**values, **changes})  # type: ignore[arg-type]  # as given


def promoted(engine: Engine) -> EncoderRollouts:
    rollouts = EncoderRollouts(engine, ask_again=AskedAgain(engine))
    parts = rollouts.prepare(NEW)
    rollouts.promote(parts, rollouts.check(parts, limits(engine)), APPROVERS)
    return rollouts


def test_check_when_answers_would_change_lists_exactly_those(engine: Engine) -> None:
    keep_answers(engine)
    rollouts = EncoderRollouts(engine, ask_again=AskedAgain(engine))
    found = rollouts.check(rollouts.prepare(NEW), limits(engine)).flips
    assert [flip.report_id[-1] for flip in found.flips] in (list("0246"), list("6420"))
    flip = found.flips[0]
    assert flip.what == ("top match group", "priority", "abstention")
    assert flip.before == ("none", "Not assessed", "nothing-comparable, abstained")
    assert flip.after[1:] == ("No priority suggested", "compared")
    assert (found.n_looked_at, found.n_compared) == (len(SEEDS), len(SEEDS) - 1)
    assert found.not_compared == (("no-imaging", 1),)


def test_check_report_when_written_names_no_patient(engine: Engine) -> None:
    keep_answers(engine)
    rollouts = EncoderRollouts(engine, ask_again=AskedAgain(engine))
    text = rollouts.check(rollouts.prepare(NEW), limits(engine)).to_json()
    kept = a_case_report()
    assert kept.patient_id is not None
    assert f'"{kept.patient_id}"' not in text
    assert "study_instance_uid" not in text
    assert not any(case.case_id in text for case in engine.storage.catalogue.iter_cases())
    assert json.loads(text)["flips"]["flips"][0]["ehr_id"] == kept.ehr_id


def test_site_check_counts_hits_of_the_same_kind_without_the_own_patient(engine: Engine) -> None:
    rollouts = EncoderRollouts(engine)
    everyone = limits(engine, cutoff=N_CASES - 1)
    site = rollouts.check(rollouts.prepare(NEW), everyone, n_answers=0).site
    same_kind = (N_CASES / 3 - 1) / (N_CASES - 1)  # three kinds, equally often
    assert site.precision_before == pytest.approx(same_kind)
    assert site.precision_after == pytest.approx(same_kind)
    assert site.n_cases == N_CASES


@pytest.mark.parametrize(
    ("changes", "approvers", "said"),
    [
        ({"smallest_precision": 1.0}, APPROVERS, "agreed are at least 1.000"),
        ({"case_ids": ("unknown",)}, APPROVERS, "cannot be asked about"),
        ({}, ("A. Person",), "2 different people"),
        ({}, ("A. Person", " a. PERSON"), "2 different people"),
    ],
    ids=["below-limit", "unknown-case", "one-approver", "same-approver"],
)
def test_promote_when_something_is_missing_changes_nothing(
    engine: Engine, changes: dict[str, object], approvers: tuple[str, ...], said: str
) -> None:
    rollouts = EncoderRollouts(engine)
    parts = rollouts.prepare(NEW)
    checked = rollouts.check(parts, limits(engine, **changes), n_answers=0)
    with pytest.raises(CdsError, match=said):
        rollouts.promote(parts, checked, approvers)
    assert engine.embedder.encoder_name == OLD
    assert SqlRollouts(engine.storage.engine).all() == ()


def test_promote_when_approved_switches_notes_and_announces_for_30_days(engine: Engine) -> None:
    expected = answer(engine, NEW)
    promoted(engine)
    assert answer(engine) == expected
    (noted,) = SqlRollouts(engine.storage.engine).all()
    assert noted.kind is RolloutKind.PROMOTE
    assert noted.approvers == APPROVERS
    assert (noted.before.name, noted.after.name) == (OLD, NEW)
    (event,) = engine.audit.newest(INSTALLATION)  # type: ignore[attr-defined]  # the SQL trail
    assert (event.action, event.who) == ("encoder.promote", "A. Person, B. Person")
    sentence = engine.model_change()
    assert sentence is not None
    assert sentence.startswith("Image model changed ")
    assert sentence.endswith(
        "(encoder to second). Rankings may differ; signed reports are unchanged."
    )
    serving, now = engine.encoders.serving_hash(), noted.at
    database = engine.storage.engine
    assert recent_change(database, serving, now + timedelta(days=30)) is not None
    assert recent_change(database, serving, now + timedelta(days=30, seconds=1)) is None


def test_note_of_a_switch_that_never_came_is_not_announced(engine: Engine) -> None:
    rollouts = EncoderRollouts(engine)
    parts = rollouts.prepare(NEW)
    checked = rollouts.check(parts, limits(engine), n_answers=0)
    parts.generations.serve = _killed  # type: ignore[method-assign]  # stands for kill -9
    with pytest.raises(KeyboardInterrupt):
        rollouts.promote(parts, checked, APPROVERS)
    assert len(SqlRollouts(engine.storage.engine).all()) == 1
    assert engine.model_change() is None
    assert engine.embedder.encoder_name == OLD


def _killed() -> str:
    raise KeyboardInterrupt


def test_rollback_gives_identical_answers_under_the_same_generation(engine: Engine) -> None:
    before = [answer(engine, None, seed) for seed in SEEDS]
    rollouts = promoted(engine)
    assert [answer(engine, None, seed) for seed in SEEDS] != before
    done = rollouts.rollback(["C. Person"])
    assert [answer(engine, None, seed) for seed in SEEDS] == before
    assert (done.kind, done.after.name) == (RolloutKind.ROLLBACK, OLD)


def test_rollback_when_nothing_was_rolled_out_is_refused(engine: Engine) -> None:
    with pytest.raises(CdsError, match="No roll-out led"):
        EncoderRollouts(engine).rollback(["C. Person"])


def test_rollback_after_an_erasure_does_not_bring_the_case_back(engine: Engine) -> None:
    rollouts = promoted(engine)
    gone = next(iter(engine.storage.catalogue.iter_cases()))
    request = ErasureRequest(gone.patient_key, ErasureReason.ERASURE, "D. Person", "")
    assert library_erasure(engine).erase(request).is_proved
    rollouts.rollback(["C. Person"])
    assert engine.embedder.encoder_name == OLD
    assert engine.passport().n_cases == N_CASES - 1
    found = {n["case_id"] for n in answer(engine)["neighbors"]}  # type: ignore[attr-defined]
    assert gone.case_id not in found


def test_commands_lead_through_a_roll_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = engine_from_settings(settings_of(folder))
    ids = [case.case_id for case in engine.storage.catalogue.iter_cases()]
    engine.storage.engine.dispose()
    file = tmp_path / "limits.json"
    file.write_text(
        json.dumps({"k": 3, "cases": ids, "smallest_precision": 0.0, "largest_drop": 1.0})
    )
    promote = ["models", "promote", NEW, "--limits", str(file)]
    with environment(folder):
        assert main(promote) == 0
        assert "Nothing was switched" in capsys.readouterr().out
        assert main([*promote, "--approver", "A. Person", "--approver", "B. Person"]) == 0
        assert f"{NEW} serves now" in capsys.readouterr().out
        assert main(["models", "list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines if line.endswith("serving")] == [NEW]
        assert main(["models", "remove", NEW]) == 2
        film = str(tmp_path / "film.png")
        Image.fromarray((a_frame(3).pixels * 255).astype("uint8")).save(film)
        for name in (OLD, NEW):
            capsys.readouterr()
            assert main(["match", film, "--encoder", name, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["versions"]["encoder_name"] == name
        assert main(["match", film, "--encoder", "unknown"]) == 2
        assert main(["models", "rollback", "--by", "C. Person"]) == 0
        assert f"{OLD} serves again" in capsys.readouterr().out
        assert main(["models", "remove", NEW]) == 0
        assert main(["models", "show", OLD]) == 0
    reports = list((folder / "state" / "rollouts").iterdir())
    assert reports
    assert all(path.stat().st_mode & 0o077 == 0 for path in reports)
