"""What can be named in a study, as tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodteacher.base.compose import LossRow, option_defaults
from goodteacher.base.custom import is_hub
from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.data.facts import Facts
from goodteacher.data.sources import SOURCES
from goodteacher.maps.table import MAPS
from goodteacher.methods.table import METHODS, describe_needs
from goodteacher.models.hub import hub_spec
from goodteacher.models.table import MODELS
from goodteacher.models.taps import guess_taps
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.report.tables import Grid
from goodteacher.study.build import modules_of, outline
from goodteacher.study.known_names import KINDS
from goodteacher.study.run import Run
from goodteacher.study.store import Store
from goodteacher.study.trial import Trial
from goodteacher.train.recipe import Recipe


def listing(what: str, model: str | None = None, out: Path = Path("goodteacher-runs")) -> Grid:
    """Return what can be named, as a table.

    Args:
        what: one of `KINDS`.
        model: for ``taps``.
        out: the store, for ``runs``.

    Returns:
        The table.

    Raises:
        ConfigError: for an unknown kind, or ``taps`` without a model.
    """
    check_choice("list", what, (*KINDS, "schema"))
    if what == "models":
        return _models()
    if what == "objectives":
        return Grid("Objectives of teachers", ("objective", "options", "source"), _losses(OBJECTIVES))
    if what == "methods":
        rows = tuple(
            (name, f"{METHODS[name].gamma:g}", _needs(name), options, source)
            for name, options, source in _losses(METHODS)
        )
        note = (
            "gamma: weight of the label's cross-entropy when the method stands alone; 1 in a sum (crd + kd). Needs: as for two "
            "networks of one family. alpha and beta are a method's own weights."
        )
        return Grid("Methods of students", ("method", "gamma", "needs", "options", "source"), rows, note)
    if what == "maps":
        maps = tuple((n, _options(build), str(getattr(build, "source", ""))) for n, build in MAPS.items())
        return Grid("Target maps", ("map", "options", "source"), maps)
    if what == "data":
        sources = tuple((name, row.summary, _options(row.build)) for name, row in SOURCES.items())
        note = "A path of an .npz file or of a folder is a name too. All take subset, pair, merge and noise."
        return Grid("Problems", ("name", "what", "options"), sources, note)
    if what == "recipes":
        note = (
            "In a study file under recipe, for all arms or for one; --set recipe.lr=0.05 on the command line; gt.teach(..., "
            "lr=0.05) in Python. Studies that come with the package: goodteacher demo, and goodteacher reproduce --list."
        )
        return Grid("Keys of a recipe", ("key", "default", "meaning"), _recipe_keys(), note)
    if what == "runs":
        return _runs(out)
    return _taps(model)


def _runs(out: Path) -> Grid:
    columns = ("run", "kind", "model", "loss", "data", "epochs", "seed", "taught by", "accuracy %")
    rows = []
    for run in (Run(path) for path in Store(out).runs()):
        spec, kept = run.spec, next((r for r in run.records if r["epoch"] == run.result.epoch), {})
        accuracy = kept.get("validation", {}).get("accuracy")
        rows.append(
            (
                run.id,
                spec.kind,
                spec.model_name,
                " + ".join(spec.loss),
                run.facts.name,
                str(spec.recipe.get("epochs", 0)),
                str(spec.seed),
                ", ".join(spec.teaching.runs) if spec.teaching else "-",
                "-" if accuracy is None else f"{100 * accuracy:.1f}",
            )
        )
    # Teachers before students, what differs by its seed alone side by side.
    rows.sort(key=lambda row: (row[1] != "teacher", row[4], row[2], row[3], int(row[5]), int(row[6])))
    return Grid(
        f"Finished runs in {out}",
        columns,
        tuple(rows),
        "accuracy: on validation, of the checkpoint kept; epochs: 0 for what was trained elsewhere",
    )


def _models() -> Grid:
    rows = []
    for name, row in MODELS.items():
        shape = (3, 224, 224) if "imagenet" in name or name == "mobilenetv1" else (3, 32, 32)
        model = outline({name: {}}, 100, shape)
        parameters = sum(p.numel() for p in model.parameters())
        taps = guess_taps(model)
        rows.append((name, f"{parameters:,}", row.inputs, str(len(taps.stages)), _options(row.build), row.source))
    note = "Parameters for 100 classes of 32x32 pictures (224x224 for ImageNet forms). module:function names one of your own."
    return Grid("Models", ("model", "parameters", "inputs", "stages", "options", "source"), tuple(rows), note)


def _recipe_keys() -> tuple[tuple[str, str, str], ...]:
    """Return the fields of a recipe with their defaults, and their meaning as its docstring has it."""
    entries = inspect.getdoc(Recipe) or ""
    meanings = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", entries, flags=re.MULTILINE))
    return tuple(
        (name, _plain(field.default), " ".join(meanings[name].replace("``", "").split()))
        for name, field in Recipe.model_fields.items()
    )


def _plain(default: object) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _losses(table: Mapping[str, LossRow]) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, _options(row.build), row.source) for name, row in table.items())


def _needs(method: str) -> str:
    if method == "none":
        return "no teacher"
    facts = Facts("", 10, (3, 32, 32), 1000, is_image=True, knows_truth=False, has_votes=False)
    network: dict[str, dict[str, Any]] = {"resnet8": {}}
    options = {k: v for k, v in option_defaults(METHODS[method].build).items() if v is not inspect.Parameter.empty}
    pair = (network, facts.input_shape)
    return describe_needs(Trial(facts).needs(pair, pair, {method: options}, where=method))


def _options(build: object) -> str:
    assert callable(build)
    hidden = {"classes", "input_shape", "channels", "root", *getattr(build, "keywords", {})}
    shown = {k: v for k, v in option_defaults(build).items() if k not in hidden}
    return ", ".join(k if v is inspect.Parameter.empty else f"{k}={v}" for k, v in shown.items())


def _taps(model: str | None) -> Grid:
    if model is None:
        raise ConfigError("list taps", rule="needs a model", received="none", remedy="goodteacher list taps resnet20")
    shape = (30,) if model == "mlp" else hub_spec(model).shape if is_hub(model) else (3, 32, 32)
    taps, modules = modules_of({model: {}}, 10, shape)
    places: dict[str, list[str]] = {}
    for i, site in enumerate(taps.stages):
        places.setdefault(site, []).append(f"stage {i + 1}")
    for i, site in enumerate(taps.pre_activations):
        places.setdefault(site.removesuffix(":input"), []).append(
            f"pre-activation {i + 1}" + " (input)" * site.endswith(":input")
        )
    for place, name in ((taps.stem, "stem"), (taps.head, "head (input is the embedding)")):
        if place:
            places.setdefault(place, []).append(name)
    rows = tuple(
        (name, kind, "x".join(map(str, size[1:])), ", ".join(places.get(name, []))) for name, kind, size in modules
    )
    return Grid(
        f"Modules of {model} for inputs {shape}, in order of execution", ("module", "class", "output", "tap"), rows
    )
