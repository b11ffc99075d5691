from dataclasses import replace

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.augment import augment, normalise, rotations
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import VIEWS, Loader, plain_batches
from goodteacher.data.problem import Problem, Split


def images(n, seed=0, classes=2):
    inputs = torch.randint(0, 256, (n, 8, 8, 3), generator=torch.Generator().manual_seed(seed)).byte()
    return Split(inputs, torch.arange(n) % classes, torch.arange(n) + 1000)


def pictures(n=21, augment="crop_flip"):
    return Problem("pictures", images(n), images(5, 1), images(7, 2), ("ant", "bee"), augment)


VECTORS = gaussian_problem(train=21, validation=9, test=9)


def loader(problem=None, **options):
    return Loader(problem or pictures(), **{"batch_size": 4, "seed": 0, **options})


def same(one, other):
    views = one.views.keys() == other.views.keys() and all(torch.equal(v, other.views[k]) for k, v in one.views.items())
    return views and all(torch.equal(getattr(one, f), getattr(other, f)) for f in ("inputs", "labels", "indices"))


def test_a_batch_depends_on_seed_and_step_alone():
    views = frozenset(VIEWS)
    in_order = [loader(views=views).batch(s) for s in range(12)]
    shared = loader(views=views)
    backwards = {s: shared.batch(s) for s in reversed(range(12))}
    torch.manual_seed(99)
    assert all(same(batch, backwards[s]) for s, batch in enumerate(in_order))
    assert not torch.equal(loader(seed=1).batch(0).indices, in_order[0].indices)


def test_views_do_not_disturb_the_plain_batch():
    plain, full = loader().batch(3), loader(views=frozenset(VIEWS)).batch(3)
    assert torch.equal(plain.inputs, full.inputs) and torch.equal(plain.indices, full.indices)
    assert plain.views == {} and sorted(full.views) == ["rotated", "strong", "weak"]


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_the_same_whatever_else_is_asked_for(view, augmentation):
    alone = loader(augmentation=augmentation, views=frozenset({view})).batch(3).views[view]
    assert torch.equal(alone, loader(augmentation=augmentation, views=frozenset(VIEWS)).batch(3).views[view])


def test_every_step_draws_its_own_augmentation():
    train = images(20)
    train.inputs.tensor[:] = train.inputs.tensor[0]
    problem = replace(pictures(), train=train)
    source = loader(problem, views=frozenset({"weak", "strong"}))
    batches = [source.batch(step) for step in range(4)]
    for x in ([b.inputs for b in batches], [b.views["weak"] for b in batches], [b.views["strong"] for b in batches]):
        assert not any(torch.equal(x[i], x[j]) for i in range(4) for j in range(i))


def test_order_does_not_depend_on_augmentation():
    rows = [loader(augmentation=a).batch(2).indices.tolist() for a in ("none", "flip", "crop_flip")]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize(
    ("n", "size", "steps", "last"), [(21, 5, 4, 5), (22, 5, 5, 2), (20, 5, 4, 5), (3, 8, 1, 3), (9, 8, 1, 8)]
)
def test_an_epoch_covers_every_example_once_but_for_a_last_batch_of_one(n, size, steps, last):
    source = loader(pictures(n), batch_size=size)
    assert source.steps_per_epoch == steps
    for epoch in range(2):
        batches = [source.batch(epoch * steps + s) for s in range(steps)]
        rows = torch.cat([b.indices for b in batches]).tolist()
        dropped = n % size == 1
        assert len(rows) == n - dropped and len(set(rows)) == len(rows) and set(rows) <= set(range(n))
        assert len(batches[-1].labels) == last


MIXTURES = [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]


@pytest.mark.parametrize("options", MIXTURES)
def test_a_mixed_batch_depends_on_seed_and_step_alone(options):
    in_order = [loader(**options).batch(s) for s in range(8)]
    shared = loader(**options)
    backwards = {s: shared.batch(s) for s in reversed(range(8))}
    torch.manual_seed(99)
    for step, batch in enumerate(in_order):
        other = backwards[step]
        assert same(batch, other) and batch.mixed.share == other.mixed.share
        assert torch.equal(batch.mixed.labels, other.mixed.labels)
    assert len({batch.mixed.share for batch in in_order}) > 6
    assert loader(seed=1, **options).batch(0).mixed.share != in_order[0].mixed.share


@pytest.mark.parametrize("options", MIXTURES)
def test_what_is_mixed_is_the_plain_batch(options):
    for step in range(6):
        plain, mixed = loader().batch(step), loader(**options).batch(step)
        assert plain.mixed is None and same(plain, loader(**options).unmixed(step))
        assert torch.equal(plain.labels, mixed.labels) and torch.equal(plain.indices, mixed.indices)
        assert mixed.inputs.is_contiguous(memory_format=torch.channels_last) and mixed.inputs.dtype == torch.float32
        assert torch.equal(plain.labels.sort().values, mixed.mixed.labels.sort().values)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mistakes_in_mixing(name):
    with pytest.raises(ConfigError, match="cutmix: needs image inputs, got problem 'gaussian'"):
        loader(VECTORS, cutmix=0.2)
    plain, mixed = loader(VECTORS).batch(0), loader(VECTORS, mixup=0.2).batch(0)
    assert mixed.inputs.shape == plain.inputs.shape and not torch.equal(mixed.inputs, plain.inputs)
    with pytest.raises(ConfigError, match=f"{name}: mixes the batch alone.*got views strong, weak"):
        loader(**{name: 0.2}, views=frozenset({"weak", "strong"}))
    with pytest.raises(ConfigError, match=rf"{name}: must be a number in \(0, inf\], got 0"):
        loader(**{name: 0})


def test_epochs_are_shuffled_differently():
    orders = [loader().order(epoch).tolist() for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2] != list(range(21))
    assert all(sorted(order) == list(range(21)) for order in orders)


def test_rows_belong_together():
    problem = pictures()
    for step in range(5):
        batch = loader(problem, augmentation="none").batch(step)
        assert torch.equal(batch.labels, problem.train.labels[batch.indices])
        want = normalise(problem.train.inputs.tensor[batch.indices], *problem.statistics)
        assert torch.equal(batch.inputs, want)


def test_batches_are_float_in_channels_last():
    batch = loader(views=frozenset(VIEWS)).batch(0)
    for x in (batch.inputs, batch.views["weak"], batch.views["strong"]):
        assert x.shape == (4, 3, 8, 8) and x.dtype == torch.float32
        assert x.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.dtype == batch.indices.dtype == torch.int64


def test_views_are_what_they_are_called():
    batch = loader(views=frozenset(VIEWS)).batch(1)
    assert not torch.equal(batch.views["weak"], batch.inputs)
    assert not torch.equal(batch.views["strong"], batch.views["weak"])
    assert torch.equal(batch.views["rotated"], rotations(batch.inputs))
    flipped = loader(augmentation="flip", views=frozenset({"weak"})).batch(1)
    raw = normalise(pictures().train.inputs.tensor[flipped.indices], *pictures().statistics)
    for x, r in zip(flipped.views["weak"], raw, strict=True):
        assert torch.equal(x, r) or torch.equal(x, r.flip(2))


def test_inputs_are_not_copied_where_they_are_already():
    problem = pictures()
    assert loader(problem).inputs is problem.train.inputs  # the map of a folder is not copied


def test_training_inputs_are_augmented_as_named():
    problem = pictures()
    source = loader(problem)
    assert source.augmentation == "crop_flip" and loader(pictures(augment="flip")).augmentation == "flip"
    assert loader(problem, augmentation="none").augmentation == "none"
    seen = torch.stack([source.batch(s).inputs for s in range(5)])
    plain = torch.stack([loader(problem, augmentation="none").batch(s).inputs for s in range(5)])
    assert (seen != plain).flatten(2).any(2).double().mean() > 0.8
    raw = problem.train.inputs.tensor[source.batch(0).indices]
    draws = {augment(raw, "crop_flip", torch.Generator().manual_seed(s)).numpy().tobytes() for s in range(50)}
    assert len(draws) > 40


@pytest.mark.parametrize("options", [{"augmentation": "flip"}, {"augmentation": "crop_flip"}, {"views": frozenset({"strong"})},
                                     {"views": frozenset({"rotated"})}])  # fmt: skip
def test_vectors_refuse_image_augmentations(options):
    (name,) = options.get("views", {options.get("augmentation")})
    with pytest.raises(ConfigError, match=f"'{name}': needs image inputs, got problem 'gaussian'"):
        loader(VECTORS, **options)


def test_vectors_pass_as_they_are():
    batch = loader(VECTORS, views=frozenset({"weak"})).batch(0)
    mean, std = VECTORS.statistics
    assert torch.equal(batch.inputs, (VECTORS.train.inputs.tensor[batch.indices] - mean) / std)
    assert torch.equal(batch.views["weak"], batch.inputs)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 1}, r"batch_size: must be a number in \[2, inf\], got 1"),
        ({"augmentation": "crop"}, "augmentation: must be a known name, got 'crop'; did you mean 'crop_flip'"),
        ({"views": frozenset({"strnog"})}, "view: must be a known name, got 'strnog'; did you mean 'strong'"),
    ],
)
def test_mistakes(options, text):
    with pytest.raises(ConfigError, match=text):
        loader(**options)


def test_one_example_is_no_training_set():
    single = Problem("one", images(1), images(1), images(1), ("ant",))
    with pytest.raises(ConfigError, match="training split of 'one': needs at least 2 examples, got 1"):
        loader(single)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_plain_batches_are_a_split_in_order(split):
    problem = pictures()
    batches = list(plain_batches(problem, split, batch_size=4))
    part = problem.split(split)
    assert [len(b.labels) for b in batches[:-1]] == [4] * (len(batches) - 1)
    assert torch.equal(torch.cat([b.indices for b in batches]), torch.arange(len(part)))
    assert torch.equal(torch.cat([b.labels for b in batches]), part.labels)
    assert torch.equal(torch.cat([b.inputs for b in batches]), normalise(part.inputs.tensor, *problem.statistics))
