"""Order entry: drafts of imaging and other investigations as ServiceRequest resources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.web.accounts import Account
    from sandbox.web.chart import Banner
    from sandbox.web.fhir_store import FhirStore, Resource

_SNOMED = "http://snomed.info/sct"
_REASON_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Orderable:
    """Something that can be ordered; without a code it is text only."""

    key: str
    display: str
    snomed_code: str | None = None


CATALOGUE = (
    Orderable("xr-chest", "X-ray chest", "399208008"),
    Orderable("ct-chest", "CT chest with contrast", "169069000"),
    Orderable("ctpa", "CT pulmonary angiography"),
    Orderable("echo", "Echocardiography", "40701008"),
    Orderable("sputum", "Sputum culture and microscopy"),
)


def draft_order(key: str, reason: str, banner: Banner, account: Account) -> Resource | None:
    """Return a draft ServiceRequest, or None if the order is not in the catalogue."""
    found = next((one for one in CATALOGUE if one.key == key), None)
    if found is None:
        return None
    code: dict[str, Any] = {"text": found.display}
    if found.snomed_code:
        code["coding"] = [{"system": _SNOMED, "code": found.snomed_code, "display": found.display}]
    order: Resource = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "code": code,
        "subject": {"reference": f"Patient/{banner.patient_id}"},
        "requester": {"reference": account.fhir_user, "display": account.display},
        "authoredOn": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if banner.encounter_id:
        order["encounter"] = {"reference": f"Encounter/{banner.encounter_id}"}
    if reason.strip():
        order["reasonCode"] = [{"text": reason.strip()[:_REASON_LIMIT]}]
    return order


def change_draft(store: FhirStore, patient_id: str, order_id: str, status: str) -> bool:
    """Set the status of a patient's draft order; tell whether there was one."""
    order = store.read("ServiceRequest", order_id)
    is_draft = order is not None and order.get("status") == "draft"
    if order is None or not is_draft or order["subject"]["reference"] != f"Patient/{patient_id}":
        return False
    store.put({**order, "status": status})
    return True
