"""The command line as a person meets it: what it prints, what it exits with, and what it never shows."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

STUDY = {
    "problem": "digits",
    "recipe": {"epochs": 2, "batch_size": 64},
    "teachers": {"ce": {"model": {"mlp": {"widths": [8]}}}},
    "students": {"kd": {"model": {"mlp": {"widths": [4]}}}},
    "seeds": 2,
}


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return "study.yaml"


def test_run_report_list_and_rank(call, study, tmp_path):
    code, out, _ = call("run", study, "--engine", "local", "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert (tmp_path / result["studies"][0]["page"]).exists()
    assert "Students on test" in out and "n = 2 seeds of 250 examples" in out
    code, out, _ = call("run", study, "--engine", "local")
    assert "4 of 4 runs are finished already" in out
    code, out, _ = call("report", "goodteacher-runs", "--json")
    assert (
        code == 0 and json.loads(out.splitlines()[-1])["studies"][0]["conclusion"] == result["studies"][0]["conclusion"]
    )
    code, out, _ = call("list", "runs", "--json")
    rows = json.loads(out.splitlines()[-1])
    teachers = [row["run"] for row in rows if row["kind"] == "teacher"]
    assert len(rows) == 4 and len(teachers) == 2
    code, out, _ = call("rank", *teachers, "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["ranked"][0]["seeds"] == 2
    code, out, _ = call("rank", teachers[0], "--data", "digits", "--by", "nll")
    assert code == 0 and "n = 1 seed of 250 examples" in out


def test_rank_takes_any_mixture(call, study, tmp_path):
    call("run", study, "--engine", "local", "--quiet")
    code, out, _ = call("list", "runs", "--json")
    runs = [row["run"] for row in json.loads(out.splitlines()[-1]) if row["kind"] == "teacher"]
    weights = tmp_path / "goodteacher-runs" / "runs" / runs[0] / "model.safetensors"
    words = (
        "rank",
        *runs,
        f"mlp={weights}",
        "goodteacher-runs/studies/study",
        "--data",
        "digits",
        "--map",
        "temperature",
    )
    code, _, err = call(*words)
    assert code == 2 and "weights" in err and err.count("\n") == 1  # the table's mlp is wider than this one
    code, out, _ = call(
        "rank", *runs, "goodteacher-runs/studies/study", "--map", "temperature", "--full", "--csv", "card.csv", "--json"
    )
    rows = json.loads(out.splitlines()[-1])["ranked"]
    assert code == 0 and len(rows) == 3 and sum(", temperature" in row["name"] for row in rows) == 1
    same = [row for row in rows if "temperature" not in row["name"]]
    assert same[0]["brier"] == same[1]["brier"] and same[0]["tied"] and same[1]["tied"]  # the arm is the runs: a tie
    assert {"cmi", "resolution", "entropy"} <= set(rows[0]) and "lipschitz_pgd" not in rows[0]
    with (tmp_path / "card.csv").open() as file:
        assert len(file.readlines()) == 4
    assert "secondary_deviation" in out
    code, _, err = call("rank", *runs, "--by", "lipschitz_pgd")
    assert code == 2 and "--probes measures it" in err
    code, out, _ = call("rank", *runs, "goodteacher-runs/studies/study", "--by", "lipschitz_pgd", "--probes", "--json")
    assert code == 0 and all("lipschitz_pgd" in row for row in json.loads(out.splitlines()[-1])["ranked"])
    for option in ("--map", "--data"):
        code, _, err = call("rank", "goodteacher-runs/studies/study", option, "digits")
        assert code == 2 and f"{option}: is for runs, got the study" in err
    code, _, err = call("rank", "goodteacher-runs")
    assert code == 2 and "got the store goodteacher-runs" in err
    code, _, err = call("rank", runs[0], "--data", "gaussian")
    assert code == 2 and "must know the problem's 3 classes by the same names" in err and err.count("\n") == 1
    code, _, err = call("rank", runs[0], "--by", "calibrated_bier")
    assert code == 2 and "did you mean 'calibrated_brier'" in err


def test_the_version(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith("goodteacher 0.")


@pytest.fixture
def two_folds(monkeypatch):
    """Judge target maps on two folds: to fit one on each of five takes longer than all trainings here."""
    from goodteacher import automatic

    monkeypatch.setattr(automatic, "cross_fitted_map", functools.partial(automatic.cross_fitted_map, folds=2))


@pytest.mark.slow
def test_teaching_procedures_by_option(call, two_folds):
    words = ("--data", "digits", "--epochs", 2, "--engine", "local", "--json")
    code, out, _ = call("teach", "mlp", *words, "--with", "snapshots=2", "--with", "map=temperature")
    (arm,) = json.loads(out.splitlines()[-1])["studies"][0]["teachers"]
    assert code == 0 and len(arm["runs"]) == 2
    code, out, _ = call("teach", "mlp", *words, "--objective", "mcmi", "--from", arm["runs"][1])
    (tuned,) = json.loads(out.splitlines()[-1])["studies"][0]["teachers"]
    assert code == 0 and tuned["name"] == "mcmi"
    both = ("--teacher", arm["runs"][0], "--teacher", tuned["runs"][0])
    code, out, _ = call("distill", "mlp", *words, *both, "--with", "ensemble.weights=validation")
    students = json.loads(out.splitlines()[-1])["studies"][0]["students"]
    assert code == 0 and {(s["student"], s["teacher"]) for s in students} == {("alone", None), ("kd", "teacher")}
    code, out, _ = call("distill", "mlp", *words, "--teacher", "auto", "--budget", 2)
    assert "Candidates: mlp, the student's own, for no larger one is known; --candidate names another" in out
    assert code == 0 and "picked before any student: 4 candidates from 2 trainings" in out
    for option, value, of in (
        ("--with", "snapshots=2", "auto"),
        ("--objective", "brier", "auto"),
        ("--budget", 2, "mlp"),
    ):
        code, _, err = call("distill", "mlp", *words, "--teacher", of, option, value)
        assert code == 2 and f"{option}: is for" in err and f"got --teacher {of}" in err
    code, _, err = call("distill", "mlp", *words, "--teacher", "deadbeef")
    assert (
        code == 2 and "--teacher: must be a finished run in goodteacher-runs, a model, or auto, got 'deadbeef'" in err
    )
    code, _, err = call("teach", "mlp", *words, "--with", "snapshot=2")
    assert code == 2 and "did you mean 'snapshots'" in err


@pytest.mark.slow
def test_a_teacher_is_picked_by_the_default_engine_too(call, two_folds):
    # On a processor with several cores that is several processes, which takes a while to start.
    words = ("--data", "digits", "--epochs", 2, "--workers", 2)
    code, out, _ = call("distill", "mlp", *words, "--teacher", "auto", "--budget", 2)
    assert code == 0 and "picked before any student: 4 candidates from 2 trainings" in out


def test_dry_run_lists_and_trains_nothing(call, study, tmp_path):
    code, out, _ = call("run", study, "--dry-run", "--json", "--epochs", 1)
    cost = json.loads(out.splitlines()[-1])
    assert (
        code == 0 and len(cost["planned"]) == cost["runs"] == 4 and cost["reused"] == 0 and out.count("to train") == 5
    )
    assert not (tmp_path / "goodteacher-runs").exists()


def test_teach_then_distil(call):
    code, out, _ = call(
        "teach", "mlp", "--data", "digits", "--objective", "brier", "--epochs", 1, "--engine", "local", "--json"
    )
    (teacher,) = json.loads(out.splitlines()[-1])["studies"][0]["teachers"]
    assert code == 0 and teacher["name"] == "brier"
    (run,) = teacher["runs"]
    words = (
        "distill",
        "mlp",
        "--data",
        "digits",
        "--teacher",
        run,
        "--method",
        "kd",
        "--epochs",
        1,
        "--engine",
        "local",
    )
    code, out, _ = call(*words, "--map", "temperature", "--json")
    students = json.loads(out.splitlines()[-1])["studies"][0]["students"]
    assert code == 0 and {(s["student"], s["teacher"]) for s in students} == {("alone", None), ("kd", "teacher")}
    code, out, _ = call("distill", "mlp", "--data", "digits", "--teacher", "mlp", "--epochs", 1, "--engine", "local")
    assert code == 0 and "Students on test" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "none.yaml"), "study file none.yaml: must exist"),
        (("teach", "resnet9", "--data", "digits"), "did you mean 'resnet"),
        (("teach", "mlp", "--data", "digit"), "did you mean 'digits'"),
        (("teach", "mlp", "--data", "digits", "--objective", "brierr"), "did you mean 'brier'"),
        (("teach", "mlp", "--data", "digits", "--set", "recipe.epocs=3"), "did you mean 'epochs'"),
        (("teach", "mlp", "--data", "digits", "--set", "problem.nois=0.1"), "did you mean 'noise'"),
        (("teach", "mlp", "--data", "digits", "--engine", "thread"), "engine"),
        (("teach", "mlp", "--data", "digits", "--keep", "best"), "best_brier"),
        (
            ("teach", "mlp", "--data", "digits", "--with", "snapshots=99"),
            "key 'teachers.cross_entropy.snapshots': must be at most the 60 epochs of the recipe, got 99",
        ),
        (("teach", "mlp", "--data", "digits", "--device", "tpu"), "device"),
        (("teach", "mlp", "--data", "cifar10", "--root", "nowhere"), "goodteacher fetch cifar10"),
        (("distill", "mlp", "--data", "digits", "--teacher", "mlp", "--method", "dkdd"), "method"),
        (("rank", "0123"), "must be finished"),
        (("report", "."), "no plan.json"),
        (("list", "model"), "did you mean 'models'"),
        (("list", "taps"), "needs a model"),
        (("fetch", "cifar11"), "did you mean 'cifar10'"),
        (("doctor", "digitz"), "did you mean 'digits'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(call, words, message):
    code, _, err = call(*words)
    assert code == 2
    assert message in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["teach", "distill"])
def test_help_names_every_rule_of_a_checkpoint(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0 and "last, half, best_brier, best_nll, best_accuracy or epoch=K." in " ".join(out.split())


@pytest.mark.parametrize("spoil", ["labels", "nan", "classes", "truncated", "empty"])
def test_bad_data_is_one_sentence_and_exit_code_2(call, tmp_path, spoil):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(size=(40, 5)).astype("float32"), "y_train": np.arange(40) % 2,
        "x_test": rng.normal(size=(20, 5)).astype("float32"), "y_test": np.arange(20) % 2,
    }  # fmt: skip
    if spoil == "labels":
        arrays["y_train"] = arrays["y_train"] - 1
    elif spoil == "nan":
        arrays["x_train"][3, 2] = np.nan
    elif spoil == "classes":
        arrays["class_names"] = np.array(["a", "b", "c"])
    elif spoil == "empty":
        arrays |= {"x_test": arrays["x_test"][:0], "y_test": arrays["y_test"][:0]}
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    expected = {"labels": "labels", "nan": "finite", "classes": "c", "truncated": "data.npz", "empty": "empty"}[spoil]
    code, _, err = call("teach", "mlp", "--data", "data.npz", "--epochs", 1)
    assert code == 2 and expected in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "goodteacher-runs").exists()


def test_a_failed_run_is_said_and_exits_with_1(call, tmp_path):
    teachers = {**STUDY["teachers"], "wild": {"model": "mlp", "recipe": {"lr": 1e30}}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**STUDY, "teachers": teachers, "seeds": 1}))
    code, out, _ = call("run", "s.yaml", "--engine", "local")
    assert code == 1 and "not finite" in out and "its teacher failed" in out


def test_a_full_disk_is_one_sentence(call, monkeypatch):
    import errno

    from goodteacher.train import records

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", refuse)
    code, _, err = call("teach", "mlp", "--data", "digits", "--epochs", 1, "--engine", "local")
    assert code == 2 and "disk full" in err and len(err.strip().splitlines()) == 1


def test_listings(call):
    for kind in ("models", "objectives", "methods", "maps", "data", "recipes"):
        code, out, _ = call("list", kind, "--json")
        assert code == 0 and json.loads(out.splitlines()[-1])
    code, out, _ = call("list", "taps", "resnet8", "--json")
    rows = {row["module"]: row["tap"] for row in json.loads(out.splitlines()[-1])}
    assert rows["stage2"] == "stage 2" and "head" in rows["fc"]
    code, out, _ = call("list", "schema")
    assert json.loads(out)["title"] == "StudySpec"


def test_doctor_finds_leaks(call, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x[:10], y_test=np.arange(10) % 2)
    code, out, _ = call("doctor", "d.npz")
    assert code == 0 and "resnet8" in out
    assert re.search(r"test seen in training +(9|10) of 10 examples ! leak", out)


STUCK = """
import os, signal, time
from pathlib import Path
from torch import nn

class Stuck(nn.Sequential):
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.training and self.steps == 4 and Path("hold").exists():
            Path(f"waiting-{os.getpid()}").touch()
            while not signal.getsignal(signal.SIGTERM).__self__.requested:  # the loop's, see orderly_stop
                time.sleep(0.01)
        return super().forward(x)

def network(classes, input_shape):
    return Stuck(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "at_a_time"), [("local", 1), ("processes", 2)])
def test_ctrl_c_exits_with_130_and_the_same_command_goes_on(call, study, tmp_path, monkeypatch, engine, at_a_time):
    (tmp_path / "stuck.py").write_text(STUCK)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["run", study, "--engine", engine, "--workers", "2", "--json", "--set", "teachers.ce.model=stuck:network"]
    words += ["--precision", "fp32"]  # auto would try the network out
    (tmp_path / "hold").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "goodteacher", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(tmp_path.glob("waiting-*"))) < at_a_time and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "the same command goes on" in err and "Traceback" not in err
    assert len(list(tmp_path.glob("goodteacher-runs/training/*/checkpoint.pt"))) == at_a_time
    (tmp_path / "hold").unlink()
    code, out, err = call(*words)
    assert code == 0, err
    assert out.count("resumed at step 4") == at_a_time
