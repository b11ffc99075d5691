"""The page of one student: what it is made from, what it says, and what it says it cannot."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.digits import digits_problem
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.explain import conclusion_of
from goodteacher.report import explain as page
from goodteacher.report.explain import data_parts, explain_run, find_run, load_for, plain_explanation, write_explanation
from goodteacher.train.infer import predict


@pytest.fixture(scope="module")
def results(digits_study):
    return digits_study.results


def taught(results, arm="cooled", seed=0):
    (run,) = [c.run for c in results.plan.cells if (c.teacher, c.seed) == (arm, seed)]
    return results.run(run)


@pytest.fixture(scope="module")
def explained(results):
    return explain_run(taught(results), digits_problem())


def test_training_examples_are_answered_by_both(results):
    run, problem = taught(results), digits_problem()
    (part,), said = data_parts(run, problem)
    assert part.name == "train" and len(part.labels) == len(problem.train)
    assert said == ["Training had no augmentation, so there is no augmented train apart."]
    own = predict(run.model, problem, "train").softmax(1).sum(0)
    torch.testing.assert_close(part.student.softmax(1).sum(0), own, atol=1e-2, rtol=1e-3)
    teacher = results.answers["cooled", 0]
    mapped = teacher.map(predict(teacher.runs[0].model, problem, "train")).softmax(1).sum(0).float()
    torch.testing.assert_close(part.teacher.softmax(1).sum(0), mapped, atol=1e-2, rtol=1e-3)


def test_augmented_training_examples_are_apart(tmp_path):
    from goodteacher.api import run_study

    images = torch.randint(0, 255, (80, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    labels = torch.arange(80).numpy() % 2
    problem = replace(Problem.from_arrays(images[:60], labels[:60], images[60:], labels[60:]), augment="crop_flip")

    mlp = {"mlp": {"widths": [4]}}
    study = {"problem": "arrays", "recipe": {"epochs": 1, "batch_size": 16, "precision": "fp32"}, "seeds": 1,
             "teachers": {"t": {"model": mlp}}, "students": {"s": {"model": mlp}}}  # fmt: skip
    results = run_study(study, problem, out=tmp_path, device="cpu", quiet=True, page=False).results
    parts, said = data_parts(taught(results, "t"), problem)
    assert [p.name for p in parts] == ["train", "augmented train"] and said == []
    plain, augmented = parts
    assert sorted(plain.labels.tolist()) == sorted(augmented.labels.tolist())
    assert not torch.equal(plain.student, augmented.student)


def test_only_so_many_training_examples_are_looked_at(results, monkeypatch):
    monkeypatch.setattr(page, "MOST", 1000)
    (part,), said = data_parts(taught(results), digits_problem())
    assert len(part.labels) == 1000 and any("drawn at random" in line for line in said)


def test_every_split_is_explained_where_the_data_are_there(explained):
    assert [e.part.name for e in explained.parts] == ["train", "validation", "test"]
    assert [len(e.part.labels) for e in explained.parts] == [1008, 250, 539]


def test_without_data_saved_outputs_are_explained_and_that_is_said(results):
    found = explain_run(taught(results))
    assert [e.part.name for e in found.parts] == ["validation", "test"]
    assert "training examples are not explained" in found.said[0]


def test_other_data_are_refused(results):
    with pytest.raises(ConfigError, match="must be those it was trained on"):
        explain_run(taught(results), digits_problem(seed=1))


def test_the_studys_own_words_load_its_data(results):
    run = taught(results)
    problem, said = load_for(run, {"name": "digits"}, None, None)
    assert problem is not None and problem.fingerprint == run.spec.problem and said == []
    problem, said = load_for(run, {"name": "cifar10", "root": "nowhere"}, None, None)
    assert problem is None and "could not be loaded" in said[0]
    problem, said = load_for(run, {"name": "digits", "noise": 0.5}, None, None)
    assert problem is None and "other data" in said[0]
    assert load_for(run, {}, None, None)[0] is None


def test_data_given_are_changed_as_the_study_says(results):
    run = taught(results)
    problem, _ = load_for(run, {"name": "npz", "path": "gone.npz", "noise": 0.5, "subset": 10}, "digits", None)
    assert problem is not None and problem.fingerprint == load("digits", noise=0.5, subset=10).fingerprint
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_for(run, {"name": "digits"}, "digit", None)


def test_a_run_is_found_by_the_beginning_of_its_id(results):
    run = taught(results)
    found, words = find_run([results.folder], run.id[:12])
    assert found.id == run.id and words == {"name": "digits"}
    with pytest.raises(ConfigError, match="must be one run"):
        find_run([results.folder], "")
    with pytest.raises(OSError, match="must be finished"):
        find_run([results.folder], "zzzz")


def test_the_page_is_whole_and_loads_nothing(explained, tmp_path):
    text = write_explanation(explained, tmp_path).read_text(encoding="utf-8")
    head = text[: text.index("<script>")]
    assert "http" not in head and "vegaEmbed" in text
    for chart in ("scatter", "reliability", "classes"):
        assert text.count(f"#chart-{chart}") == 1 and f'id="chart-{chart}"' in head
    assert conclusion_of(explained.parts).split("; ")[0] in head
    for title in (
        "How far the student answers",
        "Deviations:",
        "Calibration",
        "Where the student beats",
        "Class by class",
    ):
        assert title in head
    assert "label_smoothing, seed 0, after the target map temperature" in head


def test_the_page_lies_beside_its_run(results, tmp_path):
    shutil.copytree(results.store.root, tmp_path, dirs_exist_ok=True)
    run, _ = find_run([tmp_path / "studies" / "tiny"], taught(results).id)
    path = write_explanation(explain_run(run))
    assert path == tmp_path / "runs" / run.id / "explain.html"
    assert json.loads((path.parent / "explain.json").read_text())["run"] == run.id
    told = path.with_suffix(".md").read_text()
    assert told.startswith(f"# Student {run.id}") and "(figure1.svg)" in told and (path.parent / "figure1.svg").exists()


def test_plain_data_have_no_nan_and_every_number(explained):
    plain = plain_explanation(explained)
    text = json.dumps(plain, allow_nan=False)
    test = json.loads(text)["parts"]["test"]
    e = explained.parts[-1]
    assert (
        test["deviations"]["margin"]["all"]["whole"]["slope"]["mean"] == e.deviations["margin"]["all"].whole.slope.mean
    )
    assert test["fidelity"]["agreement"]["mean"] == e.fidelity.agreement.mean
    assert len(test["classes"]) == 10 and test["roles_exchanged"]["said"] == e.exchanged.words
