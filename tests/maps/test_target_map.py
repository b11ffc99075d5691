import sys

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.maps.table import fitted_from, parse_map, written_out
from goodteacher.maps.target_map import Fit, FitIdentity, FitOneView, Identity, OneView, TargetMap, kind_of
from goodteacher.maps.temperature import Temperature

OWN = """
from dataclasses import dataclass
from goodteacher.maps.target_map import FitOneView, OneView
from goodteacher.maps.temperature import Temperature

@dataclass(frozen=True)
class Shifted(OneView):
    by: object
    def __call__(self, logits, labels=None): return logits + self.by
    def state(self): return {"by": self.by}

@dataclass(frozen=True)
class FitShifted(FitOneView):
    by: float = 1.0
    what: str = "number"
    def fit(self, logits, labels):
        if self.what == "hidden":
            class Hidden(Shifted): ...
            return Hidden(self.by)
        return {"number": Shifted(self.by), "set": Shifted({1}), "nothing": None, "known": Temperature(2.0)}[self.what]

class FitBroken(FitOneView):
    def fit(self, logits, labels): return logits / labels[:, None, None, "x"]
"""
Z, Y = torch.zeros(3, 2), torch.tensor([0, 1, 0])


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "own_maps.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_maps", None)


def test_the_identity_and_what_describes_a_map():
    fitted = FitIdentity().fit(Z, Y)
    assert fitted == Identity() and fitted(Z) is Z and fitted.of_views(Z[None]) is not None
    assert isinstance(fitted, TargetMap) and isinstance(FitIdentity(), Fit) and not isinstance(Z, TargetMap | Fit)
    for abstract in (OneView, FitOneView):
        with pytest.raises(TypeError, match="abstract"):
            abstract()


def test_a_users_own_map_is_kept_under_its_module_and_read_again():
    fit = parse_map({"own_maps:FitShifted": {"by": "3"}})
    fitted = fit.fit(Z, Y)
    assert fitted(Z).tolist() == [[3.0, 3.0]] * 3 and fit.views == 0
    assert kind_of(fitted) == "own_maps:Shifted" and fitted_from(kind_of(fitted), fitted.state()) == fitted
    words = written_out({"own_maps:FitShifted + top_k": {"own_maps:FitShifted": {"by": 3}}})
    steps = words["own_maps:FitShifted + top_k"]["steps"]
    assert steps["own_maps:FitShifted"] == {"by": 3.0, "what": "number"} and written_out(words) == words
    assert parse_map({"own_maps:FitShifted": {"what": "known"}}).fit(Z, Y) == Temperature(2.0)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"own_maps:FitShifted": {"what": "nothing"}}, "must fit a map, such as a subclass of .*OneView, got a NoneType"),
        ({"own_maps:FitShifted": {"what": "set"}}, "state of map 'own_maps:FitShifted': must be numbers, texts and lists"),
        ({"own_maps:FitShifted": {"what": "hidden"}}, "must name a function of own_maps, got 'FitShifted.fit.<locals>.Hidden'"),
        ("own_maps:FitBroken", "map 'own_maps:FitBroken': must fit, got (IndexError|TypeError)"),
        ("own_maps:Shifted", "option 'by' of map 'own_maps:Shifted': must be given, because it has no default"),
        ({"own_maps:Shifted": {"by": 1}}, "must build what can be fitted, such as .*FitOneView, got a Shifted"),
        ({"own_maps:FitShifted": {"bye": 1}}, "must be one of its parameters, got 'bye'; did you mean 'by'"),
    ],
)  # fmt: skip
def test_mistakes(spec, said):
    with pytest.raises(ConfigError, match=said):
        parse_map(spec).fit(Z, Y)
