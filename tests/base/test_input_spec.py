from __future__ import annotations

import json
import subprocess
import sys

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec, check_adaptable

GREY = InputSpec("image", (1, 8, 6), (0.3,), (0.4,))
COLOUR = InputSpec("image", (3, 4, 4), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
VECTOR = InputSpec("vector", (2,), (1.0, -1.0), (0.5, 2.0))


@pytest.mark.parametrize("spec", [GREY, COLOUR, VECTOR])
def test_it_reads_back_from_json_the_same(spec):
    again = InputSpec.read(json.loads(json.dumps(spec.stored())))
    assert again == spec and hash(again) == hash(spec)


def test_what_is_stored():
    assert VECTOR.stored() == {"kind": "vector", "shape": (2,), "mean": (1.0, -1.0), "std": (0.5, 2.0)}


def test_kind_and_size():
    assert (GREY.is_image, GREY.size) == (True, (8, 6))
    assert (VECTOR.is_image, VECTOR.size) == (False, ())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("image", (8, 8), (0.0,), (1.0,)), r"^input shape: of images must be \(channels, height, width\), got \(8, 8\)\.$"),
        (("image", (1, 0, 8), (0.0,), (1.0,)), r"^input shape: of images must be .*, got \(1, 0, 8\)\.$"),
        (("vector", (2, 1), (0.0,) * 2, (1.0,) * 2), r"^input shape: of vectors must be \(D,\), got \(2, 1\)\.$"),
        (("image", (3, 8, 8), (0.0,), (1.0,) * 3), r"^mean of the inputs: must have one number for each of 3 .*, got 1\.$"),
        (("vector", (2,), (0.0,) * 2, (1.0,) * 3), r"^std of the inputs: must have one number for each of 2 .*, got 3\.$"),
        (("vector", (2,), (0.0,) * 2, (1.0, 0.0)), r"^std of the inputs: must be positive, got 0\.0\.$"),
    ],
)  # fmt: skip
def test_parts_that_contradict_each_other_are_refused(parts, said):
    with pytest.raises(ConfigError, match=said):
        InputSpec(*parts)


def test_what_can_be_shown_as_what():
    for made, wanted in (
        (GREY, GREY),
        (GREY, COLOUR),  # grey in colour, at another size
        (COLOUR, InputSpec("image", (3, 64, 2), (0.0,) * 3, (1.0,) * 3)),
        (VECTOR, InputSpec("vector", (2,), (0.0,) * 2, (1.0,) * 2)),
    ):
        check_adaptable(made, wanted, "it")


@pytest.mark.parametrize(
    ("made", "wanted", "received"),
    [
        (COLOUR, GREY, r"images of shape \(1, 8, 6\)"),  # colour cannot be undone
        (VECTOR, InputSpec("vector", (3,), (0.0,) * 3, (1.0,) * 3), r"vectors of shape \(3,\)"),
        (GREY, VECTOR, r"vectors of shape \(2,\)"),
        (VECTOR, GREY, r"images of shape \(1, 8, 6\)"),
    ],
)
def test_what_cannot_is_refused_in_one_sentence(made, wanted, received):
    said = rf"^the network of ours: must take the problem's {made.kind}s of shape .*, got {received}; grey .*\.$"
    with pytest.raises(ConfigError, match=said):
        check_adaptable(made, wanted, "the network of ours")


def test_it_imports_no_torch():
    code = "import sys, goodteacher.base.input_spec, goodteacher.base.events; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
