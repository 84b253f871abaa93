"""Checks what we send against the FHIR R4 models; imported lazily, since the models load slowly."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


def validated(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource unchanged if the FHIR R4 models accept it.

    Parameters
    ----------
    resource
        FHIR JSON.

    Raises
    ------
    ValueError
        If the models refuse it.

    References
    ----------
    `fhir.resources.R4B`; it checks cardinality and types, not bindings.

    """
    _model(resource["resourceType"]).model_validate(resource)
    return resource


@cache
def _model(resource_type: str) -> Any:  # noqa: ANN401  # fhir.resources ships no types
    module = import_module(f"fhir.resources.R4B.{resource_type.lower()}")
    return getattr(module, resource_type)
