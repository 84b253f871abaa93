"""A training run on disk after each epoch: arrays and JSON in one npz file, whole or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FACTS = "facts.json"


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another run."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything that a run needs to go on as if it had never stopped.

    Attributes
    ----------
    facts
        What JSON can hold: step, epoch, schedule, history.
    arrays
        Weights, state of the optimiser and of the random generator.

    """

    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add_tensors(self, prefix: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep copies of named tensors."""
        for name, tensor in tensors.items():
            self.arrays[f"{prefix}/{name}"] = tensor.detach().cpu().numpy().copy()

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return what `add_tensors` kept."""
        start = f"{prefix}/"
        return {
            name.removeprefix(start): torch.from_numpy(array)
            for name, array in self.arrays.items()
            if name.startswith(start)
        }

    def add_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the state of an optimiser."""
        state = optimizer.state_dict()
        self.facts["parameter_groups"] = state["param_groups"]
        for number, values in state["state"].items():
            self.add_tensors(f"optimizer/{number}", values)

    def fill_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimiser the state that was kept."""
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in self.tensors("optimizer").items():
            number, _, key = name.partition("/")
            state.setdefault(int(number), {})[key] = tensor
        groups = self.facts["parameter_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})

    def write(self, path: Path) -> None:
        """Write to a file beside it, bring that to the disk, and rename it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        content = np.frombuffer(json.dumps(self.facts).encode(), dtype=np.uint8)
        with beside.open("wb") as file:
            np.savez(file, **{_FACTS: content, **self.arrays})  # type: ignore[arg-type]  # names are free
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a checkpoint.

        Parameters
        ----------
        path
            Where `write` put it.

        Returns
        -------
        Checkpoint or None
            None if there is none.

        Raises
        ------
        CheckpointError
            If the file is damaged.

        """
        if not path.exists():
            return None
        try:
            # Opened here: NumPy leaves a damaged file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            facts = json.loads(arrays.pop(_FACTS).tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{path.name} is damaged: delete it and train from the start"
            ) from error
        return cls(facts, arrays)
