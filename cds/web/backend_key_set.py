"""Our public keys, where an EHR's token server fetches them to check our assertions."""

from __future__ import annotations

from flask import Blueprint, Response

from cds.web.access import public
from cds.web.engine_surface import current_engine
from cds.web.tenant import bind_tenant, current_registration
from cds.web.wire import json_response

# A key is published this long before it may sign (`cds.adapters.backend_keys.PUBLISHED_AHEAD`).
MAX_AGE_S = 300

backend_key_set = Blueprint("backend_key_set", __name__, url_prefix="/t/<ehr_id>")
backend_key_set.url_value_preprocessor(bind_tenant)


@backend_key_set.get("/jwks.json")
@public
def key_set() -> Response:
    """Return the key set; it holds public parts only and may be cached for a while.

    References
    ----------
    SMART App Launch 2.2, "Client Authentication: Asymmetric", registering a client.

    """
    response = json_response(current_engine().backend_key_set(current_registration().ehr_id))
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_S}"
    return response
