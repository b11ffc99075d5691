import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from goodteacher.base.errors import ConfigError
from goodteacher.data.digits import digits_problem


def test_every_image_is_in_one_split_and_is_the_source_scaled():
    problem, source = digits_problem(), load_digits()
    splits = (problem.train, problem.validation, problem.test)
    assert torch.cat([s.indices for s in splits]).sort().values.tolist() == list(range(1797))
    for split in splits:
        rows = split.indices.numpy()
        assert split.inputs.tensor.shape[1:] == (8, 8, 1) and split.inputs.tensor.dtype == torch.uint8
        assert np.abs(split.inputs.tensor[..., 0].numpy() - source.images[rows] * 255 / 16).max() <= 0.5
        assert np.array_equal(split.labels.numpy(), source.target[rows])
    assert problem.train.inputs.tensor.max() == 255 and problem.augment == "none" and problem.classes == 10


def test_shares_hold_in_every_class():
    problem = digits_problem(test=0.3, validation=0.2)
    counts = [torch.bincount(s.labels) for s in (problem.train, problem.validation, problem.test)]
    total = sum(counts)
    assert ((counts[2] / total - 0.3).abs() < 0.01).all()
    assert ((counts[1] / (total - counts[2]) - 0.2).abs() < 0.01).all()


def test_seed_and_errors():
    assert digits_problem(seed=1).fingerprint == digits_problem(seed=1).fingerprint != digits_problem().fingerprint
    with pytest.raises(ConfigError, match="test fraction"):
        digits_problem(test=0)
    with pytest.raises(ConfigError, match="validation fraction"):
        digits_problem(validation=1)
