"""Command line of the generator: ``python -m sandbox.generator --out DIR``."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from sandbox.generator.library import DEFAULT_SEED, write_library
from sandbox.generator.tryout import write_tryout


def main() -> None:
    """Write ``library/`` and ``tryout/`` into a folder."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.generator", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="decides every value and pixel"
    )
    parser.add_argument(
        "--now", type=datetime.fromisoformat, help="ISO time of the try-out patients' today"
    )
    parser.add_argument("--cases", type=int, help="fewer library cases than 620")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=["tryout", "library"], help="write one of the two")
    arguments = parser.parse_args()
    now = arguments.now or datetime.now(UTC)
    now = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    started = time.monotonic()
    if arguments.only != "library":
        write_tryout(arguments.out / "tryout", now)
        print(f"patients to try: written in {time.monotonic() - started:.0f} s")
    if arguments.only == "tryout":
        return
    summary = write_library(
        arguments.out / "library",
        seed=arguments.seed,
        n=arguments.cases,
        processes=arguments.processes,
    )
    print(
        f"library: {summary.n_cases} cases of {summary.n_patients} patient numbers, "
        f"{time.monotonic() - started:.0f} s in all"
    )


if __name__ == "__main__":
    main()
