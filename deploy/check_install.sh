#!/bin/sh
# Install into a fresh folder as the Dockerfile does, start both applications and ask for their health.
#
#   deploy/check_install.sh [python3.12]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${1:-python3}
work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

unset PYTHONPATH VIRTUAL_ENV 2>/dev/null || true
sh "$here/install.sh" --prefix "$work/prefix" --python "$python"
cp "$here/start.sh" "$here/gunicorn.conf.py" "$work/"
cd "$work"
PATH=$work/prefix/bin:$PATH
PRECEDENT_STATE_DIR=$work/state
export PATH PRECEDENT_STATE_DIR

for app in cds.web.wsgi:app smart_app.wsgi:app; do
    port=$(python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    BIND=127.0.0.1:$port sh start.sh "$app" >"$work/server.log" 2>&1 &
    server=$!
    if ! python - "$port" <<'PYTHON'
import sys
import time
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

base = f"http://127.0.0.1:{sys.argv[1]}/health/"
for _ in range(120):
    try:
        with urlopen(base + "live", timeout=5) as answer:
            print("live:", answer.status, answer.read().decode())
        break
    except (URLError, ConnectionError):
        time.sleep(0.25)
else:
    sys.exit("no health answer within 30 s")
try:
    with urlopen(base + "ready", timeout=10) as answer:
        print("ready:", answer.status)
except HTTPError as not_ready:  # an empty installation may say what is still missing
    print("ready:", not_ready.code, not_ready.read().decode())
    if not_ready.code != 503:
        raise
PYTHON
    then
        echo "$app did not answer:"
        tail -20 "$work/server.log"
        exit 1
    fi
    echo "$app answers"
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
done
