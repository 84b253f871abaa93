"""Text from outside has no effect on a card."""

import pytest

from cds.hooks.display_text import DisplayText, plain_study_label
from tests.builders.answers import a_study


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        pytest.param("CRP 12 mg/L", "CRP 12 mg/L", id="plain"),
        pytest.param(
            "<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", id="html"
        ),
        pytest.param("a & b", "a &amp; b", id="ampersand"),
        pytest.param("&lt;b&gt;", "&amp;lt;b&amp;gt;", id="entity"),
        pytest.param("**bold**", r"\*\*bold\*\*", id="bold"),
        pytest.param("![x](http://e/y.png)", r"\!\[x\](http\://e/y.png)", id="image"),
        pytest.param("www.example.invalid", r"www\.example.invalid", id="autolink"),
        pytest.param("a@example.invalid", r"a\@example.invalid", id="mail"),
        pytest.param("# title", r"\# title", id="heading"),
        pytest.param("- item", r"\- item", id="list"),
        pytest.param("12. item", r"12\. item", id="ordered-list"),
        pytest.param("> quote", "&gt; quote", id="quote"),
        pytest.param("a\n\n---\nb", "a --- b", id="lines"),
        pytest.param("a\u202eb\u200b", "ab", id="bidirectional"),
        pytest.param("`x`|~~y~~", r"\`x\`\|\~\~y\~\~", id="code-table-strike"),
        pytest.param("a\\*b", r"a\\\*b", id="backslash"),
    ],
)
def test_escaped_when_text_holds_markup_shows_it_as_text(text: str, escaped: str) -> None:
    assert DisplayText.escaped(text) == escaped


@pytest.mark.parametrize(
    ("body_part", "modality", "label"),
    [
        pytest.param("CHEST", "DX", "Chest film", id="usual"),
        pytest.param(None, "CR", "Film", id="no-body-part"),
        pytest.param("CHEST](x)", "DX", "Film", id="markdown"),
        pytest.param("A" * 40, "CT", "CT", id="too-long"),
        pytest.param("CHEST", None, "Chest study", id="no-modality"),
        pytest.param("<b>", "XX", "Study", id="unknown-modality"),
    ],
)
def test_label_when_the_body_part_is_odd_leaves_it_out(
    body_part: str | None, modality: str | None, label: str
) -> None:
    assert plain_study_label(a_study(body_part=body_part, modality=modality)) == label
