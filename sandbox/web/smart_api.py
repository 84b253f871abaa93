"""The authorization server's addresses: authorize, token, introspect, revoke, keys, discovery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from authlib.oauth2 import OAuth2Error
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    render_template,
    request,
    session,
)

from sandbox.web.authorization_server import build_server, no_store
from sandbox.web.backend_services import ALGORITHMS, GRANT, METHOD
from sandbox.web.ehr_session import current_account, local_path, signed_in_at, staff_only
from sandbox.web.search_parameters import PARAMETERS

if TYPE_CHECKING:
    from authlib.integrations.flask_oauth2 import AuthorizationServer
    from flask.typing import ResponseReturnValue

    from sandbox.web.accounts import Account
    from sandbox.web.hospital import Hospital
    from sandbox.web.places import Places

# Source: SMART App Launch 2.2, conformance; only what this server really does.
CAPABILITIES = (
    "launch-ehr",
    "authorize-post",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-ehr-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
)


def smart_configuration(places: Places) -> dict[str, Any]:
    """Return the document of ``.well-known/smart-configuration``."""
    base = f"{places.base_url}/auth"
    return {
        "issuer": places.fhir_base_url,
        "jwks_uri": f"{base}/jwks",
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/introspect",
        "revocation_endpoint": f"{base}/revoke",
        "grant_types_supported": ["authorization_code", "refresh_token", GRANT],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": ["client_secret_basic", METHOD],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "scopes_supported": [
            "launch",
            "openid",
            "fhirUser",
            "online_access",
            "offline_access",
            *(f"patient/{name}.rs" for name in PARAMETERS),
            "user/*.rs",
            "system/*.rs",
        ],
        "capabilities": list(CAPABILITIES),
    }


def openid_configuration(places: Places) -> dict[str, Any]:
    """Return the OpenID Connect discovery document."""
    return {
        **smart_configuration(places),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def register(app: Flask, hospital: Hospital) -> None:
    """Add the authorization server to the program."""
    doors = _Doors(hospital, build_server(app, hospital.authorization_parts()))
    auth = Blueprint("auth", __name__, url_prefix="/auth")
    auth.after_request(no_store)
    auth.add_url_rule("/authorize", view_func=doors.authorize, methods=["GET"])
    auth.add_url_rule("/authorize", view_func=doors.authorize_post, methods=["POST"])
    auth.add_url_rule("/decision", view_func=staff_only(doors.decide), methods=["POST"])
    auth.add_url_rule("/token", view_func=doors.token, methods=["POST"])
    auth.add_url_rule("/introspect", view_func=doors.introspect, methods=["POST"])
    auth.add_url_rule("/revoke", view_func=doors.revoke, methods=["POST"])
    auth.add_url_rule("/jwks", view_func=doors.id_token_keys)
    app.register_blueprint(auth)
    app.add_url_rule("/.well-known/cds-hooks-jwks.json", view_func=doors.hook_keys)
    for name, document in (
        ("openid", openid_configuration(hospital.places)),
        ("smart", smart_configuration(hospital.places)),
    ):
        address = f"/fhir/.well-known/{name}-configuration"
        app.add_url_rule(address, f"{name}_discovery", partial(_public_json, document))


class _Doors:
    """The addresses of the authorization server."""

    def __init__(self, hospital: Hospital, server: AuthorizationServer) -> None:
        self._hospital = hospital
        self._server = server

    def authorize_post(self) -> ResponseReturnValue:
        """Take the request as a form; it goes on as a query."""
        return redirect(f"/auth/authorize?{urlencode(list(request.form.items(multi=True)))}", 303)

    def authorize(self) -> ResponseReturnValue:
        """Check the request, ask who it is and whether they allow it, and send the code."""
        account = current_account()
        try:
            grant = self._server.get_consent_grant(end_user=account)
        except OAuth2Error as error:
            return self._refusal(error)
        launch = self._hospital.grants.launch(request.args.get("launch", ""))
        if account is None or launch is None:
            return render_template("sign_in.html", next_url=request.full_path, is_framed=True)
        decision = session.pop(f"decision:{launch.launch_id}", None)
        if decision is None and signed_in_at() > launch.created_at:
            scopes = sorted(set(grant.request.scope.split()))
            return render_template("consent.html", scopes=scopes, account=account, launch=launch)
        granted_by = None if decision == "refuse" else account
        return _answer(
            self._server.create_authorization_response(grant_user=granted_by, grant=grant)
        )

    def decide(self, *, account: Account) -> ResponseReturnValue:
        """Keep what the person has decided about a launch, and go on."""
        launch = self._hospital.grants.launch(request.form.get("launch", ""))
        if launch is None or launch.account != account:
            abort(400)
        decision = "allow" if request.form.get("decision") == "allow" else "refuse"
        session[f"decision:{launch.launch_id}"] = decision
        return redirect(local_path(request.form.get("next"), default="/ehr/patients"), 303)

    def token(self) -> ResponseReturnValue:
        """Change a code or a refresh token into tokens."""
        response = _answer(self._server.create_token_response())
        response.headers["Access-Control-Allow-Origin"] = self._hospital.places.app_url
        return response

    def introspect(self) -> ResponseReturnValue:
        """Say what a token is good for (RFC 7662)."""
        return _answer(self._server.create_endpoint_response("introspection"))

    def revoke(self) -> ResponseReturnValue:
        """Take a token back (RFC 7009)."""
        return _answer(self._server.create_endpoint_response("revocation"))

    def id_token_keys(self) -> ResponseReturnValue:
        """Serve the keys that check id_tokens."""
        return jsonify(self._hospital.keys.id_token_jwks())

    def hook_keys(self) -> ResponseReturnValue:
        """Serve the keys that check hook calls."""
        return _public_json(self._hospital.keys.hook_jwks())

    def _refusal(self, error: OAuth2Error) -> ResponseReturnValue:
        """Send the refusal to the app where its address is proven, else show it."""
        if error.redirect_uri:
            return _answer(self._server.handle_error_response(None, error))
        sentence = error.description or "The app's request to sign in could not be accepted."
        return render_template("refused.html", sentence=sentence), 400


def _answer(response: Any) -> Response:  # noqa: ANN401  # authlib ships no types
    """Return what authlib has answered, which is a Flask response."""
    if not isinstance(response, Response):
        raise TypeError("The authorization server gave no response.")
    return response


def _public_json(document: dict[str, Any]) -> Response:
    response = jsonify(document)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cache-Control"] = "public, max-age=60"
    return response
