"""How gunicorn serves Precedent: the settings of `cds.web.serving`, and how many workers.

``gunicorn --config deploy/gunicorn.conf.py smart_app.wsgi:app`` serves everything,
``... cds.web.wsgi:app`` the doors for machines alone. Another address: ``--bind 0.0.0.0:8000``;
another number of workers: WEB_CONCURRENCY, which gunicorn reads itself.
"""

from __future__ import annotations

import os

from cds.web.serving import *  # noqa: F403  # every setting and hook

workers = int(os.environ.get("WEB_CONCURRENCY", max(2, os.cpu_count() or 1)))
