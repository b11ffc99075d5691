"""What lies in a folder of pictures: splits, classes and files, and everything that is left out, by kind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from goodteacher.base.errors import DataError
from goodteacher.data.decode import ENDINGS

CACHE = ".goodteacher-cache"
# Whatever the case: Train/ and TEST/ are splits too.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class Listing:
    """Pictures in a fixed order: part by part, class by class, name by name; ``notes`` says what is not among them."""

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    parts: dict[str, npt.NDArray[np.int64]]
    notes: tuple[str, ...]


@dataclass(eq=False)
class _Folder:
    """One folder: pictures straight in it, folders in it, and what is left out of it, each with its kind."""

    path: Path
    own: list[Path] = field(default_factory=list)
    inner: dict[str, _Folder] = field(default_factory=dict)
    left: list[tuple[str, Path]] = field(default_factory=list)

    def pictures(self) -> list[Path]:
        return [*self.own, *(path for folder in self.inner.values() for path in folder.pictures())]

    def all_left(self) -> list[tuple[str, Path]]:
        return [*self.left, *(entry for folder in self.inner.values() for entry in folder.all_left())]

    def holds_folders(self) -> bool:
        """Whether any folder in it holds pictures, as those of classes do."""
        return any(folder.pictures() for folder in self.inner.values())


def list_pictures(root: Path) -> Listing:
    """List ``ROOT/train/CLASS`` with ``ROOT/test`` or ``ROOT/val``, or ``ROOT/CLASS``, with all folders in those of classes.

    Args:
        root: the folder; links to files and folders are followed.

    Returns:
        The listing; classes in the order of their names, or of their numbers where every name is a whole number.

    Raises:
        DataError: for a layout that can be read in two ways or in none, or a class without pictures.
    """
    if not root.is_dir():
        raise DataError(
            f"'{root}'", rule="must be a folder of pictures", received="no such folder", remedy="check the path"
        )
    tree = _read(root)
    splits = _splits(tree)
    folders = splits or {"train": tree}
    classes, numbered = _classes(root, folders)
    paths: list[Path] = []
    labels: list[int] = []
    parts, nested = {}, []
    for part, folder in folders.items():
        start = len(paths)
        for label, name in enumerate(classes):
            found = sorted(folder.inner[name].pictures())
            nested += [path for path in found if path.parent != folder.inner[name].path]
            paths += found
            labels += [label] * len(found)
        parts[part] = np.arange(start, len(paths))
    left = tree.all_left()
    left += [("pictures outside class folders", path) for folder in {tree, *splits.values()} for path in folder.own]
    beside = [folder for folder in tree.inner.values() if splits and folder not in splits.values()]
    left += [("pictures in folders beside the splits", path) for folder in beside for path in folder.pictures()]
    notes = [f"left out, {kind}: {count_names(root, named)}" for kind, named in _by_kind(left).items()]
    if nested:
        notes.insert(0, f"pictures in folders inside their class's folder, read with it: {count_names(root, nested)}")
    return Listing(classes, tuple(paths), np.array(labels), parts, (*numbered, *notes))


def count_names(root: Path, paths: list[Path], most: int = 3) -> str:
    """Return how many there are, and the first of them.

    Example:
        >>> count_names(Path("a"), [Path(f"a/{i}.txt") for i in range(5)])
        '5 (0.txt, 1.txt, 2.txt, ...)'
    """
    first = ", ".join(Path(os.path.relpath(path, root)).as_posix() for path in paths[:most])
    return f"{len(paths)} ({first}{', ...' if len(paths) > most else ''})"


def _by_kind(left: list[tuple[str, Path]]) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for kind, path in sorted(left):
        kinds.setdefault(kind, []).append(path)
    return kinds


def _read(folder: Path, above: tuple[str, ...] = ()) -> _Folder:
    found, above = _Folder(folder), (*above, os.path.realpath(folder))
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name, *_kind(entry)) for entry in entries)
    except OSError as error:
        raise DataError(f"'{folder}'", rule="must be readable", received=f"{type(error).__name__}: {error}") from error
    for name, is_folder, is_file in names:
        path, ending = folder / name, Path(name).suffix.lower()
        is_picture = is_file and ending in ENDINGS
        if name == CACHE or name.startswith("._"):
            continue  # what a Mac writes beside every file has the file's ending, and is none
        if is_folder and os.path.realpath(path) in above:
            found.left.append(("links to a folder around them", path))
        elif name.startswith(".") or (is_folder and name == "__MACOSX"):
            hidden = _read(path, above).pictures() if is_folder else [path] if is_picture else []
            found.left += [("hidden pictures", one) for one in hidden]
        elif is_folder:
            found.inner[name] = _read(path, above)
        elif is_picture:
            found.own.append(path)
        elif path.is_symlink() and not path.exists():
            found.left.append(("broken links", path))
        else:
            found.left.append((f"{ending} files" if ending else "files without an ending", path))
    return found


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Return whether an entry is a folder, and whether it is a file; a link that leads nowhere is neither."""
    if entry.is_symlink():
        path = Path(entry.path)
        return path.is_dir(), path.is_file()
    return entry.is_dir(), entry.is_file()  # which the folder itself tells, without a look at each file


def _splits(tree: _Folder) -> dict[str, _Folder]:
    """Return the folders of splits, part to folder; none where the classes lie in the root itself.

    A folder named train, val or test is a split if it holds folders of pictures. One that holds pictures itself is a class,
    and a mistake where it cannot be one.
    """
    roles = {name: part for name in tree.inner for part, names in SPLITS.items() if name.lower() in names}
    others = [name for name, folder in tree.inner.items() if name not in roles and folder.pictures()]
    deep = [name for name in roles if tree.inner[name].holds_folders()]
    # Loose pictures beside class folders: left out in a split among splits, a class's own beside classes.
    splits = [name for name in deep if not tree.inner[name].own or len(deep) > 1 or not others]
    flat = [name for name in roles if name not in splits and tree.inner[name].own]
    given = [roles[name] for name in splits]
    if twice := [name for name in splits if given.count(roles[name]) > 1]:
        received = " and ".join(f"{name}/" for name in twice)
        raise DataError(f"'{tree.path}'", rule="must hold each split once", received=received, remedy="rename one")
    if not splits and len({roles[name] for name in flat}) < 2 and (others or not flat):
        return {}
    if flat:
        raise _flat(tree, flat)
    if others and given in (["train"], ["validation"], ["test"]):
        raise _two_readings(tree, splits[0], others)
    if "train" not in given:
        received = "only " + ", ".join(f"{name}/" for name in splits)
        rule = "has test/ or val/ and so must have train/"
        raise DataError(f"'{tree.path}'", rule=rule, received=received, remedy="add train/")
    if empty := [name for name in roles if name not in splits]:
        received = f"none in {empty[0]}/"
        remedy = "fill it, or take it away"
        raise DataError(f"'{tree.path}'", rule="must hold pictures in every split", received=received, remedy=remedy)
    found = {roles[name]: tree.inner[name] for name in splits}
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return {part: found[part] for part in ("train", "validation", "test") if part in found}


def _flat(tree: _Folder, flat: list[str]) -> DataError:
    received = ", ".join(f"{len(tree.inner[name].own)} in {name}/" for name in flat)
    return DataError(
        f"'{tree.path}'",
        rule="has pictures that lie straight in a folder of a split, where nothing says their classes",
        received=received,
        remedy=f"sort them into class folders ({flat[0]}/CLASS/...) or take the folder away (if it is a class, rename it)",
    )


def _two_readings(tree: _Folder, name: str, others: list[str]) -> DataError:
    inner = ", ".join(f"{c}/" for c in list(tree.inner[name].inner)[:3])
    beside = ", ".join(f"{c}/" for c in others[:3])
    return DataError(
        f"'{tree.path}'",
        rule=f"can be read in two ways: {name}/ is a split with the classes {inner} or a class beside {beside}",
        remedy=f"move {beside} away in the first case, rename {name}/ in the second",
    )


def _classes(root: Path, folders: dict[str, _Folder]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of classes in order, and a note where that order is not the alphabet's."""
    train = folders["train"]
    for folder in folders.values():
        for inner in folder.inner.values():
            if not inner.pictures():
                raise _no_pictures(inner)
    classes = tuple(train.inner)
    for folder in folders.values():
        if odd := sorted(set(folder.inner) ^ set(classes)):
            received = ", ".join(f"'{c}' only in {(folder if c in folder.inner else train).path.name}" for c in odd[:5])
            raise DataError(f"classes in '{root}'", rule="must be the same in every split", received=received)
    if len(classes) < 2:
        deeper = f"if '{train.path / classes[0]}' holds the classes, give that folder" if classes else ""
        raise DataError(
            f"'{train.path}'",
            rule="must hold a folder for each of at least 2 classes",
            received=f"{len(classes)}: {', '.join(classes)}" if classes else "none",
            remedy=deeper if classes and train.inner[classes[0]].holds_folders() else "",
        )
    if all(_has_splits(train.inner[name]) for name in classes):
        received = f"'{classes[0]}' with {', '.join(f'{name}/' for name in train.inner[classes[0]].inner)}"
        raise DataError(
            f"'{root}'", rule="must hold splits with classes in them, and not the other way round", received=received
        )
    ordered = in_order(classes)
    if not all(_NUMBER.fullmatch(name) for name in classes):
        return classes, ()
    said = f"classes are named by numbers and stand in their order: {', '.join(ordered[:3])}, ..., {ordered[-1]}"
    return ordered, () if ordered == classes else (said,)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names as text is ordered, or as numbers are where every name is a whole number.

    Example:
        >>> in_order(["10", "9"]), in_order(["10", "9", "a"])
        (('9', '10'), ('10', '9', 'a'))
    """
    given = sorted(names)
    return tuple(sorted(given, key=lambda name: (int(name), name)) if all(map(_NUMBER.fullmatch, given)) else given)


def _has_splits(folder: _Folder) -> bool:
    names = [name.lower() for name in folder.inner]
    return not folder.own and any(name in SPLITS["train"] for name in names)


def _no_pictures(folder: _Folder) -> DataError:
    left = {kind: len(paths) for kind, paths in _by_kind(folder.all_left()).items()}
    return DataError(
        f"class folder '{folder.path}'",
        rule=f"must hold pictures ({', '.join(ENDINGS)})",
        received=", ".join(f"{count} {kind}" for kind, count in left.items()) or "an empty folder",
        remedy="put pictures into it, or remove it",
    )
