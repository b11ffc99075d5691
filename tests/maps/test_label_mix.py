import pytest
import torch

from goodteacher.base.errors import ShapeError
from goodteacher.maps.label_mix import LabelMix

P = torch.tensor([[0.5, 0.3, 0.15, 0.05]])


def test_the_label_takes_its_share_and_only_where_it_is_given():
    mixed = LabelMix(0.2)(P.log(), torch.tensor([2]))
    assert mixed.softmax(1)[0].tolist() == pytest.approx([0.4, 0.24, 0.32, 0.04])
    z = P.log()
    assert LabelMix(0.2)(z) is z
    torch.testing.assert_close(LabelMix(0.0)(z, torch.tensor([2])).softmax(1), P)
    assert LabelMix(1.0)(z, torch.tensor([2])).softmax(1)[0].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-30)
    with pytest.raises(ShapeError, match="labels"):
        LabelMix(0.2)(z, torch.tensor([4]))
