"""Everything that a training run can be told, as one value; needs no torch."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BALANCES = ("none", "sampling", "loss")
TARGETS = ("labels", "classes")
NORMALISATIONS = ("folded", "frozen", "batch")
PRECISIONS = ("float32", "bfloat16")
# More would move the places of a feature map away from where they are in the picture.
_MAXIMUM_ZOOM = 1.3


class RecipeError(ValueError):
    """A recipe asks for something that does not exist or contradicts itself."""


@dataclass(frozen=True, slots=True)
class AugmentationRule:
    """How far pictures are changed; each value is the half-width of a uniform distribution.

    A horizontal flip is not among them: it would move the heart to the other side.

    Attributes
    ----------
    rotation_degrees
        Around the centre.
    log_scale
        Of the magnification.
    shift
        Of the picture's side, in each direction.
    log_gamma
        Of the exponent that grey values are raised to.
    contrast
        Of the factor around mid-grey.
    noise
        Standard deviation of added noise, grey values in [0, 1]; uniform from 0 up to this.
    erased
        Largest side of one grey rectangle, as a share of the picture's side; 0 erases nothing.

    """

    rotation_degrees: float = 10.0
    log_scale: float = 0.15
    shift: float = 0.06
    log_gamma: float = 0.35
    contrast: float = 0.2
    noise: float = 0.04
    erased: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a training run can be told but the resolution (`Preprocessing.size_px`).

    Attributes
    ----------
    n_epochs
        Passes of the fine-tune over the training pictures, at most.
    n_projection_epochs
        Passes of the first step, which fits projection and heads on features of the untouched
        network.
    n_self_supervised_epochs
        Passes of a warm-up before it, that looks at no label: two views of each picture attract
        each other.
    n_stored_views
        Augmented views per picture whose activations behind the frozen blocks are stored, of which
        each pass draws one; 0 augments afresh in each pass and runs the whole network.
    seed
        Of batches, augmentation and heads.
    batch_size
        Pictures per batch.
    n_frozen_blocks
        Blocks from the input on that keep their weights.
    keeps_projection
        Start from the encoder's projection instead of the principal axes of its features.
    projection_rate
        Learning rate of the first step.
    backbone_rate, head_rate
        Highest learning rates of the fine-tune, of the network and of projection and heads.
    weight_decay
        Of AdamW.
    temperature, contrast_weight, head_weight, label_smoothing
        Of the objective.
    mixing
        Where positive: pairs of pictures of a batch are blended where they enter the trained
        layers, with a share drawn from Beta(mixing, mixing), and so are their labels (mixup).
    targets
        ``labels``: every label of a picture, as its source words them; ``classes``: only those
        classes by which retrieval within its source is measured, and pictures that have one.
    balance
        Against rare labels: ``none``; ``sampling`` draws each picture as often as its labels are
        rare; ``loss`` weighs the classification.
    averaging
        Decay per step of the running average of weights, which is what is kept.
    n_averaged_epochs
        Where positive: keep the plain mean of the running averages at the end of so many last
        epochs (stochastic weight averaging).
    patience
        Stop after so many epochs without a better value on the validation side, and keep the best
        epoch, which may be the projection before the fine-tune; 0 runs all epochs and keeps the
        last.
    normalisation
        ``folded``: batch normalisation stays folded into the convolutions, as the weights come;
        ``frozen``: it is put back with fixed statistics of the training pictures, and its scale and
        shift train; ``batch``: it uses and follows the statistics of each batch. All are folded
        again before export.
    precision
        ``float32``, or ``bfloat16`` for the convolutions of the fine-tune.
    training_size_px
        Side of the augmented pictures; 0 is the side of the preprocessing.
    test_zooms
        Magnifications of the centre whose feature maps are averaged at embedding; part of the
        exported graph.
    anchor_dimension, anchor_weight
        Where the first is positive: so many components of the embedding come from the network as it
        was before the training (`models.training.anchor`), and their direction weighs so much
        beside the learnt one, which weighs 1. At least one block has to stay frozen.
    learnt_dimension
        Where positive: the learnt components are reduced to so many principal ones at the end.
    augmentation
        How far pictures are changed.

    """

    n_epochs: int = 10
    n_projection_epochs: int = 30
    n_self_supervised_epochs: int = 0
    n_stored_views: int = 4
    seed: int = 0
    batch_size: int = 32
    n_frozen_blocks: int = 11
    keeps_projection: bool = False
    projection_rate: float = 1e-3
    backbone_rate: float = 1e-4
    head_rate: float = 3e-4
    weight_decay: float = 1e-2
    temperature: float = 0.2
    contrast_weight: float = 1.0
    head_weight: float = 1.0
    label_smoothing: float = 0.0
    mixing: float = 0.0
    targets: str = "labels"
    balance: str = "none"
    averaging: float = 0.98
    n_averaged_epochs: int = 0
    patience: int = 0
    normalisation: str = "folded"
    precision: str = "float32"
    training_size_px: int = 0
    test_zooms: tuple[float, ...] = (1.0,)
    anchor_dimension: int = 0
    anchor_weight: float = 1.0
    learnt_dimension: int = 0
    augmentation: AugmentationRule = field(default_factory=AugmentationRule)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("targets", TARGETS),
            ("balance", BALANCES),
            ("normalisation", NORMALISATIONS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in allowed:
                raise RecipeError(f"{name} is one of {', '.join(allowed)}")
        _refuse_out_of_range(self)
        if self.n_stored_views and (
            self.normalisation != "folded" or self.n_self_supervised_epochs or self.training_size_px
        ):
            raise RecipeError(
                "stored views go with folded normalisation, at the encoder's own size, and without "
                "a self-supervised warm-up"
            )
        if self.anchor_dimension and not self.n_frozen_blocks:
            raise RecipeError("an anchor reads behind frozen blocks: freeze one at least")
        if self.patience and self.n_averaged_epochs:
            raise RecipeError(
                "patience keeps the best epoch, n_averaged_epochs the mean of the last"
            )

    @classmethod
    def full(cls, **changes: Any) -> Self:  # noqa: ANN401  # fields of any type
        """Return the recipe of the full fine-tune: all layers, fresh augmentation in each pass."""
        return cls(**{"n_stored_views": 0, "n_frozen_blocks": 0, **changes})

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return a recipe with other values, as a TOML file states them.

        Parameters
        ----------
        changes
            Field to value; ``augmentation`` holds a table.

        Raises
        ------
        RecipeError
            If a field does not exist or a value is not of its kind.

        """
        known = {one.name for one in dataclasses.fields(self)}
        unknown = sorted(changes.keys() - known)
        if unknown:
            raise RecipeError(f"a recipe has no field {', '.join(unknown)}")
        values = dict(changes)
        try:
            if "augmentation" in values:
                table = values["augmentation"]
                values["augmentation"] = dataclasses.replace(self.augmentation, **table)
            if "test_zooms" in values:
                values["test_zooms"] = tuple(float(zoom) for zoom in values["test_zooms"])
            return dataclasses.replace(self, **values)
        except TypeError as error:
            raise RecipeError(f"the recipe cannot be read: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Return every field, for the run record."""
        return dataclasses.asdict(self)


def changes_from_toml(path: Path) -> dict[str, Any]:
    """Read the fields that a recipe file changes.

    Parameters
    ----------
    path
        A TOML file whose keys are fields of `Recipe`.

    Raises
    ------
    RecipeError
        If the file cannot be read or is not TOML.

    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RecipeError(f"{path.name} cannot be read as a TOML file") from None


_NOT_NEGATIVE = (
    "anchor_dimension",
    "contrast_weight",
    "head_weight",
    "learnt_dimension",
    "mixing",
    "n_averaged_epochs",
    "n_epochs",
    "n_frozen_blocks",
    "n_projection_epochs",
    "n_self_supervised_epochs",
    "n_stored_views",
    "patience",
    "training_size_px",
    "weight_decay",
)
_POSITIVE = ("anchor_weight", "backbone_rate", "head_rate", "projection_rate", "temperature")


def _refuse_out_of_range(recipe: Recipe) -> None:
    """Raise for numbers that cannot be meant."""
    checks = [(name, getattr(recipe, name) >= 0) for name in _NOT_NEGATIVE]
    checks += [(name, getattr(recipe, name) > 0) for name in _POSITIVE]
    checks += [
        ("batch_size", recipe.batch_size >= 2),
        ("label_smoothing", 0.0 <= recipe.label_smoothing < 1.0),
        ("averaging", 0.0 <= recipe.averaging < 1.0),
        (
            "test_zooms",
            bool(recipe.test_zooms) and all(1.0 <= z <= _MAXIMUM_ZOOM for z in recipe.test_zooms),
        ),
        ("head_weight", recipe.contrast_weight + recipe.head_weight > 0.0),
    ]
    wrong = [name for name, is_right in checks if not is_right]
    if wrong:
        raise RecipeError(f"{wrong[0]} is out of range")
