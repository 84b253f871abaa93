#!/bin/sh
# Install Precedent into a folder of its own: the runtime part of the lock with checked hashes, then
# the product built from this tree. The Dockerfile and CI run this same script.
#
#   deploy/install.sh --prefix /opt/precedent [--python python3.12]
#
# Afterwards: /opt/precedent/bin/precedent --help
set -eu

prefix=/opt/precedent
python=${PYTHON:-python3}
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --runtime) shift ;;  # the only part that an installation gets; may be said aloud
        *) echo "install.sh: unknown option $1 (known: --prefix DIR, --python EXE)" >&2; exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || {
    echo "install.sh: Python 3.11 to 3.13 is needed; name one with --python" >&2
    exit 2
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "install.sh: this Python lacks venv (Debian, Ubuntu: apt-get install python3-venv)" >&2
    exit 2
}

part() { # the lines of one part of the lock
    awk -v wanted="$1" '/^# --- part: /{ inside = ($4 == wanted); next } inside' \
        "$here/requirements.lock"
}
part runtime > "$work/runtime.txt"
part build > "$work/build.txt"
grep -q == "$work/runtime.txt" && grep -q == "$work/build.txt" || {
    echo "install.sh: requirements.lock has no runtime or build part" >&2
    exit 2
}

pip() { "$prefix/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

echo "[1/4] virtual environment in $prefix"
"$python" -m venv "$prefix"
echo "[2/4] locked packages, hashes checked"
pip install --quiet --require-hashes --no-deps --requirement "$work/runtime.txt"
echo "[3/4] building the product"
pip install --quiet --require-hashes --no-deps --target "$work/build" --requirement "$work/build.txt"
mkdir "$work/tree"
for name in pyproject.toml README.md LICENSE NOTICE cds models smart_app sandbox fhir_profiles; do
    if [ -e "$here/$name" ]; then cp -R "$here/$name" "$work/tree/"; fi
done
PYTHONPATH="$work/build" "$prefix/bin/python" -m pip --disable-pip-version-check wheel --quiet \
    --no-deps --no-build-isolation --wheel-dir "$work" "$work/tree"
echo "[4/4] installing it"
pip install --quiet --no-deps --force-reinstall "$work"/precedent_cds-*.whl
"$prefix/bin/precedent" --version
