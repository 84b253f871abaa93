"""Run every benchmark, or those named: ``python -m bench [search embedding million] [--json]``."""

from __future__ import annotations

import sys
from importlib import import_module

from bench.measure import Ratio, as_json

BENCHMARKS = ("search", "embedding", "regions", "hook", "decoding", "imports")
LONG = ("million",)  # only when named: half an hour


def main(arguments: list[str]) -> int:
    """Run and print; nothing is judged here, the targets stand beside the figures."""
    wanted = [a for a in arguments if not a.startswith("-")] or list(BENCHMARKS)
    unknown = sorted(set(wanted) - set(BENCHMARKS) - set(LONG))
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are: {', '.join((*BENCHMARKS, *LONG))}.")
        return 2
    ratios: list[Ratio] = []
    for name in wanted:
        found = import_module(f"bench.{name}").run()
        ratios += found
        if "--json" not in arguments:
            for ratio in found:
                print(ratio.line(), flush=True)
    if "--json" in arguments:
        print(as_json(ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
