"""What training minimises: a contrast by shared labels, inside one source."""

from __future__ import annotations

import torch
from torch.nn import functional


def label_overlap(labels: torch.Tensor) -> torch.Tensor:
    """Return how much of their labels two pictures share (Jaccard index).

    Parameters
    ----------
    labels
        Shape ``(n, m)``, 0 or 1. A picture without labels overlaps with none, itself included.

    Returns
    -------
    torch.Tensor
        Shape ``(n, n)``, in [0, 1].

    """
    shared = labels @ labels.T
    counts = labels.sum(dim=1)
    either = counts[:, None] + counts[None, :] - shared
    return shared / either.clamp(min=1.0)


def supervised_contrastive(
    embeddings: torch.Tensor, attraction: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """Pull pictures together in proportion to their attraction, push the others away.

    Parameters
    ----------
    embeddings
        Shape ``(n, d)``, unit norm.
    attraction
        Shape ``(n, n)``, not negative; its diagonal is ignored. Rows without any are left out.
    temperature
        Positive; smaller looks more at the nearest.

    Returns
    -------
    torch.Tensor
        A scalar.

    References
    ----------
    Khosla et al., "Supervised Contrastive Learning", arXiv:2004.11362, equation 2; with weights
    instead of a set of positives.

    """
    itself = torch.eye(embeddings.shape[0], dtype=torch.bool)
    similarity = (embeddings @ embeddings.T) / temperature
    log_share = functional.log_softmax(similarity.masked_fill(itself, -1e9), dim=1)
    weights = attraction.masked_fill(itself, 0.0)
    totals = weights.sum(dim=1)
    has_partner = totals > 0.0
    per_picture = -(weights * log_share).sum(dim=1)[has_partner] / totals[has_partner]
    return per_picture.sum() / max(1, int(has_partner.sum()))
