"""Network objects of a user's own on disk: written down when a study starts, so that their runs load in a later process.

networks/<name>-<shape>.pt2 ... .json          (torch.export's graph in eval mode; taps, the hash of the source)
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from goodteacher.base.events import Event, Sink
from goodteacher.base.seeds import undisturbed
from goodteacher.models.custom import PREFIX, is_handed_over, own_code, recall
from goodteacher.models.taps import TappedModel, Taps, guess_taps
from goodteacher.study.build import build_network
from goodteacher.study.planned import Plan
from goodteacher.train.records import read_json, write_atomically, write_json

# Examples that the graph is traced with and tried on.
TRACED, TRIED = 2, 3


def keep_networks(plan: Plan, root: Path, tell: Sink) -> None:
    """Write down the network objects of a plan, and say of which that cannot be done, before anything trains.

    Args:
        plan: whose runs name networks.
        root: of the store where they are kept.
        tell: hears of those that load in this process alone.
    """
    for name, shape in dict.fromkeys((spec.model_name, spec.input_shape(plan.facts)) for spec in plan.runs.values()):
        refused = keep_network(name, plan.facts.classes, shape, root)
        if refused:
            text = (
                f"{name.removeprefix(PREFIX)} cannot be written down ({refused}): its runs load in this process alone; to load "
                "them later name a function that builds it (module:function)"
            )
            tell(Event("line", text=text))


def keep_network(name: str, classes: int, shape: tuple[int, ...], root: Path) -> str:
    """Write a network object down, unless it is; return why that cannot be done, or nothing.

    Args:
        name: of a model; only those of network objects are kept.
        classes: C.
        shape: of one example as the network sees it.
        root: of the store.
    """
    if not name.startswith(PREFIX) or not is_handed_over(name) or network_files(name, shape, root)[1].exists():
        return ""
    with undisturbed():
        return _keep(build_network({name: {}}, classes, shape).eval(), name, shape, root)


def recall_network(name: str, shape: tuple[int, ...], root: Path) -> None:
    """Make a network object of an earlier process known that is kept in a store; nothing for other models.

    Args:
        name: of a model, of any kind.
        shape: of one example as the network sees it.
        root: of the store.
    """
    graph, facts = network_files(name, shape, root)
    if name.startswith(PREFIX) and not is_handed_over(name) and facts.exists():
        stored = read_json(facts)
        recall(name, shape, lambda: _read(graph, stored["taps"]), stored["code"])


def network_files(name: str, shape: tuple[int, ...], root: Path) -> tuple[Path, Path]:
    """Return where a network object's graph and what else is known of it are kept in a store."""
    stem = f"{name.removeprefix(PREFIX)}-{'x'.join(map(str, shape))}"
    return root / "networks" / f"{stem}.pt2", root / "networks" / f"{stem}.json"


def _keep(network: nn.Module, name: str, shape: tuple[int, ...], root: Path) -> str:
    """Write a network down; return why that cannot be done, or nothing."""
    graph, facts = network_files(name, shape, root)
    taps = asdict(guess_taps(network))
    try:
        with _quiet():
            batch = torch.export.Dim("batch", min=1)
            program = torch.export.export(network, (torch.zeros(TRACED, *shape),), dynamic_shapes=({0: batch},))
            write_atomically(graph, lambda file: torch.export.save(program, file))
        tried, again = torch.randn(TRIED, *shape), _read(graph, taps)
        with torch.no_grad():
            ours, theirs = (TappedModel(model)(tried).logits for model in (network, again))
        if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
            raise ValueError("what was written answers otherwise")
    except (OSError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever tracing makes of somebody else's network
        graph.unlink(missing_ok=True)
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    write_json(facts, {"taps": taps, "code": own_code("model", name)})
    return ""


def _read(graph: Path, taps: dict[str, Any]) -> nn.Module:
    """Return a kept network with its modules under their names."""
    with _quiet():
        network: nn.Module = torch.export.unflatten(torch.export.load(graph))
    named: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in taps.items()}
    vars(network)["taps"] = Taps(**named)
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's words about its own insides from the user."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
