"""What an administrator wrote about an EHR -> a registration, or every problem in one answer."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from cds.adapters.egress_policy import origin_of
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration, Stage
from cds.domain.secrecy import SecretText

SECRET_FIELDS = ("client_secret", "pacs_password")
MAX_LOOKBACK_H = 24 * 31
_EHR_ID = re.compile(r"[a-z0-9-]{1,40}")
_SYSTEM_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]*)\.(read|\*|(?=[rs])r?s?)(\?\S+)?")


def values_from_toml(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file; a secret is named by the file that holds it.

    ``client_secret_file`` and ``pacs_password_file`` are paths relative to the TOML file; a secret
    in the file itself is refused.

    Raises
    ------
    CdsError
        INVALID_REQUEST if a file cannot be read, is no TOML or holds a secret.

    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise CdsError(Reason.INVALID_REQUEST, f"{path.name} cannot be read.") from None
    except tomllib.TOMLDecodeError as error:
        raise CdsError(Reason.INVALID_REQUEST, f"{path.name} is no TOML: {error}.") from None
    for name in SECRET_FIELDS:
        if name in values:
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"{path.name} holds {name} itself; put it into a file that only you can read and "
                f"name that with {name}_file.",
            )
        if f"{name}_file" in values:
            values[name] = secret_from_file(path.parent / str(values.pop(f"{name}_file")))
    return values


def secret_from_file(path: Path) -> SecretText:
    """Return the first line of a file that nobody else can read.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it cannot be read, is empty or can be read by others.

    """
    try:
        if path.stat().st_mode & 0o077:
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"{path.name} can be read by others; set its mode to 0600 first.",
            )
        text = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise CdsError(Reason.INVALID_REQUEST, f"{path.name} cannot be read.") from None
    if not text or not text[0].strip():
        raise CdsError(Reason.INVALID_REQUEST, f"{path.name} is empty.")
    return SecretText(text[0].strip())


def registration_from_values(
    values: Mapping[str, Any], *, previous: EhrRegistration | None = None
) -> EhrRegistration:
    """Return the registration that the values describe.

    Parameters
    ----------
    values
        Names of `EhrRegistration`; secrets as `SecretText`.
    previous
        What is kept where a value is not given.

    Raises
    ------
    CdsError
        INVALID_REQUEST naming every field that is unknown, missing or has another type.

    """
    adapter: TypeAdapter[EhrRegistration] = TypeAdapter(EhrRegistration)
    known = [f.name for f in fields(EhrRegistration)]
    unknown = [name for name in values if name not in known]
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise CdsError(Reason.INVALID_REQUEST, f"An EHR has no field {unknown[0]}{hint}")
    secrets = {name: values[name] for name in SECRET_FIELDS if values.get(name) is not None}
    plain = {name: value for name, value in values.items() if name not in SECRET_FIELDS}
    kept: dict[str, Any] = {}
    if previous is not None:
        kept = adapter.dump_python(
            replace(previous, client_secret=None, pacs_password=None), mode="json"
        )
        before = {n: s for n in SECRET_FIELDS if (s := getattr(previous, n)) is not None}
        secrets = {**before, **secrets}
    try:
        found = adapter.validate_json(json.dumps({**kept, **plain}, default=str), strict=False)
    except ValidationError as error:
        problems = "; ".join(f"{_place(one['loc'])}: {one['msg']}" for one in error.errors())
        raise CdsError(Reason.INVALID_REQUEST, f"The registration is wrong: {problems}.") from None
    return replace(found, **secrets)


def check_registration(registration: EhrRegistration, *, development: bool) -> None:
    """Refuse a registration that could not work, naming every problem at once.

    Raises
    ------
    CdsError
        INVALID_REQUEST.

    """
    problems = [problem for rule in _RULES for problem in rule(registration, development)]
    if problems:
        raise CdsError(Reason.INVALID_REQUEST, "The registration is wrong: " + "; ".join(problems))


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "registration"


def _urls(registration: EhrRegistration, development: bool) -> Iterator[str]:  # noqa: FBT001  # one of the rules
    named = {
        "fhir_base_url": registration.fhir_base_url,
        "default_pacs_url": registration.default_pacs_url,
        "introspection_url": registration.introspection_url,
        **{f"origins[{i}]": url for i, url in enumerate(registration.origins)},
        **{f"cds_clients[{i}].jku": c.jku for i, c in enumerate(registration.cds_clients)},
    }
    for name, url in named.items():
        if not url:
            continue
        try:
            origin = origin_of(url)
        except CdsError:
            yield f"{name} is no http(s) address without spaces and user names"
            continue
        if origin.scheme != "https" and not development:
            yield f"{name} has no TLS (https is required unless PRECEDENT_DEVELOPMENT is on)"
        if "?" in url or "#" in url:
            yield f"{name} has a query or fragment"


def _frames(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    for text in registration.frame_ancestors:
        if not re.fullmatch(r"https?://[^/\s;,'\"]+", text):
            yield "frame_ancestors holds origins only, like https://ehr.example.org, without a path"


def _networks(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    for text in registration.permitted_networks:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield f"permitted_networks: {text!r} is no network like 10.20.0.0/16"


def _identity(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    if not _EHR_ID.fullmatch(registration.ehr_id):
        yield "the id is 1 to 40 lower-case letters, digits or hyphens"
    if registration.pacs_issuer and not registration.mrn_system:
        yield "pacs_issuer needs mrn_system: they name the same numbers in PACS and EHR"
    if bool(registration.pacs_user) != bool(registration.pacs_password):
        yield "pacs_user and pacs_password belong together"


def _cds_clients(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    for client in registration.cds_clients:
        if (client.jku is None) == (client.jwks_json is None):
            yield "each of cds_clients has either jku or jwks_json"
        elif client.jwks_json is not None and not _is_key_set(client.jwks_json):
            yield "jwks_json of cds_clients is no JSON Web Key Set"


def _is_key_set(text: str) -> bool:
    try:
        document = json.loads(text)
    except ValueError:
        return False
    return isinstance(document, dict) and isinstance(document.get("keys"), list)


def _agreements(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    try:
        ZoneInfo(registration.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"time_zone {registration.time_zone!r} is no IANA name like Europe/Berlin"
    if registration.stage is Stage.RESEARCH and not registration.protocol_number:
        yield "stage research needs protocol_number"
    if not 1 <= registration.lookback_hours <= MAX_LOOKBACK_H:
        yield f"lookback_hours is 1 to {MAX_LOOKBACK_H}"
    roles = [approval.role for approval in registration.approvals]
    if len(roles) != len(set(roles)):
        yield "approvals names one person for each role"


def _backend(registration: EhrRegistration, _development: bool) -> Iterator[str]:  # noqa: FBT001
    for scope in registration.backend_scopes:
        if not _SYSTEM_SCOPE.fullmatch(scope):
            yield f"backend_scopes: {scope!r} is no reading scope like system/Patient.rs"


_RULES: tuple[Callable[[EhrRegistration, bool], Iterator[str]], ...] = (
    _identity,
    _urls,
    _networks,
    _frames,
    _cds_clients,
    _agreements,
    _backend,
)
