import json
from dataclasses import asdict

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.maps.chain import Chain, FitChain
from goodteacher.maps.label_mix import LabelMix
from goodteacher.maps.table import FITTED, parse_map
from goodteacher.maps.target_map import Identity
from goodteacher.maps.temperature import Temperature, fit_temperature
from goodteacher.maps.top_k import TopK
from goodteacher.maps.views import FitViewAverage, ViewAverage

STACK = 2 * torch.randn(5, 30, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(30) % 4
HALF = Temperature(0.5)


def slow(stack, space):
    """Mean prediction of each example, over views one by one."""
    rows = [z if space == "logits" else z.softmax(1) for z in stack]
    mean = sum(rows[1:], rows[0]) / len(rows)
    return mean.softmax(1) if space == "logits" else mean


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_the_average_of_views(space):
    average = ViewAverage(4, space)
    torch.testing.assert_close(average.of_views(STACK).softmax(1), slow(STACK, space))
    assert torch.equal(average.average(STACK), average.of_views(STACK, LABELS))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(average.average(STACK[order]).softmax(1), average.average(STACK).softmax(1))
    shifted = STACK + torch.arange(5.0)[:, None, None]
    torch.testing.assert_close(average.average(shifted).softmax(1), average.average(STACK).softmax(1))
    same = STACK[:1].expand(3, -1, -1)
    torch.testing.assert_close(average.average(same).softmax(1), STACK[0].softmax(1))


def test_the_two_spaces_differ_and_probabilities_are_the_default():
    assert ViewAverage() == ViewAverage(4, "probabilities") and parse_map("view_average") == FitViewAverage()
    one, two = (ViewAverage(4, space).average(STACK).softmax(1) for space in ("probabilities", "logits"))
    assert (one - two).abs().max() > 0.05


def test_half_precision_and_extreme_logits():
    got = ViewAverage().average(STACK.to(torch.bfloat16))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.softmax(1), slow(STACK, "probabilities"), atol=0.02, rtol=0.05)
    extreme = torch.tensor([[[1e4, 0.0]], [[0.0, 1e4]]])
    for space in ("probabilities", "logits"):
        answer = ViewAverage(1, space).average(extreme)
        assert torch.isfinite(answer).all()
        torch.testing.assert_close(answer.softmax(1), torch.full((1, 2), 0.5))


def test_without_views_it_is_the_identity():
    average = ViewAverage()
    plain = STACK[0]
    assert average(plain) is plain and torch.equal(average.of_views(STACK[:1]), plain)
    assert not average.uses_labels
    with pytest.raises(ShapeError, match="members"):
        average.average(STACK[:0])


def test_other_maps_look_at_the_plain_view():
    for other in (Identity(), HALF, TopK(2)):
        assert other.views == 0 and torch.equal(other.of_views(STACK), other(STACK[0]))
    mixed = LabelMix(0.5)
    assert torch.equal(mixed.of_views(STACK, LABELS), mixed(STACK[0], LABELS))


def test_a_chain_averages_in_its_place():
    before = Chain((HALF, ViewAverage(4)))
    after = Chain((ViewAverage(4), HALF))
    assert before.views == after.views == 4
    torch.testing.assert_close(before.of_views(STACK).softmax(1), slow(2 * STACK, "probabilities"))
    torch.testing.assert_close(after.of_views(STACK), 2 * ViewAverage(4).average(STACK))
    assert torch.equal(before(STACK[0]), HALF(STACK[0]))
    nested = Chain((HALF, Chain((ViewAverage(4), TopK(2)))))
    assert nested.views == 4
    torch.testing.assert_close(nested.of_views(STACK), TopK(2)(ViewAverage(4).average(2 * STACK)))
    plain = Chain((HALF, TopK(2)))
    assert plain.views == 0 and torch.equal(plain.of_views(STACK), plain(STACK[0]))


def test_labels_reach_the_maps_behind_the_average():
    chain = Chain((ViewAverage(4), LabelMix(0.3)))
    assert chain.uses_labels
    assert torch.equal(chain.of_views(STACK, LABELS), LabelMix(0.3)(ViewAverage(4).average(STACK), LABELS))
    assert torch.equal(chain.of_views(STACK), ViewAverage(4).average(STACK))


def test_a_chain_is_fitted_on_plain_logits_or_on_views():
    fit = parse_map({"view_average + temperature": {"view_average": {"views": 4, "space": "logits"}}})
    assert fit.views == 4
    seen = fit.fit(STACK, LABELS)
    assert seen.steps == (
        ViewAverage(4, "logits"),
        Temperature(fit_temperature(ViewAverage(4, "logits").average(STACK), LABELS)),
    )
    alone = fit.fit(STACK[0], LABELS)
    assert alone.steps[1] == Temperature(fit_temperature(STACK[0], LABELS)) != seen.steps[1]
    before = parse_map("temperature + view_average").fit(STACK, LABELS)
    assert before.steps[0] == Temperature(fit_temperature(STACK[0], LABELS))
    assert FitViewAverage().fit(STACK, LABELS) == FitViewAverage().fit(STACK[0], LABELS) == ViewAverage()


def test_how_many_views_a_map_to_be_fitted_wants():
    assert parse_map("view_average").views == 4 and parse_map({"view_average": {"views": 2}}).views == 2
    for name in ("identity", "temperature", "linear", "vector_temperature", "pt_proxy", "top_k", "label_mix"):
        assert parse_map(name).views == 0
    assert parse_map("temperature + top_k").views == 0
    assert set(asdict(parse_map("temperature"))) == {"score", "value"}


def test_a_chain_goes_through_json_and_back():
    chain = parse_map("temperature + view_average + top_k").fit(STACK, LABELS)
    again = FITTED["Chain"](**json.loads(json.dumps(chain.state())))
    assert again == chain and torch.equal(again.of_views(STACK), chain.of_views(STACK))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"view_average": {"views": 0}}, "views: must be a number in [1, inf], got 0."),
        ({"view_average": {"views": 2.5}}, "option 'views' of map 'view_average': must be int, got 2.5."),
        ({"view_average": {"space": "odds"}}, "must be 'probabilities' or 'logits', got 'odds'."),
        ("view_average + view_average", "map: may name each step once"),
    ],
)
def test_mistakes(spec, text):
    with pytest.raises(ConfigError) as caught:
        parse_map(spec)
    assert text in str(caught.value)


def test_views_are_averaged_once():
    text = "a chain of maps: may average over views once, got 2 times."
    for build in (
        lambda: Chain((ViewAverage(), HALF, ViewAverage(2))),
        lambda: Chain((ViewAverage(), Chain((ViewAverage(),)))),
        lambda: FitChain({"one": FitViewAverage(), "two": FitViewAverage()}),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        assert str(caught.value) == text
    with pytest.raises(ConfigError, match="space"):
        FitViewAverage(space="odds")
