from importlib.metadata import version

import torch

from goodteacher.data.problem import Problem, Split
from goodteacher.report.doctor import OPTIONAL, examine, examine_problem


def test_the_machine(monkeypatch):
    findings = examine()
    assert findings["torch"] == str(torch.__version__) and findings["threads"] == str(torch.get_num_threads())
    assert findings["free disk"].endswith(" GB") and float(findings["free disk"].split()[0]) > 0
    for name in OPTIONAL:
        assert findings[name] == "not installed (optional)" or findings[name] == version(name)
    assert "precision auto takes" in findings["resnet8, 32x32"] and "fp32" in findings["resnet8, 32x32"]


def split(rows, labels):
    return Split(torch.tensor(rows), torch.tensor(labels), torch.arange(len(labels)))


def problem(**parts):
    sound = {
        "train": split([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]], [0, 1, 1]),
        "validation": split([[7.0, 7.0]], [0]),
        "test": split([[8.0, 8.0], [9.0, 9.0]], [0, 1]),
    }
    return Problem("toy", class_names=("ant", "bee"), notes=("a JPEG copy",), **(sound | parts))


def test_a_sound_problem():
    findings = examine_problem(problem())
    assert findings["problem"] == "toy: 3 train / 1 validation / 2 test · 2 classes · 2"
    assert findings["classes"] == "fewest 'ant' (1), most 'bee' (2) in training"
    assert findings["validation seen in training"] == "0 of 1 examples"
    assert findings["test seen in training"] == "0 of 2 examples"
    assert findings["inputs"] == "mean 3.500, standard deviation 1.633, constant features 1"
    assert findings["smallest difference"] == "test can show about 100.0 points"
    assert findings["note 1"] == "a JPEG copy"


def test_what_is_odd_about_inputs_is_said():
    assert examine_problem(problem())["caution 1"].startswith("! 1 of 2 features are constant in training")
    x = torch.rand(90, 3)
    parts = [
        Split(x[i : i + 30] * scale, torch.arange(30) % 2, torch.arange(30))
        for i, scale in ((0, 1), (30, 1), (60, 255))
    ]
    findings = examine_problem(Problem("toy", *parts, ("ant", "bee")))
    assert findings["caution 1"].startswith("! test inputs lie on another scale than those of training")
    assert "caution 2" not in findings


def test_examples_that_leak_are_counted():
    leaking = split([[9.0, 9.0], [2.0, 5.0], [2.0, 5.0]], [0, 1, 1])
    findings = examine_problem(problem(test=leaking))
    assert findings["test seen in training"] == "2 of 3 examples ! leak"
    assert findings["validation seen in training"] == "0 of 1 examples"


def test_images_that_leak():
    images = torch.arange(4 * 3 * 3).reshape(4, 3, 3, 1).byte()
    part = Split(images, torch.tensor([0, 1, 0, 1]), torch.arange(4))
    other = Split(images[1:2], torch.tensor([1]), torch.arange(1))
    findings = examine_problem(Problem("i", part, other, other, ("ant", "bee")))
    assert findings["test seen in training"] == "1 of 1 examples ! leak"


def test_two_standard_errors_of_a_difference():
    n = 5000
    test = Split(torch.zeros(n, 2), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    assert examine_problem(problem(test=test))["smallest difference"] == "test can show about 2.0 points"


def test_classes_of_unlike_size_are_told():
    train = Split(torch.arange(14.0).reshape(7, 2), torch.tensor([0, 1, 1, 1, 1, 1, 1]), torch.arange(7))
    held_out = Split(100 + torch.arange(4.0).reshape(2, 2), torch.tensor([0, 1]), torch.arange(2))
    findings = examine_problem(Problem("toy", train, held_out, held_out, ("rare", "common")))
    assert (
        "fewest 'rare' (1), most 'common' (6) in training ! unbalanced: judge by balanced accuracy"
        in findings["classes"]
    )
