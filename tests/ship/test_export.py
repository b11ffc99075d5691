from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import goodteacher as gt
from goodteacher.base.errors import ExportError, StoreError
from goodteacher.cli import app
from goodteacher.ship import export as module
from ship.conftest import needs_onnx

BARE = ("safetensors", "torch")


def test_a_folder_holds_files_config_and_card(run, problem, tmp_path):
    made = gt.export(run, tmp_path / "a" / "model", problem, formats=BARE)
    assert sorted(p.name for p in made.folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.pt2",
        "model.safetensors",
    ]
    config = json.loads((made.folder / "config.json").read_text())
    assert config["run"] == run.id and config["class_names"] == list("0123456789")
    assert config["input"] == {
        "name": "pixels", "type": "uint8", "shape": ["N", 8, 8, 1],
        "preparation": "scaled to cover this size (bilinear), cut to it around the centre; no normalisation",
    }  # fmt: skip
    assert config["network"]["sees"]["mean"] and [c["format"] for c in config["checks"]] == list(BARE)
    again = gt.export(run, made.folder, problem, formats=("torch",))
    assert not (again.folder / "model.safetensors").exists()


def test_a_failure_leaves_nothing_and_what_was_there_stays(run, problem, tmp_path, monkeypatch):
    made = gt.export(run, tmp_path / "model", problem, formats=("safetensors",))

    def broken(*given, **options):
        raise ExportError("file x", rule="must answer")

    monkeypatch.setattr(module, "check_file", broken)
    for place in ("model", "other"):
        with pytest.raises(ExportError):
            gt.export(run, tmp_path / place, problem, formats=("safetensors",))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert sorted(p.name for p in made.folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_folder_of_something_else_is_left_alone(run, problem, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"must be free, or hold an earlier export, got thesis.txt"):
        gt.export(run, tmp_path, problem, formats=("safetensors",))
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    out = tmp_path_factory.mktemp("command") / "store"
    words = ["teach", "resnet8", "--data", "digits", "--epochs", "1", "--out", str(out), "--engine", "local", "--json"]
    words += ["--set", "problem.subset=12", "--set", "recipe.precision=fp32"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (study,) = json.loads(done.output.splitlines()[-1])["studies"]
    return study["best"]["run"], out


def test_the_command_finds_the_data_again_and_prints_the_lines_to_load_the_file(by_command, tmp_path):
    run, out = by_command
    words = [
        "export",
        run[:6],
        "--to",
        str(tmp_path / "m"),
        "--format",
        "torch",
        "--out",
        str(out),
        "--json",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "torch.export.load" in done.output and "points lost" in done.output
    (file,) = json.loads(done.output.splitlines()[-1])["files"]
    assert file["file"] == "model.pt2" and file["loss"]["n"] == 539


def test_the_command_refuses_what_cannot_be(by_command, tmp_path):
    run, out = by_command
    for words, said in (
        (["--format", "onx"], "did you mean 'onnx'"),
        (["--qat", "--format", "torch"], "is for format int8"),
        (["--format", "torch", "--size", "16"], "--size: is for the data that --data names"),
        (["--format", "torch", "--data", "gaussian"], "must have the classes and the inputs"),
    ):
        done = CliRunner().invoke(app, ["export", run, "--to", str(tmp_path / "m"), "--out", str(out), *words])
        assert done.exit_code != 0 and said in str(done.exception)
    assert not (tmp_path / "m").exists()


@needs_onnx
@pytest.mark.slow
def test_everything_in_one_command_with_training_for_8_bits(by_command, tmp_path):
    run, out = by_command
    words = [
        "export",
        run,
        "--to",
        str(tmp_path / "m"),
        "--qat",
        "--max-loss",
        "100",
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    names = {p.name for p in (tmp_path / "m").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "model.pt2", "model.onnx", "model.int8.onnx"}
    assert "8 bits: trained on while rounding, run" in (tmp_path / "m" / "README.md").read_text()
