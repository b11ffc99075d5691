from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.shapes import made_up_step, shapes_of
from goodteacher.base.types import Needs, Setting


def test_lists_of_unequal_length_are_zipped_from_the_shallow_end():
    setting = Setting(
        2,
        network_shapes={"stages": ((1, 8, 8), (2, 4, 4))},
        teacher_shapes={"stages": ((3, 8, 8), (4, 4, 4), (5, 2, 2)), "pre_activations": ((6, 8, 8),)},
    )
    assert shapes_of(setting, "at", student="stages") == [((1, 8, 8), (3, 8, 8)), ((2, 4, 4), (4, 4, 4))]
    assert shapes_of(setting, "x", student="stages", teacher="pre_activations") == [((1, 8, 8), (6, 8, 8))]
    with pytest.raises(ConfigError, match="student's tap 'embedding'"):
        shapes_of(setting, "crd", student="embedding")


def test_a_made_up_step_has_the_shapes_that_are_read_and_is_always_the_same():
    setting = Setting(3, network_shapes={"embedding": ((5,),), "stages": ((2, 4, 4), (3, 2, 2))})
    needs = Needs(frozenset({"embedding", "stages"}), frozenset({"embedding"}), uses_teacher=True)
    before = torch.random.get_rng_state()
    network, teacher, batch = made_up_step(setting, needs)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.logits.shape == teacher.logits.shape == (4, 3) and network.embedding.shape == (4, 5)
    assert [tuple(x.shape) for x in network.stages] == [(4, 2, 4, 4), (4, 3, 2, 2)]
    assert teacher.embedding is not None and teacher.stages == () and int(batch.labels.max()) < 3
    assert torch.equal(made_up_step(setting, needs)[0].embedding, network.embedding)
