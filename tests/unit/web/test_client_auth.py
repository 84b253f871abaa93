"""The JWT of a CDS client: each header and claim that is wrong is refused, and named."""

import base64
import hmac
from datetime import timedelta
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey, RSAKey

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import CdsClient
from cds.domain.time_limit import TimeLimit
from cds.web.client_auth import TokenCheck, VerifiedClient, verify
from cds.web.key_sets import FRESH_S, REFETCH_S, STALE_S, KeySets
from tests.builders.answers import EHR_ID, NOW, a_registration
from tests.fakes.cds_client import ISSUER, JKU, CdsClientDouble, ec_key, rsa_key
from tests.fakes.clock import FixedClock
from tests.fakes.engine import FakeEngine, FakeRegistrations

AUDIENCE = "https://cds.example.invalid/t/st-brevis/cds-services/x"


class Scene:
    """A registered client, its key set, and our side of the check."""

    def __init__(self, *, key: ECKey | RSAKey | None = None, **registration: Any) -> None:
        self.clock = FixedClock(NOW)
        self.client = CdsClientDouble(self.clock, key=key)
        self.registration = a_registration(**registration)
        self.engine = FakeEngine(self.clock, FakeRegistrations((self.registration,)))
        self.engine.key_sets[JKU] = self.client.key_set()
        self.seconds = 0.0
        self.key_sets = KeySets(lambda: self.seconds)

    def verify(self, token: str | None = None, **over: Any) -> VerifiedClient:
        check = TokenCheck(
            engine=self.engine,
            registration=self.registration,
            key_sets=self.key_sets,
            audience=AUDIENCE,
            deadline=TimeLimit(1.0),
        )
        return verify(token or self.client.token(AUDIENCE, **over), check)

    def refusal(self, token: str | None = None, **over: Any) -> str:
        with pytest.raises(CdsError) as caught:
            self.verify(token, **over)
        assert caught.value.reason is Reason.NOT_AUTHENTICATED
        return caught.value.sentence


def seconds(**delta: float) -> int:
    return int((NOW + timedelta(**delta)).timestamp())


def test_token_when_right_names_its_client() -> None:
    assert Scene().verify() == VerifiedClient(ISSUER, EHR_ID)


def test_token_when_signed_with_rs384_is_accepted() -> None:
    assert Scene(key=rsa_key()).verify().issuer == ISSUER


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"claims": {"tenant": "a", "sub": "b", "vendor": 1}}, id="extra-claims"),
        pytest.param({"claims": {"nbf": seconds()}}, id="nbf"),
        pytest.param({"header": {"jku": None}}, id="no-jku"),
        pytest.param({"header": {"typ": "jwt"}}, id="typ-lower-case"),
        pytest.param({"claims": {"exp": seconds(seconds=-29)}}, id="exp-within-leeway"),
        pytest.param({"claims": {"iat": seconds(seconds=29)}}, id="iat-within-leeway"),
        pytest.param({"claims": {"exp": seconds(minutes=10)}}, id="ten-minutes"),
        pytest.param({"claims": {"exp": seconds(minutes=5) + 0.5}}, id="fraction"),
    ],
)
def test_token_when_unusual_but_right_is_accepted(over: dict[str, Any]) -> None:
    assert Scene().verify(**over).issuer == ISSUER


@pytest.mark.requirement("HOOKS-JWT-AUDIENCE")
@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        pytest.param(AUDIENCE, True, id="equal"),
        pytest.param(["https://other.example.invalid/", AUDIENCE], True, id="among-several"),
        pytest.param(AUDIENCE + "/", False, id="slash"),
        pytest.param("https://cds.example.invalid", False, id="host-only"),
        pytest.param([], False, id="none"),
        pytest.param([AUDIENCE.upper()], False, id="case"),
    ],
)
def test_token_when_it_has_an_audience_is_accepted_for_the_called_address_only(
    audience: Any, accepted: bool
) -> None:
    scene = Scene()
    token = scene.client.token(audience)
    if accepted:
        assert scene.verify(token).issuer == ISSUER
    else:
        assert "aud" in scene.refusal(token)


@pytest.mark.requirement("HOOKS-JWT-EXPIRY")
def test_token_when_expired_is_refused() -> None:
    over = {"iat": seconds(minutes=-6), "exp": seconds(seconds=-30)}
    assert "exp" in Scene().refusal(claims=over)


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        pytest.param({"exp": None}, "exp", id="no-exp"),
        pytest.param({"exp": "soon"}, "exp", id="exp-text"),
        pytest.param({"exp": True}, "exp", id="exp-bool"),
        pytest.param({"exp": 1e30}, "exp", id="exp-no-time"),
        pytest.param({"iat": None}, "iat", id="no-iat"),
        pytest.param({"iat": seconds(seconds=31)}, "iat", id="iat-future"),
        pytest.param({"exp": seconds(minutes=10, seconds=1)}, "10 minutes", id="long-lived"),
        pytest.param({"nbf": seconds(seconds=31)}, "nbf", id="nbf-future"),
        pytest.param({"jti": None}, "jti", id="no-jti"),
        pytest.param({"jti": ""}, "jti", id="blank-jti"),
        pytest.param({"jti": "x" * 301}, "jti", id="long-jti"),
    ],
)
def test_token_when_a_claim_is_wrong_is_refused(claims: dict[str, Any], named: str) -> None:
    assert named in Scene().refusal(claims=claims)


@pytest.mark.requirement("HOOKS-JWT-REPLAY")
def test_token_when_used_twice_is_refused() -> None:
    scene = Scene()
    token = scene.client.token(AUDIENCE)
    scene.verify(token)
    assert "jti" in scene.refusal(token)


@pytest.mark.requirement("HOOKS-JWT-ISSUER")
@pytest.mark.parametrize(
    ("over", "named"),
    [
        pytest.param({"claims": {"iss": "https://other.example.invalid"}}, "iss", id="issuer"),
        pytest.param({"claims": {"iss": None}}, "iss", id="no-issuer"),
        pytest.param({"header": {"jku": "https://evil.example.invalid/k"}}, "jku", id="jku"),
    ],
)
def test_token_when_issuer_or_key_set_is_not_registered_fetches_nothing(
    over: dict[str, Any], named: str
) -> None:
    scene = Scene()
    assert named in scene.refusal(**over)
    assert scene.engine.fetched_key_sets == []


@pytest.mark.requirement("HOOKS-JWT-ALGORITHM")
@pytest.mark.parametrize("alg", ["none", "HS256", "HS384", "RS256", "ES256"])
def test_token_when_its_algorithm_is_not_allowed_is_refused(alg: str) -> None:
    scene = Scene()
    signed = scene.client.token(AUDIENCE)
    header = {"alg": alg, "typ": "JWT", "kid": "ec-1", "jku": JKU}
    assert "alg" in scene.refusal(f"{_part(header)}.{signed.split('.')[1]}.{signed.split('.')[2]}")


def test_token_when_signed_with_the_public_key_as_secret_is_refused() -> None:
    scene = Scene(key=rsa_key())
    pem = scene.client.key.as_pem(private=False)
    head = _part({"alg": "HS384", "typ": "JWT", "kid": "rsa-1"}) + "." + _part({"iss": ISSUER})
    signature = base64.urlsafe_b64encode(hmac.digest(pem, head.encode(), "sha384"))
    token = f"{head}.{signature.rstrip(b'=').decode()}"
    assert "alg" in scene.refusal(token)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        pytest.param({"typ": None}, "typ", id="no-typ"),
        pytest.param({"typ": "at+jwt"}, "typ", id="other-typ"),
        pytest.param({"kid": None}, "kid", id="no-kid"),
        pytest.param({"kid": "unknown"}, "kid", id="unknown-kid"),
    ],
)
def test_token_when_a_header_is_wrong_is_refused(header: dict[str, Any], named: str) -> None:
    assert named in Scene().refusal(header=header)


def test_token_when_another_key_signed_it_is_refused() -> None:
    assert "signature" in Scene().refusal(signed_with=ec_key("other"))


def test_token_when_changed_after_signing_is_refused() -> None:
    scene = Scene()
    header, _claims, signature = scene.client.token(AUDIENCE).split(".")
    forged = _part({"iss": ISSUER, "aud": AUDIENCE, "exp": seconds(minutes=5)})
    assert "signature" in scene.refusal(f"{header}.{forged}.{signature}")


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b", "a.b.c", "a.b.c.d", "....", "é.é.é", "e30.W10.x", "x" * 9000],
)
def test_token_when_it_is_no_jwt_is_refused(token: str) -> None:
    scene = Scene()
    assert "JWT" in scene.refusal(token or " ")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kty": "RSA"}, id="other-kind"),
        pytest.param({"use": "enc"}, id="for-encryption"),
        pytest.param({"crv": "P-256"}, id="other-curve"),
        pytest.param({"x": "AA"}, id="no-point"),
        pytest.param({"x": 7}, id="no-text"),
    ],
)
def test_token_when_the_registered_key_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    scene = Scene()
    key = {**scene.client.key.as_dict(private=False), **change}
    scene.engine.key_sets[JKU] = {"keys": [key]}
    assert scene.refusal()


def test_token_when_the_rsa_key_is_short_is_refused() -> None:
    scene = Scene(key=rsa_key())
    key = {**scene.client.key.as_dict(private=False), "n": "x" * 171}
    scene.engine.key_sets[JKU] = {"keys": [key]}
    assert "signature" in scene.refusal()


def test_token_when_two_keys_share_a_kid_is_refused() -> None:
    scene = Scene()
    scene.engine.key_sets[JKU] = {"keys": scene.client.key_set()["keys"] * 2}
    assert "kid" in scene.refusal()


@pytest.mark.parametrize("document", [{}, {"keys": "x"}, {"keys": ["x"]}])
def test_token_when_the_key_set_has_no_keys_is_refused(document: dict[str, Any]) -> None:
    scene = Scene()
    scene.engine.key_sets[JKU] = document
    assert "kid" in scene.refusal()


# --- key sets ----------------------------------------------------------------------------------


def test_key_set_when_exchanged_out_of_band_is_not_fetched() -> None:
    jwks = orjson.dumps(CdsClientDouble(FixedClock(NOW)).key_set()).decode()
    scene = Scene(cds_clients=(CdsClient(ISSUER, jwks_json=jwks),))
    scene.verify()
    scene.verify(header={"jku": "https://evil.example.invalid/k"})
    assert scene.engine.fetched_key_sets == []


def test_key_set_when_none_is_registered_is_refused() -> None:
    assert "key set" in Scene(cds_clients=(CdsClient(ISSUER),)).refusal(header={"jku": None})


def test_key_set_when_fresh_is_remembered_and_then_fetched_again() -> None:
    scene = Scene()
    scene.verify()
    scene.seconds = FRESH_S - 1
    scene.verify()
    assert scene.engine.fetched_key_sets == [JKU]
    scene.seconds = FRESH_S
    scene.verify()
    assert scene.engine.fetched_key_sets == [JKU, JKU]


def test_key_set_when_the_client_rotates_is_fetched_again_but_not_for_each_stranger() -> None:
    scene = Scene()
    scene.verify()
    rotated = CdsClientDouble(scene.clock, key=ec_key("ec-2"))
    scene.engine.key_sets[JKU] = rotated.key_set()
    scene.seconds = REFETCH_S
    assert scene.verify(rotated.token(AUDIENCE)).issuer == ISSUER
    for _ in range(5):
        scene.refusal(header={"kid": "stranger"})
    assert scene.engine.fetched_key_sets == [JKU, JKU]


def test_key_set_when_its_server_is_down_serves_from_memory_for_an_hour() -> None:
    scene = Scene()
    scene.verify()
    scene.engine.peers_are_down = True
    scene.seconds = STALE_S - 1
    scene.verify()
    scene.seconds = STALE_S + REFETCH_S
    assert "could not be fetched" in scene.refusal()


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()
