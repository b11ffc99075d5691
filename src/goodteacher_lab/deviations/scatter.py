"""Student against teacher confidence in many settings: slopes, and how many settings exaggerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from goodteacher.report.tables import Grid
from goodteacher_lab.claims import claim_of
from goodteacher_lab.deviations import settings as setting
from goodteacher_lab.deviations.runs import EVERY, loaded, problems_of, sized
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.published import published

PAPER = published("nagarajan2023")
KINDS = {"taught": "taught", "without a teacher": "alone", "roles exchanged": "exchanged"}


def scatter(job: Job) -> Finding:
    """Draw student against teacher confidence in every setting, with slopes, and count the settings that exaggerate."""
    settings, departures = [], []
    for name in problems_of(job):
        size = sized(job, images=name == "images")
        pairs, said = setting.pairs_of(job, size)
        words, problem = loaded(job, name, size)
        job.say(f"{name}: {len(pairs)} pairs, {size.seeds} seeds")
        settings += setting.trained(job, f"deviations-{name}", words, problem, size, pairs)
        departures += [*setting.departures_of(problem, size), said]
    counts = {
        split: {kind: sum(s.seen[split, kind].exceeds("underfit", 0.5) for s in settings) for kind in KINDS.values()}
        for split in setting.SPLITS
    }
    beyond = {split: sum(s.beyond_chance(split).low > 0 for s in settings) for split in setting.SPLITS}
    n = len(settings)
    both = " and ".join(f"{counts[split]['taught']} of {n} settings on {split}" for split in ("test", "train"))
    verdict = (
        f"Students underfit their teachers' low-confidence points in {both} (published: {PAPER['counts']['test']} on test, "
        f"{PAPER['counts']['train']} on train). Of the same models without a teacher, held against the same teachers, "
        f"{counts['test']['alone']} and {counts['train']['alone']} do too; the taught ones do so more often than these, by an "
        f"interval that excludes zero, in {beyond['test']} and {beyond['train']}. With the roles exchanged, "
        f"{counts['test']['exchanged']} teachers on test and {counts['train']['exchanged']} on train underfit their students."
    )
    claim = claim_of("deviations/scatter")
    return Finding(
        "deviations/scatter",
        claim.text,
        verdict,
        (*EVERY, *claim.departures, *dict.fromkeys(departures)),
        (
            _count_grid(settings, counts, beyond),
            *(setting.deviation_grid(settings, split) for split in ("test", "train")),
            setting.accuracy_grid(settings, "CIFAR-100, ResNet-56 by itself", PAPER["self"]),
        ),
        {f"confidence: {s.name}": setting.confidence_chart(s) for s in settings},
        {s.name: setting.plain_setting(s) for s in settings},
    )


def _count_grid(
    settings: Sequence[setting.Condition], counts: Mapping[str, Mapping[str, int]], beyond: Mapping[str, int]
) -> Grid:
    n = len(settings)
    rows = []
    for split in ("test", "train"):
        own = counts[split]
        cells = (f"{own[kind]} of {n}" for kind in KINDS.values())
        rows.append(
            (f"underfit low-confidence points, {split}", PAPER["counts"][split], *cells, f"{beyond[split]} of {n}")
        )
    slopes = [sum(s.seen["test", kind].exceeds("slope", 1.0) for s in settings) for kind in KINDS.values()]
    rows.append(("slope above 1, test", PAPER["slopes"], *(f"{k} of {n}" for k in slopes), "-"))
    columns = ("what", "published", "taught", "without a teacher", "roles exchanged", "taught more than without")
    note = "Settings whose 95% interval over seeds lies above one half (shares) or above 1 (least-squares slopes)."
    return Grid(f"Settings that exaggerate (n = {n} settings)", columns, tuple(rows), note)
