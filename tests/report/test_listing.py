import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.data.sources import SOURCES
from goodteacher.maps.table import MAPS
from goodteacher.methods.table import METHODS
from goodteacher.models.table import MODELS
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.report.listing import KINDS, listing
from goodteacher.study.run import Run
from goodteacher.train.recipe import Recipe


@pytest.mark.parametrize(
    ("what", "table"),
    [("models", MODELS), ("objectives", OBJECTIVES), ("methods", METHODS), ("maps", MAPS), ("data", SOURCES)],
)
def test_every_row_of_every_table_is_listed(what, table):
    grid = listing(what)
    assert [row[0] for row in grid.rows] == list(table)
    assert all(len(row) == len(grid.columns) for row in grid.rows)


def row(what, name, column):
    grid = listing(what)
    (found,) = [r for r in grid.rows if r[0] == name]
    return found[grid.columns.index(column)]


def test_options_and_sources_are_shown_as_they_are():
    assert row("objectives", "brier", "options") == "scale=auto, warmup=0.6, per_class=sum"
    assert row("objectives", "cross_entropy", "options") == ""
    assert row("objectives", "focal", "source") == "Lin et al. (2017)"
    assert row("maps", "temperature", "options") == "score=brier, value=None"
    assert row("maps", "temperature", "source") == "Guo et al. (2017)"
    assert row("methods", "kd", "gamma") == "0.1" and "temperature=4" in row("methods", "kd", "options")
    assert "root" not in row("data", "cifar10", "options") and "noise_variance=6.0" in row(
        "data", "gaussian", "options"
    )


def test_models_have_their_published_size():
    assert row("models", "resnet20", "parameters") == "278,324"
    assert row("models", "resnet20", "stages") == "3"


def test_recipes_are_their_keys_with_defaults_and_meaning():
    assert [row[0] for row in listing("recipes").rows] == list(Recipe.model_fields)
    assert row("recipes", "lr", "default") == "0.1" and row("recipes", "ema", "default") == "None"
    assert row("recipes", "milestones", "default") == "0.625, 0.75, 0.875"
    assert row("recipes", "epochs", "meaning") == "passes over the training split."
    assert row("recipes", "swa", "meaning").endswith("batch normalisation estimated anew; or None.")
    assert "goodteacher demo" in listing("recipes").note


def test_runs_of_a_store(digits_study, tmp_path):
    store = digits_study.folder.parent.parent
    grid = listing("runs", out=store)
    assert {r[0] for r in grid.rows} == set(digits_study.plan.runs) and len(grid.rows) == 27
    shown = {row[1:6] for row in grid.rows}
    for kind, loss in (("teacher", "brier"), ("student", "kd"), ("student", "none")):
        assert (kind, "mlp", loss, "digits", "2") in shown
    teachers = {row[0] for row in grid.rows if row[1] == "teacher"}
    assert {row[7] for row in grid.rows if row[3] == "kd"} <= teachers and {row[7] for row in grid.rows[:12]} == {"-"}
    for row in grid.rows:
        run = Run(store / "runs" / row[0])
        (kept,) = (event for event in run.records if event["epoch"] == run.result.epoch)
        assert row[8] == f"{100 * kept['validation']['accuracy']:.1f}"
    assert listing("runs", out=tmp_path / "none").rows == ()


def test_taps_of_a_model():
    grid = listing("taps", "resnet20")
    places = " ".join(row[3] for row in grid.rows)
    assert all(p in places for p in ("stem", "stage 1", "stage 2", "stage 3", "pre-activation 3", "head"))
    assert "(3, 32, 32)" in grid.title and listing("taps", "mlp").rows


def test_every_kind_can_be_listed(tmp_path):
    assert all(listing(kind, "mlp", tmp_path).columns for kind in KINDS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("objectiv",), "list: must be a known name, got 'objectiv'; did you mean 'objectives'"),
        (("taps",), "list taps: needs a model, got none; goodteacher list taps resnet20"),
        (("taps", "resnet21"), "resnet21"),
    ],
)
def test_mistakes(arguments, text):
    with pytest.raises(ConfigError, match=text):
        listing(*arguments)
