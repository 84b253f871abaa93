"""How outcome codes are worded (CLINICAL 4.2)."""

from __future__ import annotations

EVENTS = {
    "death": "died",
    "in-hospital-death": "died in hospital",
    "death-on-treatment": "died during treatment",
    "icu-admission": "were admitted to intensive care",
    "ventilation": "were ventilated",
    "intubation": "were intubated",
    "extubation": "were extubated",
    "niv": "had non-invasive ventilation",
    "oxygen": "needed oxygen",
    "renal-replacement": "had renal replacement",
    "readmission": "were readmitted",
    "return": "came back to hospital",
    "home-same-day": "went home the same day",
    "cancer-found": "had cancer found",
    "recurrence": "had a recurrence",
    "pneumothorax": "had a pneumothorax",
    "histology-adenocarcinoma": "had adenocarcinoma on histology",
    "histology-squamous": "had squamous cell carcinoma on histology",
    "histology-small-cell": "had small cell carcinoma on histology",
    "histology-other": "had another tumour on histology",
    "surgery": "had surgery",
    "observed": "were observed only",
    "aspirated": "had aspiration",
    "drained": "had a drain",
    "tapped": "had a pleural tap",
    "lytic-or-vats": "had fibrinolysis or thoracoscopic surgery",
    "malignant": "had a malignant effusion",
    "culture-proof": "had culture or nucleic-acid proof",
    "tissue-proof": "had tissue proof",
    "treatment-completed": "completed treatment",
    "lost-to-follow-up": "were lost to follow-up",
    "relapse": "had a relapse",
    "course-settled": "had settled",
    "course-persisting": "had persisting disease",
    "course-progressing": "had progressing disease",
    "steroids": "had steroids",
    "survival": "were recorded as surviving",
}
STATES = {
    "icu": "in intensive care",
    "ventilated": "ventilated",
    "intubated": "intubated",
    "oxygen": "on oxygen",
    "niv": "on non-invasive ventilation",
    "drain": "with a pleural drain",
    "cancer": "known to have cancer",
}
NUMBERS = {
    "length-of-stay": ("Length of stay", "days"),
    "days-to-tissue": ("Time to tissue", "days"),
}
_SAME_DAY = frozenset({"home-same-day"})  # the words say the horizon
NOT_COUNTED = frozenset({"stage"})  # a category on its own scale, shown case by case only
ORDER = (
    "death",
    "in-hospital-death",
    "death-on-treatment",
    "icu-admission",
    "ventilation",
    "intubation",
    "length-of-stay",
)


def event_phrase(code: str, horizon_days: int | None) -> str:
    """Return the verb phrase of an event.

    Examples
    --------
    >>> event_phrase("death", 30), event_phrase("pleural-drainage", None)
    ('died within 30 days', 'had pleural drainage')

    """
    phrase = EVENTS.get(code, f"had {code.replace('-', ' ')}")
    if horizon_days is None or code in _SAME_DAY:
        return phrase
    return f"{phrase} within {horizon_days} {'day' if horizon_days == 1 else 'days'}"


def event_phrase_of_one(code: str, horizon_days: int | None) -> str:
    """Return the verb phrase for one patient.

    Examples
    --------
    >>> event_phrase_of_one("icu-admission", 7), event_phrase_of_one("home-same-day", 1)
    ('was admitted to intensive care within 7 days', 'went home the same day')

    """
    phrase = event_phrase(code, horizon_days)
    return f"was {phrase.removeprefix('were ')}" if phrase.startswith("were ") else phrase


def state_phrase(code: str) -> str:
    """Return what was already so when the film was taken."""
    return STATES.get(code, code.replace("-", " "))
