"""CIFAR-10 and CIFAR-100 from the official files, or from a converted .npz copy."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from goodteacher.base.errors import ConfigError, DataError, check_choice
from goodteacher.data.arrays import npz_problem, problem_from_arrays
from goodteacher.data.fetch import DOWNLOADS, is_whole
from goodteacher.data.problem import Problem

_PIXELS = 3 * 32 * 32
_Labelled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def cifar_problem(
    name: str,
    root: str | Path = "data",
    *,
    validation: float = 0.1,
    seed: int = 0,
    labels_key: str = "y_train",
    confidence: float | None = None,
) -> Problem:
    """Build CIFAR-10 or CIFAR-100.

    The first of these that is found under ``root`` is read: ``NAME.npz`` (see `goodteacher.data.arrays`), the official
    python version, the official binary version, each as its extracted folder or as its archive. Archives must have the
    official checksum and are never extracted; pickles can make nothing but arrays, lists and strings.

    Args:
        name: ``cifar10`` or ``cifar100``.
        root: folder of the files.
        validation: share of the training images that becomes the validation split.
        seed: of that split.
        labels_key: for an .npz copy with more than one column of training labels.
        confidence: for an .npz copy with a ``y_train_confidence``: the least that is kept.

    Returns:
        The problem; indices are rows of the official training and test order.

    Raises:
        ConfigError: for an unknown name, or an option the files cannot serve.
        DataError: if nothing is found, or a file is damaged.

    Source: Krizhevsky (2009); https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    check_choice("data set", name, _LAYOUTS)
    root = Path(root)
    copy = root / f"{name}.npz"
    if copy.is_file():
        problem = npz_problem(copy, validation=validation, seed=seed, labels_key=labels_key, confidence=confidence)
        return replace(problem, notes=(f"read from a copy, {copy.name}, not from the official files", *problem.notes))
    if labels_key != "y_train" or confidence is not None:
        option = "confidence" if confidence is not None else "labels_key"
        remedy = f"put that copy at '{copy}'"
        raise ConfigError(f"option '{option}' of {name}", rule="needs a copy with such a column", remedy=remedy)
    for layout in _LAYOUTS[name]:
        found = _find(layout, root)
        if found is not None:
            arrays = _arrays(layout, root, *found)
            problem = problem_from_arrays(arrays, validation=validation, seed=seed, name=name)
            return replace(problem, notes=_missing_images(arrays))
    raise DataError(
        name,
        rule=f"needs {copy.name}, {' or '.join(f'{y.folder}/ or {DOWNLOADS[y.archive].file}' for y in _LAYOUTS[name])}",
        received=f"none of them in '{root}'",
        remedy=f"run `goodteacher fetch {name} --root {root}`",
    )


def read_python_batch(content: bytes, labels_key: str) -> _Labelled:
    """Read one batch of the python version: a pickle of a dictionary with ``data`` and labels.

    Args:
        content: of the file.
        labels_key: ``labels`` (CIFAR-10) or ``fine_labels`` (CIFAR-100).

    Returns:
        Images ``(N, 32, 32, 3)`` uint8 and labels ``(N,)``.

    Raises:
        pickle.UnpicklingError: if the pickle asks for anything but arrays, lists and strings, or holds something else.
    """
    batch = _unpickle(content)
    data, labels = batch["data"], batch[labels_key]
    if not isinstance(data, _Array) or not isinstance(labels, list) or not all(isinstance(y, int) for y in labels):
        raise pickle.UnpicklingError("its data or its labels are not what the format says")
    rows = data.pixels()
    if len(rows) != len(labels):
        raise pickle.UnpicklingError(f"it has {len(rows)} images and {len(labels)} labels")
    return _channels_last(rows), np.array(labels, dtype=np.int64)


def read_binary_batch(content: bytes, label_bytes: int) -> _Labelled:
    """Read one batch of the binary version: records of labels (the last is the fine one) and 3,072 pixel values.

    Args:
        content: of the file.
        label_bytes: 1 (CIFAR-10) or 2 (CIFAR-100).

    Returns:
        Images ``(N, 32, 32, 3)`` uint8 and labels ``(N,)``.

    Raises:
        ValueError: if the content is not a whole number of records.

    Example:
        >>> images, labels = read_binary_batch(bytes([7]) + bytes(3072), label_bytes=1)
        >>> images.shape, labels.tolist()
        ((1, 32, 32, 3), [7])
    """
    record = label_bytes + _PIXELS
    if not content or len(content) % record:
        raise ValueError(f"{len(content)} bytes are no whole number of records of {record}")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return _channels_last(rows[:, label_bytes:]), rows[:, label_bytes - 1].astype(np.int64)


def _channels_last(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _python_names(key: str) -> Callable[[bytes], list[str]]:
    return lambda content: [n.decode("latin1") if isinstance(n, bytes) else str(n) for n in _unpickle(content)[key]]


def _text_names(content: bytes) -> list[str]:
    return content.decode("ascii").split()


@dataclass(frozen=True)
class _Layout:
    """Where an official version keeps what, and how each kind of file is read."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str
    batch: Callable[[bytes], _Labelled]
    names: Callable[[bytes], list[str]]


_LAYOUTS = {
    "cifar10": (
        _Layout(
            "cifar-10-batches-py", "cifar10",
            tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta",
            lambda content: read_python_batch(content, "labels"), _python_names("label_names"),
        ),
        _Layout(
            "cifar-10-batches-bin", "cifar10-binary",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt",
            lambda content: read_binary_batch(content, 1), _text_names,
        ),
    ),
    "cifar100": (
        _Layout(
            "cifar-100-python", "cifar100", ("train",), "test", "meta",
            lambda content: read_python_batch(content, "fine_labels"), _python_names("fine_label_names"),
        ),
        _Layout(
            "cifar-100-binary", "cifar100-binary", ("train.bin",), "test.bin", "fine_label_names.txt",
            lambda content: read_binary_batch(content, 2), _text_names,
        ),
    ),
}  # fmt: skip


def _find(layout: _Layout, root: Path) -> tuple[Path, dict[str, bytes]] | None:
    wanted = (*layout.train, layout.test, layout.meta)
    folder, archive = root / layout.folder, root / DOWNLOADS[layout.archive].file
    if folder.is_dir():
        place, files = folder, {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    elif archive.is_file():
        place, files = archive, _read_archive(layout, root, archive, wanted)
    else:
        return None
    missing = ", ".join(name for name in wanted if name not in files)
    if missing:
        raise DataError(
            f"'{place}'", rule="must hold the official files", received=f"no {missing}", remedy=_renew(layout, root)
        )
    return place, files


def _read_archive(layout: _Layout, root: Path, archive: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    source = DOWNLOADS[layout.archive]
    if not is_whole(archive, source):
        raise DataError(
            f"'{archive}'",
            rule=f"must have {source.size:,} bytes and MD5 {source.md5}",
            received=f"another checksum and {archive.stat().st_size:,} bytes",
            remedy=_renew(layout, root),
        )
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").partition("/")
                stream = (
                    tar.extractfile(member) if member.isreg() and folder == layout.folder and name in wanted else None
                )
                if stream is not None:
                    files[name] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise _damaged(layout, root, archive, error) from error
    return files


def _arrays(layout: _Layout, root: Path, place: Path, files: dict[str, bytes]) -> dict[str, Any]:
    def read(name: str, how: Callable[[bytes], Any]) -> Any:
        try:
            return how(files[name])
        except Exception as error:  # a damaged pickle may fail in any way: bad opcode, lookup, memory, decoding
            raise _damaged(layout, root, place / name, error) from error

    batches = [read(name, layout.batch) for name in layout.train]
    x_test, y_test = read(layout.test, layout.batch)
    return {
        "x_train": np.concatenate([images for images, _ in batches]),
        "y_train": np.concatenate([labels for _, labels in batches]),
        "x_test": x_test,
        "y_test": y_test,
        "class_names": read(layout.meta, layout.names),
    }


def _missing_images(arrays: dict[str, Any]) -> tuple[str, ...]:
    counts = {"training": (len(arrays["y_train"]), 50_000), "test": (len(arrays["y_test"]), 10_000)}
    return tuple(
        f"{got:,} {part} images, not the official {all_:,}" for part, (got, all_) in counts.items() if got != all_
    )


def _renew(layout: _Layout, root: Path) -> str:
    return f"delete it and run `goodteacher fetch {layout.archive} --root {root}`"


def _damaged(layout: _Layout, root: Path, place: Path, error: Exception) -> DataError:
    reason = f"{type(error).__name__}: {error}"
    return DataError(
        f"'{place}'", rule="is damaged or not the official file", received=reason, remedy=_renew(layout, root)
    )


class _Dtype:
    """Stands for numpy.dtype in a pickle: remembers the name."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None: ...


class _Array:
    """Stands for numpy.ndarray in a pickle: remembers the state, so that NumPy never sees what a stranger wrote."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, self.shape, self.dtype, self.column_major, self.content = state

    def pixels(self) -> npt.NDArray[np.uint8]:
        # Python 2 wrote bytes as its str, which comes as text in latin1: one character a byte.
        raw = self.content.encode("latin1") if isinstance(self.content, str) else self.content
        if self.dtype.name != "u1" or len(self.shape) != 2 or self.shape[1] != _PIXELS:
            raise pickle.UnpicklingError(f"its array is {self.dtype.name} of shape {self.shape}")
        return np.frombuffer(raw, dtype=np.uint8).reshape(self.shape, order="F" if self.column_major else "C")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in protocol 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a picture file has no use for")
        return _ALLOWED[module, name]


def _unpickle(content: bytes) -> dict[str, Any]:
    found = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError("it holds no dictionary")
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}
