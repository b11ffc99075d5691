"""The app, the options that mean the same in every command, and what every command begins with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="goodteacher",
    help="Train the teacher your student needs: teachers ranked before any student, students distilled, honest statistics.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"goodteacher {version('goodteacher')}")
        raise typer.Exit


@app.callback()
def begin_app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Train the teacher your student needs: teachers ranked before any student, students distilled, honest statistics."""


def names_of(table: str) -> Callable[[str], list[str]]:
    """Return what completes a word of the command line: the names of a table, after the last ``+`` of a sum."""

    def complete(incomplete: str) -> list[str]:
        from goodteacher.study import known_names

        head, plus, last = incomplete.rpartition("+")
        known: tuple[str, ...] = getattr(known_names, table)
        gap = " " * (len(last) - len(last.lstrip()))
        return [f"{head}{plus}{gap}{name}" for name in known if name.startswith(last.lstrip())]

    return complete


def data_words(incomplete: str) -> list[str]:
    """Return what completes the word for data: sources, folders and files."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [
        f"{path}/" if path.is_dir() else str(path) for path in there if path.is_dir() or path.suffix in (".npz", ".csv")
    ]
    return [*names_of("SOURCES")(incomplete), *(path for path in paths if path.startswith(incomplete))]


Out = Annotated[Path, typer.Option("--out", help="Folder of runs, studies and pages.")]
Root = Annotated[Path, typer.Option("--root", help="Folder where data lie.")]
Size = Annotated[int | None, typer.Option("--size", min=1, help="Pixels that a folder's pictures are scaled to.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds.")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training data.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16.")]
Engine = Annotated[
    str, typer.Option("--engine", help="auto, local, processes or ray.", autocompletion=names_of("ENGINES"))
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes at a time; by default one per core.")]
Json = Annotated[bool, typer.Option("--json", help="Print a machine-readable result as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show alarms, failures and the final tables only.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="tensorboard, mlflow or wandb, told of every epoch; repeatable.",
        autocompletion=names_of("TRACKERS"),
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--inputs", help="size=224, mean=[...], std=[...] that a network from a file expects to see; repeatable."
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE, over what a study file says; repeatable.")
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", help="KEY=VALUE of the teacher: snapshots=5, cross_fit=4, checkpoints=10, ...; repeatable."),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="gaussian, digits, cifar10, cifar100, an .npz or .csv file, a folder, or module:function.",
        autocompletion=data_words,
    ),
]
CORES = os.cpu_count() or 1


def begin(device: str, engine: str) -> tuple[str, str]:
    """Set threads for this process; return the device and the engine to use.

    Raises:
        ConfigError: for a word that names none, before torch is imported.
    """
    from goodteacher.base.errors import ConfigError, check_choice
    from goodteacher.study.known_names import ENGINES

    if device.split(":", maxsplit=1)[0] not in ("auto", "cpu", "cuda"):
        raise ConfigError("device", rule="must be auto, cpu or an accelerator that is here", received=repr(device))
    check_choice("engine", engine, ("auto", *ENGINES))

    import torch

    from goodteacher.api import pick_device

    place = pick_device(device)
    if engine == "auto":
        engine = "processes" if place == "cpu" and CORES > 1 else "local"
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # spinning OpenMP teams on a busy machine are 10 to 50 times slower
    return place, engine


def load_words(data: str, root: Path, size: int | None) -> dict[str, Any]:
    """Return the words that load a problem, as a study file holds them."""
    return {"name": data, "root": str(root), **({} if size is None else {"size": size})}


def check_size(size: int | None, data: str | None) -> None:
    """Raise `ConfigError` for --size where no data are named that it could be of."""
    from goodteacher.base.errors import ConfigError

    if size is not None and data is None:
        raise ConfigError("--size", rule="is for the data that --data names", received="no --data")


def console(stderr: bool = False) -> Any:
    """Return a console: a terminal's own, or wide plain lines."""
    from rich.console import Console

    # A pipe gets wide plain lines rather than tables broken at 80 columns.
    return Console(stderr=stderr) if sys.stdout.isatty() else Console(stderr=stderr, width=150)
