"""Write the library: pictures, the table, and what only tests may know."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sandbox.generator.exposure import stamp
from sandbox.generator.parameters import parameters
from sandbox.generator.patients import CaseRecord, draw_cases
from sandbox.generator.places import PLACE_CODES
from sandbox.generator.projection import resize
from sandbox.generator.thorax import Radiograph, render

LICENCE = "CC0-1.0 (synthetic)"
DEFAULT_SEED = 20190105
# product field -> column
COLUMNS = {
    "case_key": "case_id",
    "patient_key": "patient_id",
    "file": "file",
    "collection": "collection",
    "view": "view",
    "body_part": "body_part",
    "modality": "modality",
    "taken_at": "taken_at",
    "age_years": "age",
    "sex": "sex",
    "findings": "findings",
    "diagnosis": "diagnosis",
    "diagnosis_recorded_at": "diagnosis_recorded_at",
    "proof": "proof",
    "labs": "labs",
    "history": "history",
    "outcomes": "outcomes",
    "state_at_film": "state_at_film",
    "report_text": "report_text",
    "licence": "licence",
    "known_at": "known_at",
}
_ISO = "%Y-%m-%dT%H:%M:%SZ"
_PLACE_WORDS = {
    "upper": "upper zone",
    "middle": "mid zone",
    "lower": "lower zone",
    "hilum": "hilum",
    "": "",
}


@dataclass(frozen=True, slots=True)
class LibrarySummary:
    """What was written, and where."""

    folder: Path
    n_cases: int
    n_patients: int


def _findings(case: CaseRecord) -> list[tuple[str, str]]:
    """Return (code, display) of what the film shows, each once."""
    table = parameters("conditions")["findings"]
    kinds = [sign.kind for sign in case.plan.signs]
    if "mass" in kinds and any(s.kind == "mass" and s.size < 0.2 for s in case.plan.signs):
        kinds[kinds.index("mass")] = "nodule"
    if "perihilar_haze" in kinds and case.view == "PA":
        kinds.append("large_heart")
    found = [tuple(table[kind]) for kind in kinds] or [tuple(table["clear"])]
    return list(dict.fromkeys(found))


def _report(case: CaseRecord) -> str:
    """Return one or two plain sentences about the film; no identity, no separators of the table."""
    table = parameters("conditions")["findings"]
    sentences = []
    for sign in case.plan.signs:
        where = _PLACE_WORDS[sign.place]
        side = "on both sides" if sign.side == "both" else f"{sign.side} side"
        sentences.append(
            " ".join(p for p in (table[sign.kind][1], f"{side},", where) if p).strip(" ,") + "."
        )
    if not sentences:
        sentences = ["Lungs clear. Heart size normal." if case.view == "PA" else "Lungs clear."]
    if case.view == "AP":
        sentences.append("Heart size not assessed on AP film.")
    return " ".join(sentences)


def table_row(case: CaseRecord) -> dict[str, str]:
    """Return one row of ``cases.csv``; see ``sandbox/parameters/library_columns.md``."""
    sites = parameters("conditions")["sites"]
    own_diagnosis = f"{case.diagnosis.text()}@{case.diagnosis.recorded_at.strftime(_ISO)}"
    history = [item.text() for item in case.history]
    if case.diagnosis.code:
        history.append(
            own_diagnosis
        )  # recorded after the film: a label, planted for whoever takes it for history
    return {
        "case_id": case.case_number,
        "patient_id": case.patient_number,
        "file": f"images/{case.case_number}.png",
        "collection": sites["b" if case.is_site_b else "a"],
        "view": case.view,
        "body_part": "CHEST",
        "modality": "DX",
        "taken_at": case.film_at.strftime(_ISO),
        "age": str(case.age_years),
        "sex": case.sex,
        "findings": ";".join(
            f"{'sct' if code else ''}|{code}|{text}" for code, text in _findings(case)
        ),
        "diagnosis": case.diagnosis.text(),
        "diagnosis_recorded_at": case.diagnosis.recorded_at.strftime(_ISO),
        "proof": case.diagnosis.proof,
        "labs": ";".join(lab.text() for lab in case.labs),
        "history": ";".join(history),
        "outcomes": ";".join(item.text() for item in case.outcomes),
        "state_at_film": ";".join(case.state_at_film),
        "report_text": _report(case),
        "licence": LICENCE,
        "known_at": case.known_at.strftime(_ISO),
    }


def eight_bit(stored_pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Return 12-bit stored values as 8 bits."""
    return np.asarray(stored_pixels >> 4, dtype=np.uint8)


def _second_export(stored: npt.NDArray[np.uint16], seed: int) -> npt.NDArray[np.uint16]:
    """Return the film as another system exports it: cropped by a few pixels, a little flatter."""
    rng = np.random.default_rng((seed, 2))
    rows, columns = stored.shape
    cut = int(rng.integers(2, 6))
    again = resize(stored[cut:-cut, cut:-cut].astype(np.float32), rows, columns)
    middle, flatter = np.float32(2047.5), np.float32(rng.uniform(0.94, 0.98))
    noise = np.float32(6) * rng.standard_normal(stored.shape, dtype=np.float32)
    again = middle + (again - middle) * flatter + noise
    return stamp(np.clip(np.round(again), 0, 4095).astype(np.uint16))


def _write_picture(case: CaseRecord, folder: Path) -> tuple[str, Radiograph]:
    film = render(case.plan, np.random.default_rng(case.seed))
    pixels = film.stored_pixels
    if case.near_duplicate_of:
        pixels = _second_export(pixels, case.seed)
    Image.fromarray(eight_bit(pixels)).save(
        folder / "images" / f"{case.case_number}.png", compress_level=1
    )
    return case.case_number, Radiograph(
        np.zeros((0, 0), dtype=np.uint16), film.signs, film.pixel_spacing_mm
    )


def _truth(case: CaseRecord, film: Radiograph) -> dict[str, Any]:
    return {
        "case_id": case.case_number,
        "person": case.person,
        "condition": case.condition_key,
        "part": case.part,
        "is_wrong_label": case.is_wrong_label,
        "near_duplicate_of": case.near_duplicate_of,
        "devices": list(case.plan.devices),
        "pixel_spacing_mm": round(film.pixel_spacing_mm, 4),
        "signs": [asdict(sign) for sign in film.signs],
    }


def _map_text() -> str:
    hospitals = parameters("tryout")["hospital"]
    namespaces = {  # a library patient who is also in the chart must be recognised
        hospitals["name"]: hospitals["mrn_system"],
        hospitals["neighbour_name"]: hospitals["neighbour_mrn_system"],
    }
    systems = "\n".join(f'"{name}" = "{system}"' for name, system in namespaces.items())
    columns = "\n".join(f'{field} = "{column}"' for field, column in COLUMNS.items())
    return (
        "# How the product reads cases.csv; see sandbox/parameters/library_columns.md\n"
        f"[columns]\n{columns}\n\n"
        f'[defaults]\nbody_part = "CHEST"\nmodality = "DX"\nlicence = "{LICENCE}"\n'
        "report_text_is_deidentified = true\n\n"
        f"[patient_namespaces]\n{systems}\n\n"
        '[codes]\nsct = "http://snomed.info/sct"\nloinc = "http://loinc.org"\n'
    )


def write_table(folder: Path, cases: Iterable[CaseRecord]) -> None:
    """Write ``cases.csv`` and ``map.toml`` (no pictures)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(COLUMNS.values()))
        writer.writeheader()
        writer.writerows(table_row(case) for case in cases)
    (folder / "map.toml").write_text(_map_text(), encoding="utf-8")


def write_library(
    out_dir: Path, *, seed: int = DEFAULT_SEED, n: int | None = None, processes: int = 2
) -> LibrarySummary:
    """Write the library of synthetic cases.

    Parameters
    ----------
    out_dir
        Folder to fill; made if it is not there.
    seed
        Decides every value and pixel.
    n
        Number of cases; None = 620.
    processes
        Pictures are made in so many processes; the result does not depend on it.

    Returns
    -------
    LibrarySummary
        Counts.

    """
    cases = draw_cases(seed, n)
    (out_dir / "images").mkdir(parents=True, exist_ok=True)
    write_table(out_dir, cases)
    make = partial(_write_picture, folder=out_dir)
    if processes > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            films = dict(pool.map(make, cases, chunksize=8))
    else:
        films = dict(map(make, cases))
    truth = {
        "place_codes": {word: code for word, code in PLACE_CODES.items() if code},
        "cases": [_truth(case, films[case.case_number]) for case in cases],
    }
    (out_dir / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return LibrarySummary(out_dir, len(cases), len({case.patient_number for case in cases}))
