"""Modules of a user's own: importable by name, or files by path, each under one module name in every process."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from goodteacher.base.errors import ConfigError

# Folder to the modules found in it: what one file finds beside it is not the module of that name beside another.
_FOUND: dict[Path, dict[str, ModuleType]] = {}


def is_path(module: str) -> bool:
    r"""Say whether a module is named by the path of its file.

    Example:
        >>> [is_path(name) for name in ("nets.small", "small.py", "./small", "C:\\nets\\small.py")]
        [False, True, True, True]
    """
    return module.endswith(".py") or "/" in module or "\\" in module or module.startswith("~")


def module_file(module: str) -> Path | None:
    """Return the file that a path names, as an absolute path, or None if there is none.

    Args:
        module: with or without ``.py``; a relative path is read from the current folder; a folder is its ``__init__.py``.
    """
    try:
        text = module if os.sep == "\\" or Path(module).exists() else module.replace("\\", "/")
        path = Path(text).expanduser().resolve()
        tried = (path, path.with_name(f"{path.name}.py"), path / "__init__.py")
        return next((file for file in tried if file.is_file()), None)
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or no home
        return None


def load_module(module: str, what: str) -> ModuleType:
    """Return a module.

    Args:
        module: a name that can be imported, also from the current folder, or the path of a file.
        what: names it, for messages.

    Raises:
        ConfigError: if there is none, or it cannot be imported; with the file and line of the mistake.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    file = module_file(module) if is_path(module) else None
    if is_path(module) and file is None:
        rule = "must name an importable module"
        remedy = f"a relative path is read from the current folder, {here}"
        raise ConfigError(what, rule=rule, received=f"no file {module}", remedy=remedy)
    try:
        return _from_file(file) if file is not None else importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise _not_importable(error, what) from None


def _from_file(file: Path) -> ModuleType:
    """Return the module of a file: as a part of its package or of the current folder where it is, else by its path."""
    root, here = file.parent, Path.cwd()
    while (root / "__init__.py").exists():
        root = root.parent
    if root != file.parent:
        with _beside(root):
            dotted = _dotted(file, root)
            if _file_of(dotted) == file:
                return importlib.import_module(dotted)
    if file.is_relative_to(here) and _file_of(_dotted(file, here)) == file:
        return importlib.import_module(_dotted(file, here))
    name = f"_own_{file.stem}_{hashlib.sha256(str(file).encode(errors='surrogateescape')).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    with _beside(file.parent):
        sys.modules[name] = module  # dataclasses and pickle look a class's module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _dotted(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _file_of(dotted: str) -> Path | None:
    """Return the file that a name would be imported from, if there is one."""
    if not all(part.isidentifier() for part in dotted.split(".")):
        return None
    try:
        spec = importlib.util.find_spec(dotted)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin).resolve() if spec is not None and spec.origin and spec.has_location else None


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let imports find what lies in a folder first, and not what was found under the same name in another of the user's."""
    apart = {name: sys.modules.pop(name) for name in _namesakes(folder)}
    sys.modules.update(_FOUND.get(folder, {}))
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # What a function imports when it is called is still found, behind everything else.
        sys.path[:] = path if str(folder) in path else [*path, str(folder)]
        _FOUND[folder] = {name: module for name, module in sys.modules.items() if _folder_of(name, module) == folder}
        sys.modules.update(apart)


def _namesakes(folder: Path) -> list[str]:
    """Return the modules from other folders of the user's that a folder has modules of its own in place of."""
    own = {Path.cwd(), *_FOUND} - {folder}
    tops = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    return [n for n, module in sys.modules.items() if n.partition(".")[0] in tops and _folder_of(n, module) in own]


def _folder_of(name: str, module: ModuleType) -> Path | None:
    """Return the folder on the path that a module was found in, if it has a file."""
    file = getattr(module, "__file__", None)
    if not file or name.startswith("_own_"):
        return None
    levels = name.count(".") + (Path(file).name == "__init__.py")
    return Path(file).parents[levels] if levels < len(Path(file).parents) else None


def _not_importable(error: BaseException, what: str) -> ConfigError:
    """Return what to say of a module that does not import, with the file and line."""
    said = " ".join(str(error).split())
    rule = "must name an importable module"
    if isinstance(error, SyntaxError):
        place = f" in {error.filename}, line {error.lineno}" if error.filename else ""
        return ConfigError(what, rule=rule, received=f"{type(error).__name__}: {said}{place}", remedy="correct it")
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__ and "importlib" not in f.filename
    ]
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    if isinstance(error, ImportError):
        if frames:
            return ConfigError(what, rule=rule, received=f"{said}{place}", remedy="install it, or correct the import")
        return ConfigError(what, rule=rule, received=said, remedy="name a module, or give the path of its file")
    if isinstance(error, SystemExit):
        remedy = "put what runs as a program under if __name__ == '__main__'"
        return ConfigError(what, rule=rule, received=f"a module that ends the program{place}", remedy=remedy)
    return ConfigError(what, rule=rule, received=f"{type(error).__name__}: {said}{place}")
