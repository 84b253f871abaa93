"""State folder, key file, volume and space: the checks of what lies on disk."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from cds.adapters.crypto import load_key_ring
from cds.adapters.storage import open_storage
from cds.domain.check_line import CheckLine, Verdict, failed, passed, unknown, warned
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import Stage
from cds.settings import Settings

OTHERS = 0o077
MAX_FILES_LOOKED_AT = 200_000
GIB = 1024**3
SPACE_FAIL_BYTES = 1 * GIB
SPACE_WARN_SHARE = 0.1
_ATTESTED = re.compile(r"attested,(?P<name>[^,]+),(?P<day>\d{4}-\d{2}-\d{2})")


def state_folder_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the state folder is there, ours, and closed to others."""
    name, folder = "state folder", settings.state_dir
    if not folder.is_dir():
        yield failed(name, f"{folder} is not there", "run: precedent init")
        return
    if os.name != "posix":
        yield unknown(name, "rights cannot be looked at on this system")
        return
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        yield failed(
            name,
            f"{folder} belongs to user {owner}, this is user {os.geteuid()}",
            "run as the user that serves Precedent, or change the owner",
        )
        return
    action = f"run: chmod -R go-rwx {folder}"
    if folder.stat().st_mode & OTHERS:
        yield failed(name, f"{folder} can be read by others", action)
        return
    n_open = sum(_is_open_file(path) for path in _within(folder))
    if n_open:
        evidence = f"{n_open} files in {folder} are closed to others by the folder only"
        yield warned(name, evidence, action)
        return
    yield passed(name, f"{folder}, readable by its owner only")


def key_file_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the master key can be read, by us alone, and lies apart from the data."""
    name, path = "key file", settings.effective_key_file
    try:
        load_key_ring(path)
    except CdsError as error:
        yield failed(name, error.sentence, "")
        return
    if settings.state_dir.resolve() in path.resolve().parents:
        yield warned(
            name,
            f"{path} lies in the state folder: who copies the folder has data and key",
            "move it out, name it with PRECEDENT_KEY_FILE, and keep its backup apart from the data",
        )
        return
    yield passed(name, f"{path}; keep a backup apart from the data: without it nothing is readable")


def volume_lines(settings: Settings, stages: tuple[str, ...]) -> Iterator[CheckLine]:
    """Check for an encrypted volume: index and vectors are plain files."""
    name = "volume encryption"
    if is_on_dm_crypt(settings.state_dir):
        yield passed(name, "the state folder lies on a dm-crypt volume")
        return
    match = _ATTESTED.fullmatch(settings.storage_encrypted.strip())
    if match is not None and _day(match["day"]) is not None:
        yield passed(name, f"attested by {match['name'].strip()} on {match['day']}")
        return
    action = (
        "put the state folder on an encrypted volume; where that is done below this machine, "
        "set PRECEDENT_STORAGE_ENCRYPTED=attested,NAME,YYYY-MM-DD"
    )
    evidence = "no encrypted volume was found, and nobody attests one"
    if settings.storage_encrypted:
        evidence = "PRECEDENT_STORAGE_ENCRYPTED is not of the form attested,NAME,YYYY-MM-DD"
    if any(stage != Stage.SANDBOX.value for stage in stages):
        yield failed(name, evidence, action)
    else:
        yield warned(name, f"{evidence}; real data may not be kept here", action)


def refuse_plain_volume(settings: Settings) -> None:
    """Refuse to serve real data from a volume that nobody knows to be encrypted (CLINICAL 3.1).

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION as `volume_lines` fails; as `open_storage`.

    """
    storage = open_storage(settings)
    stages = tuple(one.stage.value for one in storage.registrations.all())
    storage.engine.dispose()
    for line in volume_lines(settings, stages):
        if line.verdict is Verdict.FAIL:
            raise CdsError(Reason.INVALID_CONFIGURATION, f"{line.evidence}: {line.action}.")


def disk_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that there is space for what is to come."""
    name = "disk space"
    if not settings.state_dir.is_dir():
        yield unknown(name, "there is no state folder")
        return
    usage = shutil.disk_usage(settings.state_dir)
    evidence = f"{usage.free / GIB:.1f} GiB free of {usage.total / GIB:.1f} GiB"
    action = "free space, or move the state folder to a larger volume"
    if usage.free < SPACE_FAIL_BYTES:
        yield failed(name, evidence, action)
    elif usage.free < SPACE_WARN_SHARE * usage.total:
        yield warned(name, evidence, action)
    else:
        yield passed(name, evidence)


def ca_file_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the hospital's root certificates can be read, where some are named."""
    if settings.ca_file is None:
        return
    name = "root certificates"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError):
        yield failed(
            name,
            f"{settings.ca_file} holds no certificate that can be read",
            "give a PEM file with the hospital's root certificates in PRECEDENT_CA_FILE",
        )
        return
    n_roots = len(context.get_ca_certs())
    yield passed(name, f"{n_roots} root certificates in {settings.ca_file}, instead of the public")


def is_on_dm_crypt(folder: Path, *, sys_folder: Path = Path("/sys")) -> bool:
    """Tell whether a folder's block device, or one below it, is a dm-crypt mapping (Linux).

    Parameters
    ----------
    folder
        On the volume.
    sys_folder
        Where the kernel describes devices; another one in tests.

    """
    if not folder.exists():
        return False
    device = folder.stat().st_dev
    start = sys_folder / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    return _is_crypt(start)


def _is_crypt(device: Path) -> bool:
    uuid = device / "dm" / "uuid"
    if uuid.is_file() and uuid.read_text("ascii", "replace").startswith("CRYPT-"):
        return True
    slaves = device / "slaves"
    return slaves.is_dir() and any(_is_crypt(slave) for slave in sorted(slaves.iterdir()))


def _within(folder: Path) -> Iterator[Path]:
    n = 0
    for parent, _folders, files in os.walk(folder):
        for one in files:
            n += 1
            if n > MAX_FILES_LOOKED_AT:
                return
            yield Path(parent) / one


def _is_open_file(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False  # gone meanwhile: the server works on
    return stat.S_ISREG(mode) and bool(mode & OTHERS)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
