import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Output, Progress, Setting
from goodteacher.models.table import build_model
from goodteacher.models.taps import tap_shapes
from goodteacher.objectives.scores import Brier
from goodteacher.objectives.table import OBJECTIVES, build_objective

STUDENT = build_model("resnet8", classes=3, input_shape=(1, 8, 8))
SHAPES = tap_shapes(STUDENT, torch.zeros(2, 1, 8, 8))[1]
SETTING = Setting(
    classes=3, examples=2, network_shapes=SHAPES, network=torch.nn.Linear(1, 3), student=STUDENT, student_shapes=SHAPES
)
REQUIRED = {"sftn": {"student": "resnet8"}}


def loss_of(objective, z):
    batch = Batch(torch.zeros(2, 1), torch.tensor([0, 1]), torch.arange(2))
    stages = tuple(torch.ones(2, *shape) for shape in SHAPES["stages"])
    return objective(Output(z, stages=stages), None, batch, Progress(0, 1, 1))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_row_builds_and_trains(name):
    z = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.0, 0.1]], requires_grad=True)
    parts = [name] if OBJECTIVES[name].alone else ["cross_entropy", name]
    objective = build_objective({part: REQUIRED.get(part) for part in parts}, SETTING)
    if objective.needs.prepares:
        objective.prepare(SETTING.network, [Batch(torch.zeros(2, 1), torch.tensor([0, 1]), torch.arange(2))])
    total = sum(loss_of(objective, z).values())
    total.backward()
    assert torch.isfinite(z.grad).all() and z.grad.abs().max() > 0
    assert OBJECTIVES[name].source


def test_options_reach_the_objective():
    built = build_objective({"brier": {"scale": "1e1", "warmup": 0}}, SETTING)
    assert isinstance(built, Brier) and (built.scale, built.warmup) == (10.0, 0.0)
    assert build_objective("confidence_penalty", SETTING).beta == 0.1


def test_a_sum_of_objectives():
    z = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.0, 0.1]])
    joined = loss_of(build_objective({"focal": {"gamma": 1}, "label_smoothing": None}, SETTING), z)
    alone = [loss_of(build_objective(s, SETTING), z) for s in ({"focal": {"gamma": 1.0}}, "label_smoothing")]
    assert joined == alone[0] | alone[1]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("brierr", "objective: must be a known name, got 'brierr'; did you mean 'brier'?"),
        ({"brier": {"scal": 1}}, "option of objective 'brier': must be one of its parameters, got 'scal'; did you mean 'scale'?"),
        ({"cross_entropy": {"x": 1}}, "it has no options"),
        ({"brier": {"per_class": "max"}}, "must be 'sum' or 'mean', got 'max'"),
        ({"brier": {"scale": -1}}, "scale: must be a number in"),
        ("lipschitz", "objective 'lipschitz': is a term and must be added to a score against labels"),
        ("lipschitz + consistency", "write 'cross_entropy + lipschitz + consistency'"),
        ({"tolerant": {"eta": 1.5}}, "eta: must be a number in [0, 1]"),
        ({"mcmi": {"weight": "much"}}, "must be a number"),
    ],
)  # fmt: skip
def test_mistakes(spec, text):
    with pytest.raises(ConfigError) as caught:
        build_objective(spec, SETTING)
    assert text in str(caught.value)
