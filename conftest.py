"""What pytest does not collect: modules that act when imported, and training without torch."""

from importlib.util import find_spec

collect_ignore = [
    "cds/adapters/sql/migrations/env.py",  # Alembic runs it inside a migration
    "cds/web/wsgi.py",  # opens the installation
    "smart_app/wsgi.py",
]
if find_spec("torch") is None:
    collect_ignore += ["models/training", "tests/train"]
