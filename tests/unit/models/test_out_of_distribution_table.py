"""The evaluation's table: worst first, and the figures that it claims."""

import numpy as np

from cds.library.limit_estimation import SHARE_BESIDE_GATE
from models.evaluation.out_of_distribution import (
    LIMIT_SHARE,
    Embedded,
    averaged,
    table_text,
)

DIMENSION = 12


def pictures(n: int, axis: int, *, scatter: float = 0.1, seed: int = 0) -> Embedded:
    rng = np.random.default_rng(seed)
    raw = np.eye(DIMENSION)[axis] + scatter * rng.normal(size=(n, DIMENSION))
    vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    names = np.array([f"{axis} {seed} {i}" for i in range(n)])
    return Embedded(vectors, names, np.full(n, "PA"))


def results() -> list:
    unreadable = pictures(20, 3)
    unreadable.vectors[:] = np.nan
    kinds = {"far": pictures(30, 5), "alike": pictures(30, 0, seed=8), "blank": unreadable}
    return averaged({"one": pictures(200, 0), "two": pictures(200, 1)}, kinds, 2)


def test_kinds_are_listed_worst_first_after_the_held_out_films():
    rows = results()
    assert [row.kind for row in rows[:3]] == [
        "held-out films, all",
        "held-out films, one",
        "held-out films, two",
    ]
    aurocs = [row.auroc for row in rows[3:]]
    assert rows[3].kind == "alike"
    assert aurocs == sorted(aurocs)


def test_figures_of_plain_kinds_are_right():
    by_kind = {row.kind: row for row in results()}
    assert by_kind["far"].auroc == by_kind["far"].by_gate == by_kind["far"].refused == 1.0
    assert by_kind["blank"].auroc == by_kind["blank"].by_gate == 1.0
    assert by_kind["alike"].auroc < 0.7
    assert by_kind["held-out films, all"].refused < 0.1


def test_table_has_a_row_per_kind():
    text = table_text({"Library": results()})
    assert text.startswith("### Library\n")
    assert "| far | 30 | 1.000 | 100.0% |" in text
    assert len(text.splitlines()) == 4 + 6


def test_share_of_the_limit_is_the_index_builders():
    assert LIMIT_SHARE == SHARE_BESIDE_GATE
