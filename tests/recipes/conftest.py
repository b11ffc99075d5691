"""Every finding that a test makes must have figures that can be drawn."""

from __future__ import annotations

import pytest
import vl_convert

from goodteacher.report.finding import Finding


@pytest.fixture(autouse=True)
def figures_can_be_drawn(monkeypatch):
    plain = Finding.__init__

    def checked(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        for spec in self.charts.values():
            vl_convert.vegalite_to_vega(spec)  # raises for a field or an expression that cannot be read

    monkeypatch.setattr(Finding, "__init__", checked)
