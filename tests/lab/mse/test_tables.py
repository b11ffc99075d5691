"""Tables 1 to 3 of the MSE teacher: printed figures, the studies, parts that add up, and the tables at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from goodteacher.base.errors import ConfigError
from goodteacher.data.facts import Facts
from goodteacher.methods.table import parse_method
from goodteacher.models.table import MODELS
from goodteacher.study.plan import plan_study
from goodteacher_lab.benchmark import LIGHT
from goodteacher_lab.job import Job
from goodteacher_lab.mse import tables as mse_tables
from goodteacher_lab.mse.cells import Cell, cell_grid, gain_chart, overall, verdict, within
from goodteacher_lab.mse.printed import RERUN, SLIPS, STUDENTS, TABLE1, TABLE2, TABLE3, TEACHERS
from goodteacher_lab.mse.study import imagenet_study, pair_study
from goodteacher_lab.mse.tables import table1, table3
from goodteacher_lab.sizes import METHODS1, METHODS2, METHODS3, SIZES, STAND_IN
from goodteacher_lab.table import REPRODUCTIONS

CIFAR100 = Facts("f" * 16, 100, (3, 32, 32), 45000, True, False, False)
WORDS = {"name": "cifar100"}


def gains(table):
    printed = [p for row in table.values() for p in row.values()]
    return [mse - plain for plain, mse in printed if plain is not None and mse is not None]


def test_printed_figures_have_the_sums_that_the_paper_tells():
    """All 120 cells of Table 1 gain, 2.67 at most; of Table 2 all but the one that is a misprint."""
    first, second = gains(TABLE1), gains(TABLE2)
    assert len(first) == 120 and min(first) > 0 and max(first) == pytest.approx(2.67)
    assert np.mean(first) == pytest.approx(0.572, abs=5e-4)
    assert len(second) == 48 and sum(g > 0 for g in second) == 47 and np.mean(second) == pytest.approx(0.532, abs=5e-4)
    assert set(TABLE2) < set(TABLE1) and len(TABLE1) == 12 and set(SLIPS) == {"table1", "table2", "table3", "table4"}
    assert {(t, s) for t, s, _ in RERUN} < set(TABLE1)


def test_every_name_is_a_model_or_a_method():
    for teacher, student in (*TABLE1, *TABLE3, STAND_IN):
        assert {teacher, student} <= set(MODELS)
    assert {t for t, _ in TABLE1} == set(TEACHERS) and {s for _, s in TABLE1} == set(STUDENTS)
    for methods, rows in ((METHODS1, TABLE1), (METHODS2, TABLE2), (METHODS3, TABLE3)):
        assert all(set(row) - {"teacher"} == set(methods) for row in rows.values())
        assert parse_method(" + ".join({part for m in methods for part in m.split("_")}))


def test_table_one_at_full_size_is_five_seeds_of_everything():
    size = SIZES["mse/table1"]["paper"]
    assert (size.epochs, size.seeds, size.examples, len(size.pairs)) == (240, 5, None, 12)
    study = pair_study("table1", ("resnet56", "resnet20"), METHODS1, WORDS, size, "")
    assert (study.recipe.epochs, study.recipe.batch_size, study.recipe.lr) == (240, 64, 0.05)
    assert study.notes == () and set(study.students) == {"alone", *METHODS1}
    assert study.students["dkd"].method == {"dkd": {"beta": 2.0}}
    light = pair_study("table2", ("vgg13", "mobilenetv2"), METHODS2, WORDS, size, "")
    assert light.students["at_kd"].recipe == {"lr": 0.01} and set(light.students["crd_kd"].method) == {"crd", "kd"}
    assert "mobilenetv2" in LIGHT and "recipe" not in light.teachers["brier"].model_dump(exclude_defaults=True)


def test_a_part_of_a_study_is_runs_of_the_whole():
    """The same runs by content, so that nothing is trained twice and the table fills."""
    build, size = pair_study, SIZES["mse/table1"]["minutes"]
    whole = plan_study(build("table1", STAND_IN, ("kd", "at", "crd"), WORDS, size, ""), CIFAR100)
    part = plan_study(build("table1", STAND_IN, ("at",), WORDS, size, ""), CIFAR100)
    assert set(part.runs) < set(whole.runs)
    joined = plan_study(build("table2", STAND_IN, ("at",), WORDS, size, ""), CIFAR100)
    teachers = {run for run, spec in whole.runs.items() if spec.kind == "teacher"}
    assert teachers == {run for run, spec in joined.runs.items() if spec.kind == "teacher"} and len(teachers) == 4


def test_imagenet_has_its_own_recipe_and_constants():
    size = SIZES["mse/table3"]["paper"]
    study = imagenet_study("table3", ("resnet50_imagenet", "mobilenetv1"), METHODS3, WORDS, size, "")
    assert (study.recipe.epochs, study.recipe.lr, study.recipe.weight_decay) == (120, 0.1, 1e-4)
    assert study.recipe.milestones == (0.25, 0.5, 0.75)
    assert study.students["dkd"].method == {"dkd": {"temperature": 1.0, "warmup": 1, "beta": 2.0}}
    assert study.students["reviewkd_kd"].method == {"reviewkd": {"beta": 8.0, "warmup": 1}, "kd": {}}
    small = imagenet_study("table3", ("resnet34_imagenet", "resnet18_imagenet"), ("kd",), WORDS, size, "")
    assert len(plan_study(small, Facts("f" * 16, 10, (3, 64, 64), 100, True, False, False)).runs) == 3 * (2 + 1 + 2)


def cell(setting, method, plain, brier, published=(70.0, 70.5)):
    measured = {o: dict(enumerate(v)) for o, v in (("cross_entropy", plain), ("brier", brier))}
    return Cell(setting, method, "net", published, measured=measured)


def test_differences_are_paired_by_seed_and_averaged_over_teachers():
    one, two = cell("a", "kd", [0.5, 0.6, 0.7], [0.52, 0.61, 0.73]), cell("b", "at", [0.5, 0.6], [0.5, 0.61])
    assert one.gain.mean == pytest.approx(0.02) and one.gain.n == 3 and one.published_gain == pytest.approx(0.5)
    # Both cells share the teachers of seeds 0 and 1: three values, (0.02 + 0)/2, (0.01 + 0.01)/2 and 0.03.
    assert overall([one, two]).n == 3 and overall([one, two]).mean == pytest.approx((0.01 + 0.01 + 0.03) / 3)
    said = verdict([one, two, Cell("c", "kd", "net")], unfinished=4)
    assert "ahead in 2 of 2 cells" in said and "+1.67" in said and "4 of the runs ordered are not finished" in said
    assert "a gain in 2 of 2 cells, mean +0.50" in said
    assert verdict([Cell("c", "kd", "net")]) == "Nothing is finished yet."
    poor = cell("a", "kd", [0.51, 0.52], [0.53, 0.5])
    assert "close to chance" in verdict([poor], classes=2) and "close to chance" not in verdict([poor], classes=10)


def test_what_is_not_finished_is_a_dash():
    grid = cell_grid("t", [cell("a", "kd", [0.5], [0.6]), Cell("a", "at", "net", (58.58, 59.63), starred=True)])
    assert grid.rows[0][5:8] == ("50.00", "60.00", "+10.00") and grid.rows[0][-1] == "1"
    assert grid.rows[1][2:] == ("58.58*", "59.63", "+1.05", "-", "-", "-", "-", "0")
    lacking = cell_grid("t", [cell("a", "kd", [0.5, 0.6], [0.6])]).rows[0]
    assert lacking[7] == "+10.00" and lacking[-1] == "1 of 2"  # one pair, though two seeds of a column are there
    drawn = json.loads(gain_chart([cell("a", "kd", [0.5, 0.6], [0.6, 0.8])]))
    (rows,) = drawn["datasets"].values()
    assert [(r["source"], round(r["gain"], 6)) for r in rows] == [("measured", 15.0), ("published", 0.5)]


def test_the_first_k_classes():
    import torch

    logits, labels = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), torch.tensor([1, 0])
    assert [within(logits, labels, k) for k in (1, 2, 5)] == [0.0, 0.5, 1.0]


def test_pictures_must_be_pointed_to(tmp_path):
    for name in ("mse/table1", "mse/table2", "mse/table3"):
        with pytest.raises(ConfigError, match="--images: must say where pictures are"):
            REPRODUCTIONS[name].run(Job(out=tmp_path))


@pytest.fixture(scope="module")
def coloured(paint):
    return paint(4, train=160, test=60)


@pytest.mark.slow
def test_table_one_fills_in_parts(coloured, tmp_path, monkeypatch):
    monkeypatch.setattr(mse_tables, "METHODS1", ("kd", "at", "sp"))

    def job(method, seeds):
        chosen = {"method": (method,)}
        return Job(epochs=1, seeds=seeds, choices=chosen, images=str(coloured), out=tmp_path, quiet=True)

    first = table1(job("kd", 2))
    assert [(c["method"], sorted(c["measured"])) for c in first.data["students"]] == [
        ("kd", ["brier", "cross_entropy"])
    ]
    second = table1(job("at", 1))
    assert [c["method"] for c in second.data["students"]] == ["kd", "at"]
    assert second.data["students"][0] == first.data["students"][0] and second.data["unfinished"] == 0
    assert [row[-1] for row in second.grids[0].rows] == ["2", "1"]
    assert {c["method"] for c in second.data["networks"]} == {"teacher", "student alone"}
    assert any("released code trains them by cross-entropy" in line for line in second.departures)
    assert any("this problem has 4 classes" in line for line in second.departures)
    elsewhere = table1(
        Job(
            seeds=1,
            epochs=1,
            choices={"pair": ("resnet56-resnet20",), "method": ()},
            images=str(coloured),
            out=tmp_path,
            quiet=True,
        )
    )
    settings = {(c["setting"], c["method"]) for c in elsewhere.data["students"]}
    assert ("resnet14 -> resnet8", "kd") in settings and ("resnet56 -> resnet20", "at") in settings
    assert json.dumps(elsewhere.data)


@pytest.mark.slow
def test_table_three_on_a_folder_of_a_few_pictures(tmp_path):
    draws = np.random.default_rng(0)
    for part, n in (("train", 6), ("val", 3)):
        for name in ("a", "b", "c"):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(draws.integers(0, 255, size=(70, 80, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    chosen = {"method": ("kd",)}
    found = table3(Job(epochs=1, seeds=1, choices=chosen, images=str(tmp_path / "pictures"), out=tmp_path, quiet=True))
    assert set(found.data) == {"top1", "top5", "unfinished"} and found.data["unfinished"] == 0
    kd = [next(c for c in found.data[k] if c["method"] == "kd")["measured"]["brier"]["0"] for k in ("top1", "top5")]
    assert kd[0] <= kd[1] == 1.0
    assert any("cuts boxes of 8 to 100% of that" in line and "64 x 64" in line for line in found.departures)
    assert len(found.grids) == 4 and json.dumps(found.data)
