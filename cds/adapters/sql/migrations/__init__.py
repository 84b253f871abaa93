"""Alembic migrations, applied by `cds.adapters.sql.engine.upgrade_to_head`."""
