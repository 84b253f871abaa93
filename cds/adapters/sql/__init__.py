"""The database: tables, migrations and the repositories over them."""
