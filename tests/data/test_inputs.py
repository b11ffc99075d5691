from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher.base.errors import DataError
from goodteacher.data.inputs import ArrayInputs, Inputs, Pictures, Vectors, as_inputs
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem, Split

DRAWS = np.random.default_rng(0)
PIXELS = DRAWS.integers(0, 256, (10, 4, 6, 3)).astype(np.uint8)
NUMBERS = DRAWS.normal(3.0, 2.0, (10, 5)).astype(np.float32)


def pictures():
    return Pictures(torch.from_numpy(PIXELS.copy()))


def vectors():
    return Vectors(torch.from_numpy(NUMBERS.copy()))


BOTH = pytest.mark.parametrize(("made", "array"), [(pictures, PIXELS), (vectors, NUMBERS)])


@BOTH
def test_rows_come_in_the_order_asked_for(made, array):
    rows = [7, 0, 7, 3]
    assert np.array_equal(made().rows(torch.tensor(rows)).numpy(), array[rows])


@BOTH
def test_take_holds_the_rows_alone(made, array):
    inputs = made()
    part = inputs.take(torch.tensor([4, 2]))
    assert type(part) is type(inputs) and len(part) == 2 and part.shape == inputs.shape
    assert np.array_equal(part.rows(torch.arange(2)).numpy(), array[[4, 2]])
    part.tensor.zero_()
    assert np.array_equal(inputs.tensor.numpy(), array)  # a copy: what a split holds never changes


@BOTH
def test_a_sample_is_the_first_rows_as_far_as_there_are_any(made, array):
    assert np.array_equal(made().sample(3).numpy(), array[:3])
    assert len(made().sample(99)) == 10


def test_shapes_are_what_a_network_sees():
    assert (pictures().shape, vectors().shape) == ((3, 4, 6), (5,))
    assert (pictures().kind, vectors().kind) == ("image", "vector")
    assert repr(pictures()) == "Pictures(10, 4, 6, 3)"


@BOTH
def test_equal_content_has_an_equal_fingerprint(made, array):
    inputs = made()
    kept = inputs.fingerprint()
    assert len(kept) == 16 and made().fingerprint() == kept
    rows = torch.arange(10)
    assert inputs.take(rows).fingerprint() == kept
    strided = torch.from_numpy(np.repeat(array, 2, axis=0))[::2]
    assert not strided.is_contiguous() and type(inputs)(strided).fingerprint() == kept
    assert b"".join(map(bytes, inputs.content())).endswith(array.tobytes())


@BOTH
def test_other_content_has_another_fingerprint(made, array):
    kept = made().fingerprint()
    changed = made()
    changed.tensor[9].view(-1)[-1] += 1
    others = [
        changed,
        made().take(torch.arange(9)),
        made().take(torch.arange(10).flip(0)),
        type(changed)(made().tensor.transpose(0, 1)),  # the same bytes in another shape are other data
        type(changed)(made().tensor.to(torch.float64)),
    ]
    found = {other.fingerprint() for other in others}
    assert kept not in found and len(found) == len(others)


def test_the_shape_alone_tells_pictures_apart():
    flat = torch.arange(24, dtype=torch.uint8)
    assert Pictures(flat.view(2, 2, 6, 1)).fingerprint() != Pictures(flat.view(2, 3, 4, 1)).fingerprint()


@pytest.mark.parametrize("chunk", [3, 10, 4096])
def test_statistics_of_pictures_are_those_of_numpy(chunk):
    mean, std = pictures().statistics(chunk)
    assert mean.dtype == std.dtype == torch.float64
    wide = PIXELS.astype(np.float64) / 255
    np.testing.assert_allclose(mean.numpy(), wide.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std.numpy(), wide.std(axis=(0, 1, 2)), rtol=1e-10)


def test_statistics_of_pictures_by_hand():
    two = torch.tensor([[[[0]], [[255]]], [[[0]], [[51]]]], dtype=torch.uint8)  # 0, 1, 0 and 0.2
    mean, std = Pictures(two).statistics()
    assert mean.tolist() == pytest.approx([0.3]) and std.tolist() == pytest.approx([(0.26 - 0.09) ** 0.5])


def test_statistics_of_one_colour_are_no_nan():
    _, std = Pictures(torch.full((3, 2, 2, 1), 7, dtype=torch.uint8)).statistics()
    assert std.tolist() == pytest.approx([0.0], abs=1e-7)


def test_statistics_of_vectors_are_those_of_numpy():
    mean, std = vectors().statistics()
    np.testing.assert_allclose(mean.numpy(), NUMBERS.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std.numpy(), NUMBERS.astype(np.float64).std(axis=0), rtol=1e-12)


def test_what_is_not_finite_is_counted_by_example():
    inputs = vectors()
    assert inputs.not_finite() == 0 == pictures().not_finite()
    inputs.tensor[2, 0], inputs.tensor[2, 1], inputs.tensor[5, 4] = float("nan"), float("inf"), float("-inf")
    assert inputs.not_finite() == 2


def mapped(path, array):
    np.save(path, array)
    held = np.load(path, mmap_mode="c")  # copy on write: the file stays as it is whatever is done to the rows
    assert isinstance(held, np.memmap)
    return torch.from_numpy(held)


@BOTH
def test_a_map_of_a_file_is_as_good_as_memory(tmp_path, made, array):
    own, held = made(), type(made())(mapped(tmp_path / "x.npy", array))
    rows = torch.tensor([5, 1])
    assert held.fingerprint() == own.fingerprint() and torch.equal(held.rows(rows), own.rows(rows))
    assert all(map(torch.equal, held.statistics(), own.statistics()))
    held.take(rows).tensor.zero_()
    assert np.array_equal(np.load(tmp_path / "x.npy"), array)


def test_a_problem_in_mapped_files_is_the_same_problem(tmp_path):
    labels, rows = torch.arange(10) % 2, torch.arange(10)

    def problem(inputs):
        return Problem("p", *(Split(inputs, labels, rows) for _ in range(3)), class_names=("a", "b"))

    own, held = problem(torch.from_numpy(PIXELS)), problem(mapped(tmp_path / "x.npy", PIXELS))
    assert own.fingerprint == held.fingerprint and own.spec == held.spec
    batches = [Loader(p, batch_size=4, seed=0).batch(1) for p in (own, held)]
    assert torch.equal(batches[0].inputs, batches[1].inputs) and batches[0].spec == own.spec


def test_tensors_are_taken_for_what_they_are():
    assert type(as_inputs(torch.from_numpy(PIXELS))) is Pictures
    assert type(as_inputs(torch.from_numpy(NUMBERS))) is Vectors
    inputs = vectors()
    assert as_inputs(inputs) is inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_pictures_of_other_numbers_are_refused(dtype):
    said = r"^pictures: must be whole numbers from 0 to 255 \(uint8\), .*, got torch.\w+ of shape \(2, 4, 4, 3\)\.$"
    with pytest.raises(DataError, match=said):
        as_inputs(torch.zeros(2, 4, 4, 3, dtype=dtype))


class OnDevice:
    """A tensor that says where it was moved, without a device to move it to."""

    def __init__(self, bytes_held, to=None):
        self.bytes_held, self.place = bytes_held, to

    def numel(self):
        return self.bytes_held // 4

    def element_size(self):
        return 4

    def to(self, device):
        return OnDevice(self.bytes_held, device)


@pytest.mark.parametrize(("free", "moves"), [(2000, True), (1999, False)])
def test_a_gpu_takes_them_where_they_fill_half_of_it_at_most(monkeypatch, free, moves):
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (free, 10**9))
    inputs, place = ArrayInputs.__new__(Vectors), torch.device("cuda", 0)
    inputs.tensor = OnDevice(1000)
    moved = inputs.to(place)
    assert asked == [place]
    assert (moved is not inputs) == moves and type(moved) is Vectors
    assert moved.tensor.place == (place if moves else None)


def test_the_processor_holds_them_already():
    inputs = pictures()
    assert inputs.to(torch.device("cpu")) is inputs


class Decoded(Inputs):
    """Inputs that are made when they are asked for: what the contract must carry beside arrays."""

    kind = "image"

    def __init__(self, seeds):
        self.seeds = list(seeds)

    @property
    def shape(self):
        return 3, 4, 6

    def __len__(self):
        return len(self.seeds)

    def rows(self, indices):
        return torch.from_numpy(np.stack([PIXELS[self.seeds[i]] for i in indices.tolist()]))

    def take(self, indices):
        return Decoded(self.seeds[i] for i in indices.tolist())

    def to(self, device):
        return self

    def content(self):
        yield repr(self.seeds).encode()


def test_inputs_that_no_array_holds_make_a_problem_and_its_batches():
    labels, rows = torch.arange(10) % 2, torch.arange(10)
    splits = [Split(Decoded(range(10)), labels, rows) for _ in range(3)]
    problem = Problem("p", *splits, class_names=("a", "b"))
    arrays = Problem("p", *(Split(pictures(), labels, rows) for _ in range(3)), class_names=("a", "b"))
    assert problem.spec == arrays.spec and problem.fingerprint != arrays.fingerprint
    assert torch.equal(*(Loader(p, batch_size=5, seed=3).batch(0).inputs for p in (problem, arrays)))
    assert problem.with_train_rows(torch.tensor([1, 2])).train.inputs.seeds == [1, 2]
