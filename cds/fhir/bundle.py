"""FHIR Bundles: what a server or a prefetch answered, taken apart; and the ones that we send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cds.fhir.shapes import Resource, items, mapping, text, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, repr=False)
class SearchAnswer:
    """The parts of one answer to a read or search.

    Attributes
    ----------
    matches
        Resources of the wanted type.
    included
        Resources of other types, for example Endpoints.
    next_url
        Link to the next page, or None.
    has_failed
        Whether the answer is, or holds, an OperationOutcome instead of data.
    n_malformed
        Entries that are no resource.
    n_stated
        Matches over all pages as the server counts them, None where it does not say.

    """

    matches: tuple[Resource, ...] = ()
    included: tuple[Resource, ...] = ()
    next_url: str | None = None
    has_failed: bool = False
    n_malformed: int = 0
    n_stated: int | None = None


def answer_from_json(value: object, resource_type: str) -> SearchAnswer:
    """Take apart a resource, a Bundle or an OperationOutcome.

    Parameters
    ----------
    value
        JSON of an answer or of a prefetch member.
    resource_type
        What was asked for.

    Returns
    -------
    SearchAnswer
        Never raises: what has no FHIR shape at all counts as failed.

    """
    if not isinstance(value, Mapping):
        return SearchAnswer(has_failed=True)
    kind = value.get("resourceType")
    if kind == resource_type:
        return SearchAnswer(matches=(value,))
    if kind != "Bundle":
        return SearchAnswer(has_failed=True)
    entries = value.get("entry")
    entry_list = entries if isinstance(entries, list) else []
    resources = [mapping(mapping(entry).get("resource")) for entry in entry_list]
    known = [r for r in resources if text(r.get("resourceType"))]
    matches = tuple(r for r in known if r.get("resourceType") == resource_type)
    outcomes = [r for r in known if r.get("resourceType") == "OperationOutcome"]
    others = tuple(
        r for r in known if r.get("resourceType") not in {resource_type, "OperationOutcome"}
    )
    return SearchAnswer(
        matches=matches,
        included=others,
        next_url=_next_url(value),
        has_failed=not matches and any(map(_is_failure, outcomes)),
        n_malformed=len(resources) - len(known),
        n_stated=whole_number(value.get("total")),
    )


def search_bundle(
    entries: Sequence[Mapping[str, Any]],
    *,
    base_url: str,
    self_url: str,
    total: int | None = None,
    next_url: str | None = None,
) -> dict[str, Any]:
    """Return a searchset Bundle of our own resources.

    Parameters
    ----------
    entries
        Resources that match, in order.
    base_url
        Of our FHIR API, without a slash at the end; makes each `fullUrl`.
    self_url
        The search as it was understood.
    total
        Matches over all pages; None means the number of entries.
    next_url
        Of the next page.

    References
    ----------
    FHIR R4, RESTful API, search; an empty answer has no `entry`.

    """
    links = [{"relation": "self", "url": self_url}]
    if next_url:
        links.append({"relation": "next", "url": next_url})
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(entries) if total is None else total,
        "link": links,
    }
    if entries:
        bundle["entry"] = [
            {
                "fullUrl": f"{base_url}/{resource['resourceType']}/{resource['id']}",
                "resource": dict(resource),
                "search": {"mode": "match"},
            }
            for resource in entries
        ]
    return bundle


def _next_url(bundle: Resource) -> str | None:
    links = (link for link in items(bundle.get("link")) if link.get("relation") == "next")
    return next((url for link in links if (url := text(link.get("url")))), None)


def _is_failure(outcome: Resource) -> bool:
    severities = {text(issue.get("severity")) for issue in items(outcome.get("issue"))}
    return not severities or bool(severities & {"error", "fatal"})
