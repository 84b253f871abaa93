#!/bin/sh
# Start an installation: bring the state folder and the database up to date, then serve.
# The first argument is the application (default: everything); the rest goes to gunicorn.
set -eu
app=${1:-smart_app.wsgi:app}
[ $# -eq 0 ] || shift
precedent init
exec gunicorn --config "$(dirname "$0")/gunicorn.conf.py" --bind "${BIND:-0.0.0.0:8000}" "$@" "$app"
