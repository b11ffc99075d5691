"""Every finding that a test makes must have figures that can be drawn; coloured pictures that several studies read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import vl_convert

from goodteacher_lab.finding import Finding

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Mark what lies in this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(autouse=True)
def figures_can_be_drawn(monkeypatch):
    plain = Finding.__init__

    def checked(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        for spec in self.charts.values():
            vl_convert.vegalite_to_vega(spec)  # raises for a field or an expression that cannot be read

    monkeypatch.setattr(Finding, "__init__", checked)


@pytest.fixture(scope="session")
def paint(tmp_path_factory):
    """Return a function that writes an .npz file of 16x16 pictures, one colour per class, with noise."""

    def painted(classes, *, train, test, **more):
        draws = np.random.default_rng(0)
        colours = draws.integers(0, 255, size=(classes, 1, 1, 3))

        def part(n):
            y = np.arange(n) % classes
            return np.clip(colours[y] + draws.normal(0, 40, size=(n, 16, 16, 3)), 0, 255).astype(np.uint8), y

        (a, b), (c, d) = part(train), part(test)
        path = tmp_path_factory.mktemp("pictures") / "coloured.npz"
        np.savez(path, x_train=a, y_train=b, x_test=c, y_test=d, **more)
        return path

    return painted


@pytest.fixture(scope="session")
def coloured(paint):
    """Pictures of 10 classes, with votes on the training examples."""
    return paint(10, train=300, test=80, votes_train=np.eye(10)[np.arange(300) % 10] * 3)
