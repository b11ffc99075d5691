import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Output, Progress, Setting
from goodteacher.objectives import scores
from goodteacher.objectives.regularised import MCMI, Consistency, Lipschitz, SoTeacher, Tolerant
from goodteacher.objectives.table import build_objective, check_objective
from goodteacher.objectives.terms import conditional_information, lipschitz_penalty, top_score_difference

EPOCHS, CLASSES = 4, 3


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


def batches(n=12, size=6):
    stream = torch.Generator().manual_seed(1)
    x, y = torch.randn(n, 5, generator=stream), torch.arange(n) % CLASSES
    return [Batch(x[i : i + size], y[i : i + size], torch.arange(i, i + size)) for i in range(0, n, size)]


def setting(model=None):
    return Setting(CLASSES, examples=12, network=model)


def terms_of(objective, model, batch, epoch):
    progress = Progress((epoch - 1) * 2, steps_per_epoch=2, epochs=EPOCHS)
    return objective(Output(model(batch.inputs)), None, batch, progress)


def test_soteacher_is_its_three_parts():
    model = network().eval()  # whose running statistics stay
    together = SoTeacher(setting(model), lipschitz=0.01, consistency=2.0, schedule="cosine")
    parts = Lipschitz(setting(model), weight=0.01), Consistency(setting(model), weight=2.0, schedule="cosine")
    for epoch in (1, 2, 3):
        for batch in batches():
            got = terms_of(together, model, batch, epoch)
            want = {"cross_entropy": scores.cross_entropy(model(batch.inputs), batch.labels)}
            for part in parts:
                want |= terms_of(part, model, batch, epoch)
            torch.testing.assert_close(got, want)
            assert list(got) == ["cross_entropy", "lipschitz", "consistency"]
            assert got["lipschitz"].item() == pytest.approx(0.01 * lipschitz_penalty(model).item())
        model[3].weight.data *= 1.5
    assert got["consistency"].item() > 0


def test_the_weight_grows_from_nothing_in_the_first_epoch():
    model, batch = network(), batches()[0]
    objective = SoTeacher(setting(model))
    loss = [terms_of(objective, model, batch, 1)["consistency"].item()]
    for epoch in (2, 4):
        trial = copy.deepcopy(objective)
        model[3].weight.data.copy_(network()[3].weight * 2)
        loss.append(terms_of(trial, model, batch, epoch)["consistency"].item())
    assert loss[0] == 0 and loss[2] == pytest.approx(2 * loss[1]) and loss[1] > 0


def test_the_network_is_not_a_part_of_its_objective():
    model = network()
    objective = SoTeacher(setting(model))
    assert not list(objective.parameters()) and set(objective.state_dict()) == {
        "consistency.table.averages",
        "consistency.table.visits",
    }
    assert objective.needs.examples and objective.memory_bytes() == 12 * (CLASSES * 4 + 8)
    model[0].weight.grad = None
    terms_of(objective, model, batches()[0], 1)["lipschitz"].backward()
    assert model[0].weight.grad is not None


def test_an_objective_resumes_exactly():
    model = network().eval()
    straight, half = SoTeacher(setting(model)), SoTeacher(setting(model))
    for epoch in (1, 2):
        for objective in (straight, half):
            for batch in batches():
                terms_of(objective, model, batch, epoch)
        model[3].bias.data += torch.tensor([1.0, 0.0, -1.0])
    resumed = SoTeacher(setting(model))
    resumed.load_state_dict(copy.deepcopy(half.state_dict()))
    for batch in batches():
        one, two = (terms_of(o, model, batch, 3) for o in (straight, resumed))
        assert one["consistency"].item() > 0 and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("names", ["brier + consistency", "brier + lipschitz + consistency"])
def test_terms_compose_with_any_score(names):
    model = network()
    score = {"brier": {"warmup": 0}}
    objective = build_objective(dict.fromkeys(names.split(" + ")) | score, setting(model))
    assert objective.needs.examples
    for epoch in (1, 2):
        batch = batches()[0]
        got = terms_of(objective, model, batch, epoch)
        assert set(got) == set(names.split(" + "))
        want = terms_of(build_objective(score, setting()), model, batch, epoch)["brier"]
        torch.testing.assert_close(got["brier"], want)
        sum(got.values()).backward()
        model[3].weight.data *= 1.5
    assert got["consistency"].item() > 0
    assert {"modules_of_parts" in name for name in objective.state_dict()} == {True}


def test_terms_do_not_stand_alone():
    with pytest.raises(ConfigError, match="objective 'consistency': is a term and must be added to a score") as caught:
        build_objective("consistency", setting())
    assert "write 'cross_entropy + consistency'" in str(caught.value)
    with pytest.raises(ConfigError, match="lipschitz"):
        check_objective(["lipschitz", "consistency"])
    check_objective(["soteacher"])
    check_objective({"lipschitz": {}, "focal": {}})


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"reads the weights of the network in training.*network=model"):
        terms_of(Lipschitz(setting()), network(), batches()[0], 1)
    for build in (
        lambda: Lipschitz(setting(), weight=-1.0),
        lambda: Consistency(setting(), weight=-1.0),
        lambda: Consistency(setting(), schedule="never"),
        lambda: SoTeacher(setting(), lipschitz=-1.0),
        lambda: SoTeacher(setting(), consistency=-1.0),
        lambda: Tolerant(eta=1.1),
        lambda: Tolerant(top=1),
        lambda: MCMI(setting(), weight=float("nan")),
    ):
        with pytest.raises(ConfigError):
            build()


def test_tolerant_by_hand():
    z, y = torch.tensor([[1.0, 0.5, -1.0], [0.0, 2.0, 1.0]]), torch.tensor([0, 1])
    batch = Batch(torch.zeros(2, 1), y, torch.arange(2))
    got = Tolerant(eta=0.3, top=2)(Output(z), None, batch, Progress(0, 1, 1))
    want = {
        "cross_entropy": 0.3 * scores.cross_entropy(z, y),
        "top_score_difference": 0.7 * top_score_difference(z, top=2),
    }
    torch.testing.assert_close(got, want)


def prepared(weight=-0.25, model=None):
    objective = MCMI(setting(), weight=weight)
    objective.prepare(model or network(), batches())
    return objective


def test_centres_are_class_means_in_training_mode():
    model = network()
    objective = prepared(model=model)
    twin = copy.deepcopy(model).train()
    with torch.no_grad():
        p = torch.cat([twin(b.inputs).softmax(1) for b in batches()])
    y = torch.cat([b.labels for b in batches()])
    torch.testing.assert_close(objective.centres, torch.stack([p[y == c].mean(0) for c in range(CLASSES)]))
    in_evaluation = torch.cat([model.eval()(b.inputs).softmax(1) for b in batches()])
    assert (objective.centres[0] - in_evaluation[y == 0].mean(0)).abs().max() > 0.01


def test_preparing_leaves_the_network_as_it_was():
    model = nn.Sequential(network(), nn.Dropout(0.5))
    model[0].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    one, two = prepared(model=model), prepared(model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes and torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(one.centres, two.centres)
    assert all(p.grad is None for p in model.parameters())


def test_a_class_without_examples_has_an_even_centre():
    objective = MCMI(setting())
    objective.prepare(network(), [replace(b, labels=b.labels.clamp(max=1)) for b in batches()])
    assert objective.centres[2].tolist() == pytest.approx([1 / 3] * 3)
    assert objective.centres.sum(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_without_centres_it_refuses_and_with_a_state_it_goes_on():
    model, batch = network(), batches()[0]
    fresh = MCMI(setting())
    assert fresh.needs.prepares
    with pytest.raises(ConfigError, match=r"needs the mean prediction of each class, got none; call prepare"):
        terms_of(fresh, model, batch, 1)
    done = prepared()
    fresh.load_state_dict(done.state_dict())
    assert torch.equal(
        terms_of(fresh, model, batch, 1)["conditional_information"],
        terms_of(done, model, batch, 1)["conditional_information"],
    )


def test_centres_stay_as_they_were():
    model, objective = network(), prepared()
    centres = objective.centres.clone()
    total = sum(terms_of(objective, model, batches()[0], 1).values())
    total.backward()
    assert torch.equal(objective.centres, centres) and not list(objective.parameters())


def fine_tuned(weight):
    """The conditional information of two examples of a class after steps on it, from a start off the centre."""
    z = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.4, 0.0]], requires_grad=True)
    objective = MCMI(setting(), weight=weight)
    objective.centres.copy_(z.detach().softmax(1).mean(0).expand(3, 3))
    batch = Batch(torch.zeros(2, 5), torch.tensor([0, 0]), torch.arange(2))
    for _ in range(20):
        terms = objective(Output(z), None, batch, Progress(0, 1, 1))
        (gradient,) = torch.autograd.grad(terms["conditional_information"], z)
        z = (z - gradient).detach().requires_grad_()
    return conditional_information(z.detach(), batch.labels, objective.centres).item()


def test_negative_weights_maximise_and_positive_minimise():
    start = fine_tuned(0.0)
    assert start > 0
    assert fine_tuned(-0.25) > 1.2 * start and fine_tuned(0.25) < 0.8 * start


def test_without_weight_it_is_fine_tuning_by_cross_entropy():
    model, batch = network(), batches()[0]
    got = terms_of(prepared(0.0), model, batch, 1)
    assert got["conditional_information"].item() == 0
    torch.testing.assert_close(got["cross_entropy"], scores.cross_entropy(model(batch.inputs), batch.labels))
