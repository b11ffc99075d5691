"""Inputs: rows by index, whatever holds them; what tells them apart; where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher.base.errors import DataError
from goodteacher.data.inputs import ArrayInputs, Inputs, Pictures, Vectors, as_inputs


def pictures(n=6, channels=3, seed=0):
    return torch.randint(0, 256, (n, 4, 5, channels), generator=torch.Generator().manual_seed(seed)).byte()


def vectors(n=6, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


BOTH = pytest.mark.parametrize("tensor", [pictures(), vectors()], ids=["pictures", "vectors"])


def test_a_tensor_becomes_what_its_shape_says():
    grey, plain = as_inputs(pictures(channels=1)), as_inputs(vectors())
    assert isinstance(grey, Pictures) and (grey.kind, grey.shape, len(grey)) == ("image", (1, 4, 5), 6)
    assert isinstance(plain, Vectors) and (plain.kind, plain.shape, len(plain)) == ("vector", (3,), 6)
    assert as_inputs(grey) is grey
    with pytest.raises(DataError, match=r"pictures: must be whole numbers .* got torch.float32 of shape \(6, 4, 5, 3\)"):
        as_inputs(pictures().float())


@BOTH
def test_rows_are_copies_in_the_order_asked_for(tensor):
    inputs, rows = as_inputs(tensor.clone()), torch.tensor([4, 0, 4])
    assert torch.equal(inputs.rows(rows), tensor[rows]) and torch.equal(inputs.take(rows).tensor, tensor[rows])
    assert type(inputs.take(rows)) is type(inputs)
    inputs.take(rows).tensor.zero_()
    inputs.rows(rows).zero_()
    assert torch.equal(inputs.tensor, tensor)


@BOTH
def test_a_sample_is_the_first_rows_and_no_more_than_there_are(tensor):
    inputs = as_inputs(tensor)
    assert torch.equal(inputs.sample(2), tensor[:2]) and torch.equal(inputs.sample(99), tensor)


@BOTH
def test_fingerprints_see_every_number_shape_and_type_and_no_strides(tensor):
    first = as_inputs(tensor).fingerprint()
    assert len(first) == 16 and first == as_inputs(tensor.clone()).fingerprint()
    changed = tensor.clone()
    changed.view(-1)[-1] += 1
    assert as_inputs(changed).fingerprint() != first
    turned = tensor.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous() and as_inputs(turned).fingerprint() == first
    assert Vectors(tensor.flatten(1)).fingerprint() != Vectors(tensor.flatten(1).flatten().view(3, -1)).fingerprint()


def test_statistics_do_not_depend_on_how_they_are_read():
    x = pictures(11)
    means, stds = zip(*(as_inputs(x).statistics(chunk) for chunk in (1, 4, 11, 4096)), strict=True)
    want = x.numpy().astype(np.float64) / 255
    for mean, std in zip(means, stds, strict=True):
        np.testing.assert_allclose(mean, want.mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(std, want.std(axis=(0, 1, 2)), rtol=1e-12)
    mean, std = as_inputs(vectors()).statistics()
    np.testing.assert_allclose(mean, vectors().double().mean(dim=0), rtol=1e-12)
    np.testing.assert_allclose(std, vectors().numpy().astype(np.float64).std(axis=0), rtol=1e-12)


def test_examples_with_a_number_that_is_none_are_counted():
    x = vectors()
    x[1, 0], x[1, 2], x[4, 1] = float("nan"), float("inf"), -float("inf")
    assert Vectors(x).not_finite() == 2 and Vectors(vectors()).not_finite() == 0 and Pictures(pictures()).not_finite() == 0


def test_they_do_not_print_their_numbers():
    assert repr(as_inputs(pictures())) == "Pictures(6, 4, 5, 3)"


class Somewhere(torch.Tensor):
    """A tensor that says where it was sent, for a machine without a GPU."""

    def to(self, device):
        moved = self.clone().as_subclass(Somewhere)
        moved.sent_to = device
        return moved


def test_inputs_that_would_fill_half_of_a_gpu_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10_000))
    gpu = torch.device("cuda")
    half, more = (Vectors(torch.zeros(n, 1, dtype=torch.float16).as_subclass(Somewhere)) for n in (250, 251))
    moved = half.to(gpu)
    assert moved is not half and isinstance(moved, Vectors) and moved.tensor.sent_to == gpu
    assert more.to(gpu) is more


def test_inputs_that_are_where_they_should_be_are_not_copied():
    inputs = as_inputs(vectors(10_000))
    assert inputs.to(torch.device("cpu")) is inputs


def test_inputs_may_be_held_by_anything():
    class Files(Inputs):
        """Pictures that are made when they are asked for."""

        kind = "image"
        shape = (1, 2, 2)

        def __init__(self, names):
            self.names = names

        def __len__(self):
            return len(self.names)

        def rows(self, indices):
            return torch.stack([torch.full((2, 2, 1), self.names[i]).byte() for i in indices.tolist()])

        def take(self, indices):
            return Files([self.names[i] for i in indices.tolist()])

        def to(self, device):
            return self

        def content(self):
            yield repr(self.names).encode()

    files = Files([51, 0, 255])
    assert torch.equal(files.sample(1), torch.full((1, 2, 2, 1), 51).byte()) and files.not_finite() == 0
    assert files.statistics(chunk=2)[0].item() == pytest.approx((0.2 + 0 + 1) / 3)
    assert files.take(torch.tensor([2])).fingerprint() != files.fingerprint()
    assert not issubclass(Files, ArrayInputs)
