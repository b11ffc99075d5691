from __future__ import annotations

import pytest
import torch

from goodteacher.data.digits import digits_problem
from goodteacher.models.resnet import CifarResNet
from goodteacher.train.infer import predict, quick_scores


def test_a_whole_split_in_order_and_in_eval_mode():
    problem = digits_problem()
    model = CifarResNet(10, depth=8, channels=1).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    logits = predict(model, problem, "validation")
    assert logits.shape == (len(problem.validation), 10) and model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    mean, std = problem.statistics
    image = (problem.validation.inputs.tensor[7].float() / 255 - mean) / std
    torch.testing.assert_close(logits[7], model.eval()(image.permute(2, 0, 1)[None])[0].detach(), rtol=1e-4, atol=1e-5)


def test_scores_by_hand():
    logits = torch.tensor([[0.0, 0.0], [1.0986122886681098, 0.0]])  # (1/2, 1/2) and (3/4, 1/4)
    scores = quick_scores(logits, torch.tensor([1, 0]))
    assert scores["accuracy"] == 0.5
    assert scores["brier"] == pytest.approx((0.5 + 0.125) / 2, rel=1e-6)
    assert scores["nll"] == pytest.approx((0.6931471805599453 + 0.2876820724517809) / 2, rel=1e-6)
