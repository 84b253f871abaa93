"""The checks of an installation, line by line; `precedent doctor` prints them.

A check is a function from an `Installation` to lines. Whoever adds a part of the product that an
operator can break adds its check to `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

from cds.adapters.sql.database_facts import database_facts
from cds.adapters.storage import Storage, open_storage
from cds.domain.check_line import CheckLine, failed, passed
from cds.domain.errors import CdsError
from cds.engine.installation_adapter import adapter_lines
from cds.engine.installation_ehrs import ehr_lines
from cds.engine.installation_files import (
    ca_file_lines,
    disk_lines,
    key_file_lines,
    state_folder_lines,
    volume_lines,
)
from cds.engine.installation_host import clock_lines, public_url_lines, software_lines
from cds.engine.installation_jobs import job_lines
from cds.engine.installation_parts import (
    blob_lines,
    database_lines,
    decoder_lines,
    encoder_lines,
    index_lines,
)
from cds.ports import Clock
from cds.settings import Settings, settings_from_environment, unknown_variables


@dataclass(frozen=True, slots=True)
class Installation:
    """What the checks look at; `storage` is None where it cannot be opened."""

    settings: Settings
    clock: Clock
    storage: Storage | None


Check = Callable[[Installation], Iterable[CheckLine]]

CHECKS: tuple[Check, ...] = (
    lambda _here: software_lines(),
    lambda here: state_folder_lines(here.settings),
    lambda here: key_file_lines(here.settings),
    lambda here: volume_lines(here.settings, _stages(here)),
    lambda here: disk_lines(here.settings),
    lambda here: database_lines(here.settings),
    lambda here: blob_lines(here.storage),
    lambda here: encoder_lines(here.settings),
    lambda here: index_lines(here.settings),
    lambda here: adapter_lines(here.settings, here.storage),
    lambda _here: decoder_lines(),
    lambda here: clock_lines(here.settings, here.clock.now()),
    lambda here: public_url_lines(here.settings),
    lambda here: ca_file_lines(here.settings),
    lambda here: job_lines(here.settings, here.storage, here.clock),
    lambda here: ehr_lines(here.settings, here.storage),
)


def check_installation(
    environment: Mapping[str, str], clock: Clock, checks: Iterable[Check] = CHECKS
) -> tuple[CheckLine, ...]:
    """Run every check; one that breaks down is a FAIL of its own, and the others still run.

    Parameters
    ----------
    environment
        Variables of the process.
    clock
        The time.
    checks
        What is looked at.

    """
    setting_lines = tuple(_settings(environment))
    lines = [*setting_lines]
    settings = settings_from_environment(_usable(environment))
    storage = _opened(settings, clock)
    here = Installation(settings, clock, storage)
    for check in checks:
        lines += _checked(check, here)
    if storage is not None:
        storage.engine.dispose()
    return tuple(lines)


def _opened(settings: Settings, clock: Clock) -> Storage | None:
    """Open what is there; where that fails, the lines on key file and database say why."""
    try:
        database_facts(settings.effective_database_url)  # does not make a missing file
        return open_storage(settings, clock)
    except CdsError:
        return None


def _checked(check: Check, here: Installation) -> tuple[CheckLine, ...]:
    try:
        return tuple(check(here))
    except CdsError as error:
        return (failed("check", error.sentence, ""),)
    except OSError as error:
        what = f"{error.strerror or type(error).__name__}"
        return (failed("check", f"a file could not be read: {what}", "check rights and paths"),)


def _settings(environment: Mapping[str, str]) -> Iterator[CheckLine]:
    """Say which variables are no settings, and which have a value that cannot be read."""
    problems = 0
    for name in unknown_variables(environment):
        problems += 1
        yield failed(
            "settings",
            f"there is no setting {name}; the server would not start",
            "correct its spelling (docs/configuration.md) or unset it",
        )
    for name, sentence in _unreadable(environment).items():
        problems += 1
        yield failed("settings", sentence, f"correct {name} (docs/configuration.md)")
    if not problems:
        n_set = sum(f.metadata["env"] in environment for f in fields(Settings))
        yield passed("settings", f"{n_set} variables are set, all known and readable")


def _unreadable(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for field in fields(Settings):
        name = field.metadata["env"]
        if name not in environment:
            continue
        try:
            settings_from_environment({name: environment[name]})
        except CdsError as error:
            found[name] = error.sentence
    return found


def _usable(environment: Mapping[str, str]) -> dict[str, str]:
    left_out = {*unknown_variables(environment), *_unreadable(environment)}
    return {name: value for name, value in environment.items() if name not in left_out}


def _stages(here: Installation) -> tuple[str, ...]:
    if here.storage is None:
        return ()
    return tuple(one.stage.value for one in here.storage.registrations.all())
