"""Wires what belongs to one encoder: its library with the index, and the analyst over both."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cds.adapters.encoder_generations import EncoderGenerations
from cds.adapters.storage import Storage
from cds.analysis import AnalysisDefaults, AnalysisPorts, Analyst
from cds.domain.fitness import check_fit_and_noise
from cds.domain.query import BlockWeights
from cds.engine.encoders import EncoderParts
from cds.engine.index_upkeep import library_with_upkeep
from cds.library.index_building import EncoderIdentity
from cds.pipeline import Tools
from cds.ports import Clock
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder
from models.patient_features import CataloguePatientFeatures

SOFTWARE = "precedent-cds"


@dataclass(frozen=True, slots=True)
class PartsOverPorts:
    """Wires what belongs to an encoder over what all encoders share."""

    settings: Settings
    storage: Storage
    clock: Clock
    ports: AnalysisPorts

    def __call__(
        self, folder: Path, embedder: OnnxImageEmbedder, generations: EncoderGenerations
    ) -> EncoderParts:
        """Return the parts of an opened encoder."""
        features = CataloguePatientFeatures()
        library, upkeep = library_with_upkeep(
            self.storage,
            generations=generations,
            encoder=EncoderIdentity(
                embedder.encoder_name, embedder.encoder_hash, embedder.dimension
            ),
            features=features,
            library_name=self.settings.library_name,
            clock=self.clock,
        )
        analyst = Analyst(
            ports=self.ports,
            tools=Tools(embedder, features, library, self.storage.keys, check_fit_and_noise),
            passport=lambda: library.view().passport,
            defaults=analysis_defaults(self.settings),
        )
        return EncoderParts(folder, embedder, generations, library, upkeep, analyst)


def analysis_defaults(settings: Settings) -> AnalysisDefaults:
    """Return what holds for every analysis of an installation."""
    return AnalysisDefaults(
        software=f"{SOFTWARE} {version(SOFTWARE)}",
        library_name=settings.library_name,
        cutoff=settings.cutoff,
        weights=BlockWeights(settings.image_weight),
        image_module=settings.image_module,
    )
