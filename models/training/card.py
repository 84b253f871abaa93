"""The model card of a trained encoder, as far as a program can write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.manifest import TrainingRows
from models.training.comparison import Measures
from models.training.recipe import Recipe

CARD_FILE = "README.md"

_HEADER = """---
library_name: onnx
pipeline_tag: image-feature-extraction
tags:
  - radiology
  - image-retrieval
---

# {name}

Embeds one radiograph for retrieval of similar cases. Investigational: not validated for clinical
use. It finds pictures that look alike; it does not name a disease.

Started from {start}. Open it with `models.embedder.OnnxImageEmbedder`, which preprocesses and
verifies `manifest.json`.
"""

_TO_WRITE = """## Still to be written by a person

Intended use and users; what the pictures are and how their labels were made; subgroups (sex, age,
view, device); limits; who maintains it. Check each licence above: it is what the data states.
"""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says.

    Attributes
    ----------
    name
        Of the encoder.
    start
        What its training started from.
    created_on
        ISO date.
    training
        The rows that were trained on.
    recipe
        How.
    measures
        "frozen" and "trained" to what was measured on the test side.
    worse
        In what it is worse than the frozen start; empty if in nothing that is checked.

    """

    name: str
    start: str
    created_on: str
    training: Sequence[TrainingRows]
    recipe: Recipe
    measures: dict[str, Measures]
    worse: str = ""


def card_text(facts: CardFacts) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    facts
        What it says.

    """
    parts = [_HEADER.format(name=facts.name, start=facts.start)]
    if facts.worse:
        parts.append(f"**Worse than the frozen start**: {facts.worse}.\n")
    parts.append(_rows_table(facts.training))
    parts.append(_measures(facts.measures))
    recipe = facts.recipe
    parts.append(
        f"## Recipe\n\nSeed {recipe.seed}; at most {recipe.n_epochs} epochs; "
        f"{recipe.n_frozen_blocks} frozen blocks; {recipe.n_self_supervised_epochs} epochs without "
        f"labels; batch normalisation {recipe.normalisation}; balance {recipe.balance}. "
        f"Everything else is in the run record. Made on {facts.created_on}.\n"
    )
    parts.append(_TO_WRITE)
    return "\n".join(parts)


def _rows_table(training: Sequence[TrainingRows]) -> str:
    lines = [
        f"| {row.source} | {row.n_pictures} | {row.n_patients} | {row.licence or 'not stated'} |"
        for row in training
    ]
    head = "| source | pictures | patients | licence |\n|---|---|---|---|\n"
    return "## Training rows\n\n" + head + "\n".join(lines) + "\n"


def _measures(measures: dict[str, Measures]) -> str:
    """Return one table per place, frozen and trained side by side."""
    places = list(measures.get("trained", {}))
    if not places:
        return "## Measures\n\nNone: no source had two classes among the held-out patients.\n"
    text = (
        "## Measures\n\nWithin one source, held-out patients, 95 % bootstrap intervals by patient."
        " The frozen start was measured in the same run.\n"
    )
    for place in places:
        names = list(measures["trained"][place])
        head = f"| encoder | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
        lines = [
            f"| {title} | {' | '.join(str(values[place][name]) for name in names)} |"
            for title, values in measures.items()
        ]
        text += f"\n**{place}**\n\n{head}" + "\n".join(lines) + "\n"
    return text
