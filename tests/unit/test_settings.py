"""Settings that cannot be read or used stop the start with a sentence that names them."""

from pathlib import Path

import pytest

from cds.adapters.storage import initialise, open_storage
from cds.domain.errors import CdsError, Reason
from cds.settings import Settings, settings_from_environment


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("CUTOFF", "many", "PRECEDENT_CUTOFF has to be a whole number."),
        ("CUTOFF", "0", "PRECEDENT_CUTOFF has to be 1 or more."),
        ("IMAGE_WEIGHT", "7", "PRECEDENT_IMAGE_WEIGHT has to be 0 to 1."),
        ("IMAGE_WEIGHT", "nan", "PRECEDENT_IMAGE_WEIGHT has to be 0 to 1."),
        ("DEVELOPMENT", "perhaps", "PRECEDENT_DEVELOPMENT has to be true or false."),
        ("LOG_LEVEL", "LOUD", "PRECEDENT_LOG_LEVEL has to be one of DEBUG, INFO, "),
    ],
)
def test_setting_when_it_cannot_be_used_is_refused_by_its_name(
    name: str, text: str, sentence: str
) -> None:
    with pytest.raises(CdsError) as refused:
        settings_from_environment({f"PRECEDENT_{name}": text})
    assert refused.value.reason is Reason.INVALID_CONFIGURATION
    assert refused.value.sentence.startswith(sentence)


def test_settings_at_the_edge_of_their_range_are_read() -> None:
    read = settings_from_environment({"PRECEDENT_IMAGE_WEIGHT": "1", "PRECEDENT_LOG_LEVEL": "info"})
    assert (read.image_weight, read.log_level) == (1.0, "info")


def test_init_when_the_state_folder_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.touch()
    with pytest.raises(CdsError, match=r"state folder .* cannot be made: file exists"):
        initialise(Settings(state_dir=place))


@pytest.mark.parametrize("url", ["nothing://bucket", "s3://bucket"])
def test_storage_when_nothing_serves_the_blob_url_is_refused_in_words(
    tmp_path: Path, url: str
) -> None:
    initialise(Settings(state_dir=tmp_path))
    with pytest.raises(CdsError, match="PRECEDENT_BLOB_URL is no usable"):
        open_storage(Settings(state_dir=tmp_path, blob_url=url))
