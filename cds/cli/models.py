"""`precedent models ...`: the commands about encoders."""

from __future__ import annotations

import argparse
from types import ModuleType

from cds.cli import (
    models_adapt,
    models_add,
    models_card,
    models_compare,
    models_evaluate,
    models_list,
    models_promote,
    models_train,
)

# Each has `add_parser(subparsers)`; what is heavy is imported when the command runs.
MODULES: tuple[ModuleType, ...] = (
    models_train,
    models_adapt,
    models_evaluate,
    models_compare,
    models_add,
    models_list,
    models_promote,
    models_card,
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group with its commands."""
    group = subparsers.add_parser(
        "models", help="train, evaluate, compare and roll out encoders", description=__doc__
    )
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in MODULES:
        module.add_parser(commands)
