from __future__ import annotations

import ast

import pytest

from goodteacher.base.input_spec import InputSpec
from goodteacher.ship.deployed import Deployed
from goodteacher.ship.lines import loading

PICTURES = InputSpec("image", (3, 48, 64), (0.5,) * 3, (0.2,) * 3)
VECTORS = InputSpec("vector", (7,), (0.0,) * 7, (1.0,) * 7)


@pytest.mark.parametrize("spec", [PICTURES, VECTORS])
@pytest.mark.parametrize("name", ["torch", "onnx", "int8"])
def test_three_lines_that_parse(name, spec):
    lines = loading(name, Deployed(None, spec, spec))
    ast.parse(lines)
    assert len(lines.splitlines()) == 3 and "goodteacher" not in lines
    assert ("(64, 48)" in lines) == spec.is_image == ('"RGB"' in lines)
