"""How the EHR starts the app: a launch of its own, and only at the registered address."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from sandbox.web.cds_client import ViewedChart
    from sandbox.web.hospital import Hospital

_CONTEXT_LIMIT = 4000


def launch_address(hospital: Hospital, chart: ViewedChart, wanted: dict[str, Any]) -> str | None:
    """Return the address that opens the app for a chart, or None if it is not a registered one.

    Parameters
    ----------
    wanted
        ``url`` and ``appContext`` of a card's smart link, or ``study`` (an ImagingStudy id) when
        the person asked without a card.

    """
    url = str(wanted.get("url") or hospital.places.launch_url)
    if url != hospital.places.launch_url:
        return None
    app_context = str(wanted.get("appContext") or "")[:_CONTEXT_LIMIT]
    imaging_study_id = _study_of(hospital, chart, wanted, app_context)
    context = ({"reference": f"ImagingStudy/{imaging_study_id}"},) if imaging_study_id else ()
    launch = hospital.grants.open_launch(
        chart.account,
        chart.patient_id,
        encounter_id=chart.encounter_id,
        app_context=app_context or None,
        fhir_context=context,
    )
    query = urlencode({"iss": hospital.places.fhir_base_url, "launch": launch.launch_id})
    return f"{url}?{query}"


def _study_of(
    hospital: Hospital, chart: ViewedChart, wanted: dict[str, Any], app_context: str
) -> str | None:
    """Return the id of the patient's study that the launch is about, if one is named."""
    own = hospital.store.of_patient("ImagingStudy", chart.patient_id)
    named = str(wanted.get("study") or _study_in(app_context))
    for study in own:
        uids = {
            str(i.get("value", "")).removeprefix("urn:oid:") for i in study.get("identifier", ())
        }
        if named and named in {study["id"], f"ImagingStudy/{study['id']}", *uids}:
            return str(study["id"])
    return None


def _study_in(app_context: str) -> str:
    try:
        read = json.loads(app_context)
    except ValueError:
        return ""
    return str(read.get("study", "")) if isinstance(read, dict) else ""
