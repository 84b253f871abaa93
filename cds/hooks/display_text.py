"""Text that came from outside, made safe for a card: escaped Markdown, or a plain word or two."""

from __future__ import annotations

import re
import unicodedata

from cds.domain.study import STUDY_LABELS, StudyRef

# CommonMark's ASCII punctuation that can start or end markup, and what GFM adds ("~", "|", "@").
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~!@])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ORDERED = re.compile(r"^(\s*\d{1,9})([.)])")
_AUTOLINK = re.compile(r"(?i)(www)\.|:(?=//)")
_PLAIN_LABEL = re.compile(r"[^\W_][\w \-/]{0,19}")  # so that every summary stays under its limit


def _visible(text: str) -> str:
    """Return `text` on one line, without control, format (bidirectional) and private characters."""
    kept = "".join(
        " " if unicodedata.category(c) in {"Zl", "Zp", "Cc"} else c
        for c in text
        if unicodedata.category(c) not in {"Cf", "Co", "Cs", "Cn"}
    )
    return " ".join(kept.split())


class DisplayText(str):
    """Escaped GitHub-Flavored Markdown of one line; only `escaped` and the card writer make one."""

    __slots__ = ()

    @classmethod
    def escaped(cls, text: str) -> DisplayText:
        r"""Return text from outside so that no Markdown or HTML in it takes effect.

        Parameters
        ----------
        text
            Any text, for example a laboratory's name of a test.

        References
        ----------
        CDS Hooks 2.0.1, card attribute `detail`; GitHub Flavored Markdown 0.29, 2.4 and 6.9.

        Examples
        --------
        >>> print(DisplayText.escaped("<b>*CRP*</b> [x](http://e)"))
        &lt;b&gt;\*CRP\*&lt;/b&gt; \[x\](http\://e)

        """
        safe = _MARKUP.sub(r"\\\1", _visible(text))
        for character, entity in _ENTITIES.items():
            safe = safe.replace(character, entity)
        safe = _AUTOLINK.sub(lambda m: f"{m[1]}\\." if m[1] else "\\:", safe)
        safe = _ORDERED.sub(r"\1\\\2", safe)
        return cls(re.sub(r"^([-+=])", r"\\\1", safe))


def plain_study_label(study: StudyRef) -> str:
    """Return the study's label for a summary, which is plain text; odd body parts are left out.

    Examples
    --------
    >>> plain_study_label(StudyRef(accession_number="A1", modality="DX", body_part="CHEST"))
    'Chest film'
    >>> plain_study_label(StudyRef(accession_number="A1", modality="CT", body_part="<img src=x>"))
    'CT'

    """
    label = study.label
    if _PLAIN_LABEL.fullmatch(label):
        return label
    kind = STUDY_LABELS.get(study.modality or "", "study")
    return kind[:1].upper() + kind[1:]
