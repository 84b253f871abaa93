"""What pytest does not collect, and where the fixtures of servers that we did not write are."""

from importlib.util import find_spec

pytest_plugins = [
    "tests.servers.hapi",
    "tests.servers.java_build",
    "tests.servers.keycloak",
    "tests.servers.medplum",
    "tests.servers.sushi",
]
collect_ignore = [
    "cds/adapters/sql/migrations/env.py",  # Alembic runs it inside a migration
    "cds/web/wsgi.py",  # opens the installation
    "smart_app/wsgi.py",
    "tests/interop",  # `make test-interop` names it: needs Java, Maven and minutes
]
if find_spec("torch") is None:  # training has an environment of its own
    collect_ignore += ["models/training", "tests/train"]
