import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.adapters.crypto import (
    FieldCipher,
    KeyRing,
    create_key_ring,
    load_key_ring,
    save_key_ring,
)
from cds.domain.errors import CdsError, Reason

KEYS = {"d1": bytes(range(32)), "d2": bytes(range(1, 33))}


@given(plaintext=st.binary(max_size=300), place=st.text(max_size=40))
def test_field_when_encrypted_and_decrypted_is_itself(plaintext: bytes, place: str) -> None:
    cipher = FieldCipher(KEYS, "d1")
    assert cipher.decrypt(cipher.encrypt(plaintext, place), place) == plaintext


@given(plaintext=st.binary(min_size=1, max_size=60), flipped=st.integers(0, 10_000))
def test_field_when_any_byte_is_flipped_is_refused(plaintext: bytes, flipped: int) -> None:
    cipher = FieldCipher(KEYS, "d1")
    stored = bytearray(cipher.encrypt(plaintext, "here"))
    stored[flipped % len(stored)] ^= 1
    with pytest.raises(CdsError) as refused:
        cipher.decrypt(bytes(stored), "here")
    assert refused.value.reason is Reason.INVALID_CONFIGURATION


def test_field_when_moved_to_another_row_is_refused() -> None:
    cipher = FieldCipher(KEYS, "d1")
    stored = cipher.encrypt(b"65 kg", "library_case.facts:a")
    with pytest.raises(CdsError):
        cipher.decrypt(stored, "library_case.facts:b")


def test_field_when_encrypted_twice_differs() -> None:
    cipher = FieldCipher(KEYS, "d1")
    assert cipher.encrypt(b"same", "x") != cipher.encrypt(b"same", "x")


def test_field_when_data_key_is_rotated_still_decrypts() -> None:
    stored = FieldCipher(KEYS, "d1").encrypt(b"old", "x")
    assert FieldCipher(KEYS, "d2").decrypt(stored, "x") == b"old"


@pytest.mark.parametrize("stored", [b"", b"\x01", b"\x01\xff", b"\x02\x02d1" + bytes(40)])
def test_field_when_bytes_are_no_field_is_refused(stored: bytes) -> None:
    with pytest.raises(CdsError):
        FieldCipher(KEYS, "d1").decrypt(stored, "x")


def test_keys_when_printed_are_redacted() -> None:
    ring = KeyRing.generate()
    secret = ring.master_keys[ring.current_id]
    for text in (repr(ring), repr(FieldCipher({"d1": secret}, "d1"))):
        assert repr(secret) not in text
        assert base64.b64encode(secret).decode() not in text


def test_key_file_when_created_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.json"
    ring = create_key_ring(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key_ring(path) == ring


def test_key_file_when_it_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    first = create_key_ring(path)
    assert create_key_ring(path) == first
    assert [p.name for p in tmp_path.iterdir()] == ["key.json"]


def test_key_file_when_readable_by_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_key_ring(path)
    path.chmod(0o640)
    with pytest.raises(CdsError, match="0600"):
        load_key_ring(path)


def test_key_file_when_absent_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="precedent init") as refused:
        load_key_ring(tmp_path / "key.json")
    assert refused.value.reason is Reason.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="a-list"),
        pytest.param("{}", id="no-members"),
        pytest.param(json.dumps({"format": "other/1"}), id="other-format"),
        pytest.param(
            json.dumps(
                {
                    "format": "precedent-keys/1",
                    "current": "a",
                    "identity": "a",
                    "master_keys": {"a": "AAAA"},
                }
            ),
            id="short-key",
        ),
    ],
)
def test_key_file_when_damaged_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(CdsError, match="restore it from its backup"):
        load_key_ring(path)


def test_ring_when_rotated_unwraps_old_keys_and_keeps_identities(tmp_path: Path) -> None:
    old = KeyRing.generate()
    master_key_id, wrapped = old.wrap("d1", KEYS["d1"])
    new = old.with_new_master_key()
    save_key_ring(new, tmp_path / "key.json")
    read = load_key_ring(tmp_path / "key.json")
    assert read.current_id != old.current_id
    assert read.unwrap("d1", master_key_id, wrapped) == KEYS["d1"]
    assert read.subkey("identity") == old.subkey("identity")
    assert read.wrap("d1", KEYS["d1"])[0] == read.current_id


def test_ring_when_master_key_is_unknown_refuses_to_unwrap() -> None:
    master_key_id, wrapped = KeyRing.generate().wrap("d1", KEYS["d1"])
    with pytest.raises(CdsError, match="lacks master key"):
        KeyRing.generate().unwrap("d1", master_key_id, wrapped)


def test_subkeys_when_purposes_differ_differ() -> None:
    ring = KeyRing.generate()
    assert len({ring.subkey(p) for p in ("identity", "content", "blob-name")}) == 3
