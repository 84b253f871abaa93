"""The choice of how much the picture counts against labs and history."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.query import BlockWeights
from cds.settings import Settings

BOTH = "both"


@dataclass(frozen=True, slots=True)
class WeightChoice:
    """One option of the form; `name` is what the address carries."""

    name: str
    label: str
    weights: BlockWeights

    @property
    def percent_text(self) -> str:
        """Return both weights in percent."""
        return f"{100 * self.weights.image:.0f} / {100 * self.weights.record:.0f}"


def weight_choices(settings: Settings) -> tuple[WeightChoice, ...]:
    """Return the options; the site's own weights stand in the middle.

    Examples
    --------
    >>> [choice.percent_text for choice in weight_choices(Settings())]
    ['100 / 0', '60 / 40', '0 / 100']

    """
    return (
        WeightChoice("picture", "Picture only", BlockWeights(image=1.0)),
        WeightChoice(BOTH, "Both", BlockWeights(image=settings.image_weight)),
        WeightChoice("record", "Labs and history only", BlockWeights(image=0.0)),
    )


def chosen_weights(name: str | None, settings: Settings) -> WeightChoice:
    """Return the named option; an unknown name is the site's own."""
    choices = {choice.name: choice for choice in weight_choices(settings)}
    return choices.get(name or BOTH, choices[BOTH])
