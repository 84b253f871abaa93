"""What is remembered about arriving studies: sightings, excluded patients, subscriptions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from cds.adapters.sql.job_models import FhirSubscription, PrecomputeExclusion, StudySighting
from cds.domain.arrival import FoundStudy
from cds.domain.completeness import InstanceCount
from cds.domain.secrecy import SecretText
from cds.ports import Clock, IdentityKeys

SIGHTINGS_KEPT = timedelta(days=30)


class SqlArrivalMemory:
    """Remembers by keyed hashes only: no UID, no patient."""

    def __init__(self, engine: Engine, keys: IdentityKeys, clock: Clock) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock

    def is_new(self, ehr_id: str, found: FoundStudy) -> bool:
        """Tell whether a listed study was never seen, or has another number of instances now."""
        key = self._keys.study_key(found.study_instance_uid)
        with Session(self._engine) as session:
            row = session.get(StudySighting, (ehr_id, key))
        return row is None or row.n_listed != found.n_instances

    def mark_seen(self, ehr_id: str, found: FoundStudy) -> None:
        """Remember that a listed study was taken up."""
        with Session(self._engine) as session, session.begin():
            row = self._row(session, ehr_id, found.study_instance_uid)
            row.n_listed = found.n_instances

    def count(self, ehr_id: str, study_instance_uid: str, n_instances: int) -> InstanceCount:
        """Note how many instances a study has now, and return since when it has had as many."""
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            row = self._row(session, ehr_id, study_instance_uid)
            counted = InstanceCount(n_instances, now)
            if row.n_instances is not None and row.unchanged_since is not None:
                earlier = InstanceCount(row.n_instances, row.unchanged_since)
                counted = earlier.followed_by(n_instances, now)
            row.n_instances, row.unchanged_since = counted.n_instances, counted.since_at
            return counted

    def purge(self) -> None:
        """Forget sightings that are older than any look-back."""
        before = self._clock.now() - SIGHTINGS_KEPT
        with Session(self._engine) as session, session.begin():
            session.execute(delete(StudySighting).where(StudySighting.seen_at < before))

    def exclude(self, ehr_id: str, patient_id: str) -> None:
        """Never analyse a patient's studies before somebody asks; a second time changes nothing."""
        key = self._keys.patient_key(f"fhir-id:{ehr_id}", patient_id)
        with Session(self._engine) as session, session.begin():
            if session.get(PrecomputeExclusion, (ehr_id, key)) is None:
                now = self._clock.now()
                session.add(PrecomputeExclusion(ehr_id=ehr_id, patient_key=key, created_at=now))

    def readmit(self, ehr_id: str, patient_id: str) -> None:
        """Take a patient off the site's list; absent is fine."""
        key = self._keys.patient_key(f"fhir-id:{ehr_id}", patient_id)
        with Session(self._engine) as session, session.begin():
            row = session.get(PrecomputeExclusion, (ehr_id, key))
            if row is not None:
                session.delete(row)

    def is_excluded(self, ehr_id: str, patient_id: str) -> bool:
        """Tell whether a patient is on the site's list."""
        key = self._keys.patient_key(f"fhir-id:{ehr_id}", patient_id)
        with Session(self._engine) as session:
            return session.get(PrecomputeExclusion, (ehr_id, key)) is not None

    def add_subscription(self, ehr_id: str) -> tuple[str, SecretText]:
        """Make a subscription of ours; return its id and the secret, which is kept only hashed."""
        subscription_id, secret = secrets.token_hex(16), secrets.token_urlsafe(32)
        row = FhirSubscription(
            ehr_id=ehr_id,
            subscription_id=subscription_id,
            secret_hash=_hash(secret),
            created_at=self._clock.now(),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)
        return subscription_id, SecretText(secret)

    def remove_subscription(self, ehr_id: str, subscription_id: str) -> None:
        """Refuse a subscription's notifications from now on; absent is fine."""
        with Session(self._engine) as session, session.begin():
            row = session.get(FhirSubscription, (ehr_id, subscription_id))
            if row is not None:
                session.delete(row)

    def remove_subscriptions(self, ehr_id: str) -> None:
        """Refuse every subscription of an EHR from now on, whoever is registered as it later."""
        query = delete(FhirSubscription).where(FhirSubscription.ehr_id == ehr_id)
        with Session(self._engine) as session, session.begin():
            session.execute(query)

    def may_notify(self, ehr_id: str, subscription_id: str, secret: str) -> bool:
        """Tell whether this is the secret of this EHR's subscription; note the time if it is."""
        with Session(self._engine) as session, session.begin():
            row = session.get(FhirSubscription, (ehr_id, subscription_id))
            expected = row.secret_hash if row is not None else _hash("")
            is_right = hmac.compare_digest(_hash(secret), expected) and bool(secret)
            if row is None or not is_right:
                return False
            row.last_notified_at = self._clock.now()
            return True

    def _row(self, session: Session, ehr_id: str, study_instance_uid: str) -> StudySighting:
        now, key = self._clock.now(), self._keys.study_key(study_instance_uid)
        row = session.get(StudySighting, (ehr_id, key))
        if row is None:
            row = StudySighting(ehr_id=ehr_id, study_key=key, seen_at=now)
            session.add(row)
        row.seen_at = now
        return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
