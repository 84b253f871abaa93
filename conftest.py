"""What pytest collects from this tree: training is collected only where torch is installed."""

from importlib.util import find_spec

collect_ignore = ["smart_app/wsgi.py", "cds/web/wsgi.py"]
if find_spec("torch") is None:
    collect_ignore += ["models/training", "tests/train"]
