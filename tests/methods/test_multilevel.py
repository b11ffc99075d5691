from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import log_soften, nll
from goodteacher.methods.logits import kd
from goodteacher.methods.multilevel import MLKD, mlkd
from rows_logits import at_epoch, fake_step


def test_without_consistency_it_is_a_sum_of_kd():
    student, teacher, _ = fake_step()
    own, theirs = student.logits, teacher.logits
    expected = sum(kd(own, theirs, temperature=t) for t in (2.0, 3.0, 4.0, 5.0, 6.0))
    torch.testing.assert_close(mlkd(own, theirs, consistency=False), expected)
    assert mlkd(own, theirs) > expected


def test_the_strong_view_is_read():
    student, teacher, batch = fake_step()
    terms = MLKD()(student, teacher, batch, at_epoch(1))
    own, theirs = student.views["strong"].logits, teacher.views["strong"].logits
    assert list(terms) == ["mlkd", "mlkd_strong", "cross_entropy_strong"]
    torch.testing.assert_close(terms["mlkd"], mlkd(student.logits, teacher.logits))
    torch.testing.assert_close(terms["mlkd_strong"], mlkd(own, theirs, consistency=False))
    torch.testing.assert_close(terms["cross_entropy_strong"], nll(log_soften(own), batch.labels).mean())
    assert MLKD().needs.views == {"strong"}


def test_options():
    student, teacher, batch = fake_step()
    method = MLKD(alpha=0.5, label=2.0, temperatures=(1.0,))
    terms = method(student, teacher, batch, at_epoch(1))
    own, theirs = student.views["strong"].logits, teacher.views["strong"].logits
    torch.testing.assert_close(terms["mlkd_strong"], 0.5 * mlkd(own, theirs, temperatures=(1.0,), consistency=False))
    torch.testing.assert_close(terms["cross_entropy_strong"], 2 * nll(log_soften(own), batch.labels).mean())


@pytest.mark.parametrize(
    "options", [{"alpha": -1.0}, {"label": -1.0}, {"temperatures": ()}, {"temperatures": (4.0, 0.0)}]
)
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        MLKD(**options)
