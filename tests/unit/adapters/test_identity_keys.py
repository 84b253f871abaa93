from hypothesis import given
from hypothesis import strategies as st

from cds.adapters.identity_keys import HmacIdentityKeys

KEYS = HmacIdentityKeys(b"k" * 32)
WORDS = st.text(max_size=12)


@given(one=st.tuples(WORDS, WORDS), other=st.tuples(WORDS, WORDS))
def test_patient_key_when_namespace_or_value_differs_differs(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    same = [part.strip() for part in one] == [part.strip() for part in other]
    assert (KEYS.patient_key(*one) == KEYS.patient_key(*other)) is same


def test_keys_when_installations_differ_differ() -> None:
    assert KEYS.study_key("1.2.3") != HmacIdentityKeys(b"j" * 32).study_key("1.2.3")


def test_study_key_when_made_is_64_hex_digits_without_the_uid() -> None:
    key = KEYS.study_key("1.2.3")
    assert len(key) == 64
    assert int(key, 16) >= 0


def test_patient_and_study_when_text_is_equal_have_different_keys() -> None:
    assert KEYS.patient_key("", "1.2.3") != KEYS.study_key("1.2.3")
