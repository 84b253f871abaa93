"""Answers the same question whenever a line comes in, as a worker process does: a script."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cds.engine import engine_from_settings  # noqa: E402
from cds.settings import Settings  # noqa: E402
from tests.builders.two_encoders import answer  # noqa: E402

if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:3]]
    engine = engine_from_settings(Settings(state_dir=folders[0], encoder_dir=folders[1]))
    for _ in sys.stdin:
        given: dict[str, Any] = answer(engine)
        versions = given["versions"]
        gist = [
            versions["encoder_name"],
            versions["index_generation"],
            given["best_similarity"],
            given["similarity_limit"],
            [neighbor["case_id"] for neighbor in given["neighbors"]],
        ]
        sys.stdout.write(json.dumps(gist) + "\n")
        sys.stdout.flush()
