"""What the Gaussian figure says, in words: which distance orders students, and which teachers are better."""

from __future__ import annotations

from collections.abc import Sequence

from goodteacher.base.stats import holm, paired_difference, t_test_p
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import correlation, number, percent
from goodteacher_lab.mse.toy_panels import COMPARISONS, Point, panel_estimates, pooled


def figure_verdict(problems: Sequence[Sequence[Point]]) -> str:
    """Return what of the figure's statements held, over the draws where there are several."""
    found, said = panel_estimates(problems), []
    n = "dots of this one draw of the problem" if len(problems) == 1 else "draws of the problem"
    whole = found.get(("as it should be", "all"))
    if whole is not None:
        falls, also = whole["mse"].high < 0, whole["ce"].high < 0
        said.append(
            f"That accuracy falls with the squared distance {'held' if falls else 'was not shown'}; that it does not with "
            f"cross-entropy {'did not hold' if also else 'was not refuted'} (n = {whole['mse'].n} {n})."
        )
    for (panel, group), e in found.items():
        told = "squared distance orders better" if e["difference"].low > 0 else (
            "cross-entropy orders better" if e["difference"].high < 0 else "the two are not told apart"
        )  # fmt: skip
        said.append(
            f"{panel.capitalize()} ({group}, n = {e['mse'].n}): rank correlation {correlation(e['mse'])} with the squared "
            f"distance and {correlation(e['ce'])} with cross-entropy; {told}."
        )
    said += _teachers_verdict(problems)
    return " ".join(said) or "Too few dots to say anything."


def _teachers_verdict(problems: Sequence[Sequence[Point]]) -> list[str]:
    """Say which teachers are closer and teach better; students' differences are corrected for how many there are."""
    values, over = pooled(problems), "teachers of this draw" if len(problems) == 1 else "draws"
    known = [(k, b) for k, b in COMPARISONS if k in values and b in values and len(values[k]["student"]) > 1]
    differences = [[x - y for x, y in zip(values[k]["student"], values[b]["student"], strict=True)] for k, b in known]
    corrected = holm([t_test_p(d) for d in differences])
    return [_teacher_words(k, b, values, p, over) for (k, b), p in zip(known, corrected, strict=True)]


def _teacher_words(kind: str, base: str, values: dict[str, dict[str, list[float]]], p: float, over: str) -> str:
    by = {
        name: paired_difference(values[kind][name], values[base][name])
        for name in ("student", "taught mse", "taught ce")
    }
    e = by["student"]
    better = "not shown" if not p < ALPHA else "held" if e.mean > 0 else "the contrary held"
    closer = {
        name: "closer" if by[name].high < 0 else "farther" if by[name].low > 0 else "not told apart"
        for name in ("taught mse", "taught ce")
    }
    return (
        f"{kind[0].upper()}{kind[1:]}s against {base}s: distance of what they teach to p*, {closer['taught mse']} in squared "
        f"distance and {closer['taught ce']} in cross-entropy; their students differ by {percent(e, signed=True)} points "
        f"(better students: {better}, n = {e.n} {over}, p {number(p)} after Holm)."
    )
