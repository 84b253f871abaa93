"""Alembic's entry: runs migrations on the connection that `upgrade_to_head` hands over."""

from __future__ import annotations

from alembic import context

from cds.adapters.sql import (  # registers their tables
    archive_models,  # noqa: F401
    backend_key_models,  # noqa: F401
    change_models,  # noqa: F401
    door_models,  # noqa: F401
    encoder_models,  # noqa: F401
    erasure_models,  # noqa: F401
    job_models,  # noqa: F401
    librarian_models,  # noqa: F401
)
from cds.adapters.sql.models import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
