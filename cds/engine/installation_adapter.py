"""The site adapter: whether it is readable, belongs to this encoder and is up to date."""

from __future__ import annotations

from collections.abc import Iterator

from cds.adapters.generations import GenerationFolder
from cds.adapters.site_adapters import SiteAdapters
from cds.adapters.storage import Storage
from cds.domain.check_line import CheckLine, failed, passed, warned
from cds.domain.errors import CdsError
from cds.domain.projection import Projection
from cds.engine import generation_folder
from cds.settings import Settings


def adapter_lines(settings: Settings, storage: Storage | None) -> Iterator[CheckLine]:
    """Check the site adapter; an installation without one has no such line."""
    if storage is None:
        return
    name = "site adapter"
    adapters = SiteAdapters(storage, GenerationFolder(generation_folder(settings)))
    note = adapters.in_use()
    if note is None:
        return
    try:
        Projection.from_npz(adapters.content(note))
    except (CdsError, ValueError) as error:
        sentence = error.sentence if isinstance(error, CdsError) else "its file cannot be read"
        yield failed(name, sentence, "run: precedent models adapt")
        return
    record = note.record
    evidence = (
        f"{note.sha256[:12]}, {record.kind}, fitted on {record.n_cases} cases of "
        f"{record.n_patients} patients on {record.fitted_at[:10]}"
    )
    n_erased = adapters.n_erased_since_fit(note)
    if n_erased:
        yield warned(
            name,
            f"{evidence}; to be refitted: {n_erased} patients were erased since",
            "run: precedent models adapt (or precedent models adapt --remove)",
        )
        return
    yield passed(name, evidence)
