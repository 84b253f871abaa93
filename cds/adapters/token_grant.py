"""One request to a token server: client credentials in, an access token or a sentence out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

from cds.adapters.client_assertion import ASSERTION_TYPE
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.ports import Deadline

PEER = "The EHR's token server"
DEFAULT_LIFETIME_S = 60  # where the server does not say (SMART: at most 300): short, it is a guess
MAX_LIFETIME_S = 3600
NOTED_SKEW = timedelta(seconds=60)
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is asked of which token server, for whom."""

    ehr_id: str
    client_id: str
    token_endpoint: str
    scope: str
    key_id: str


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """An access token with what the server said about it."""

    access_token: SecretText
    expires_at: datetime
    scope: str
    server_clock_ahead: timedelta | None = field(default=None)


def request_token(
    http: EgressClient,
    asked: TokenRequest,
    assertion: SecretText,
    *,
    now: datetime,
    deadline: Deadline,
) -> TokenGrant:
    """Ask for an access token.

    Parameters
    ----------
    http
        Of this EHR.
    asked, assertion
        The request and the signed statement; the latter is used once.
    now
        Our time, to say when the token ends and how far the clocks differ.
    deadline
        Bounds the call; nothing is retried.

    Raises
    ------
    CdsError
        UPSTREAM_REFUSED if the server refuses us, with its code as the fact ``error``;
        UPSTREAM_FAILED if it cannot be reached or its answer cannot be used; EGRESS_REFUSED;
        DEADLINE. Sentences hold neither token nor assertion, nor the server's own text.

    References
    ----------
    SMART App Launch 2.2, "Backend Services"; RFC 6749, 4.4 and 5.

    """
    session = http.session(
        deadline=deadline, max_bytes=MAX_ANSWER_BYTES, any_status=True, peer_name=PEER
    )  # the name holds where EHR and token server share an origin
    form = {
        "grant_type": "client_credentials",
        "scope": asked.scope,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion.reveal(),
    }
    try:
        response = session.post(
            asked.token_endpoint, data=form, headers={"Accept": "application/json"}
        )
    except CdsError as error:
        hint = f"No access token: `precedent ehr check {asked.ehr_id}` shows at which step."
        raise CdsError(error.reason, f"{error.sentence} {hint}", **error.facts) from error
    ahead = clock_ahead(response.headers, now)
    members = _members(response.content)
    if response.status_code != 200:
        _refuse(response.status_code, members, asked, ahead)
    return _grant(members, asked, now, ahead)


def clock_ahead(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how far a server's clock is ahead of ours by its Date header; None without one.

    The header counts whole seconds and is as old as the answer took.

    Examples
    --------
    >>> from datetime import UTC
    >>> now = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
    >>> clock_ahead({"Date": "Mon, 05 Jan 2026 12:01:30 GMT"}, now).total_seconds()
    90.0

    """
    text = headers.get("Date")
    if not text:
        return None
    try:
        told = parsedate_to_datetime(text)
    except ValueError:
        return None
    return None if told.tzinfo is None else told - now


def _members(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _grant(
    members: Mapping[str, Any], asked: TokenRequest, now: datetime, ahead: timedelta | None
) -> TokenGrant:
    token, kind = members.get("access_token"), members.get("token_type")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise _unusable("it holds no access token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _unusable("its token is no bearer token")
    scope = members.get("scope", asked.scope)  # RFC 6749, 5.1: absent means as asked
    if not isinstance(scope, str):
        raise _unusable("its scope is no text")
    lifetime = timedelta(seconds=_lifetime_s(members.get("expires_in")))
    return TokenGrant(SecretText(token), now + lifetime, scope, ahead)


def _lifetime_s(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return DEFAULT_LIFETIME_S
    return int(min(value, MAX_LIFETIME_S))


def _unusable(why: str) -> CdsError:
    return CdsError(
        Reason.UPSTREAM_FAILED,
        f"{PEER} answered 200, but {why}; ask the EHR team what its token endpoint sends.",
        status=200,
    )


def _refuse(
    status: int, members: Mapping[str, Any], asked: TokenRequest, ahead: timedelta | None
) -> NoReturn:
    """Raise with what a person can do about it; RFC 6749, 5.2 names the codes."""
    code = members.get("error")
    if not isinstance(code, str) or code not in _ADVICE:
        if status in {401, 403}:
            code = "invalid_client"
        else:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"{PEER} answered {status} and no error code that OAuth knows; "
                "ask the EHR team for its log of this minute.",
                status=status,
            )
    advice = _ADVICE[code].format(
        client_id=asked.client_id, key_id=asked.key_id, ehr_id=asked.ehr_id, scope=asked.scope
    )
    raise CdsError(
        Reason.UPSTREAM_REFUSED,
        f"{PEER} refused us ({status}, {code}): {advice}{_skew_hint(ahead)}",
        status=status,
        error=code,
    )


def _skew_hint(ahead: timedelta | None) -> str:
    if ahead is None or abs(ahead) < NOTED_SKEW:
        return ""
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    seconds = abs(round(ahead.total_seconds()))
    return (
        f" Its clock is {seconds} s {direction} ours, which is reason enough to refuse: "
        "synchronise both by NTP."
    )


_ADVICE = {
    "invalid_client": (
        "it does not accept client {client_id} signing with key {key_id}. Check that this client "
        "id is registered there for backend services with the key set that "
        "`precedent ehr show {ehr_id}` prints, and that the EHR can fetch that address."
    ),
    "invalid_grant": (
        "it does not accept the assertion of client {client_id}. Check the client id and the key "
        "set that `precedent ehr show {ehr_id}` prints."
    ),
    "invalid_scope": (
        "it does not know, or does not allow client {client_id}, one of the scopes {scope}. Have "
        "them granted to the client, or register fewer (--backend-scope)."
    ),
    "unauthorized_client": (
        "client {client_id} may not use the grant client_credentials. Have the client registered "
        "for backend services (system access), not only for app launch."
    ),
    "unsupported_grant_type": (
        "it does not offer the grant client_credentials. Ask the EHR team whether backend services "
        "are enabled and which token endpoint serves them."
    ),
    "invalid_request": (
        "it cannot read the request. Ask the EHR team for its log of this minute: the request has "
        "grant_type, scope, client_assertion_type and client_assertion, as SMART asks."
    ),
    "temporarily_unavailable": "it says that it is temporarily unavailable. Try again later.",
    "server_error": "it reports a failure of its own. Tell the EHR team.",
}
