import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile

import numpy as np
import pytest

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.cifar import cifar_problem, read_python_batch
from goodteacher.data.fetch import DOWNLOADS, Download

CLASSES = {"cifar10": 10, "cifar100": 100}
FOLDERS = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-python", "cifar-100-binary"),
}


class Global(str):
    """The name of a class or function, written as a pickle's GLOBAL."""


def python2_pickle(value):
    """Bytes as Python 2 wrote them in protocol 2: its str is an 8-bit string, and numpy is numpy.core."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    match value:
        case Global():
            return f"c{value.rpartition('.')[0]}\n{value.rpartition('.')[2]}\n".encode()
        case bytes():
            return b"T" + struct.pack("<I", len(value)) + value
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + struct.pack("<i", value)
        case tuple():
            return b"(" + b"".join(map(_python2, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_python2(k) + _python2(v) for k, v in value.items()) + b"u"
        case np.ndarray():
            make = _python2(Global("numpy.core.multiarray._reconstruct")) + _python2(
                (Global("numpy.ndarray"), (0,), b"b")
            )
            dtype = _python2(Global("numpy.dtype")) + _python2((b"u1", 0, 1)) + b"R"
            dtype += _python2((3, b"|", None, None, None, -1, -1, 0)) + b"b"
            state = (
                b"(" + _python2(1) + _python2(value.shape) + dtype + _python2(False) + _python2(value.tobytes()) + b"t"
            )
            return make + b"R" + state + b"b"
    raise TypeError(value)


def python3_pickle(value):
    return pickle.dumps(value, protocol=2)


def numbers(name):
    """Images in (N, 3, 32, 32) with all byte values, labels that cover every class twice."""
    rng = np.random.default_rng(0)
    classes = CLASSES[name]
    return {
        part: (rng.integers(0, 256, size=(n, 3, 32, 32), dtype=np.uint8), np.arange(n) % classes)
        for part, n in (("train", 2 * classes), ("test", classes))
    }


def names_of(name):
    return [f"class{i:03d}" for i in range(CLASSES[name])]


def python_files(name, dump):
    data, names = numbers(name), [n.encode() for n in names_of(name)]
    key, meta = (b"labels", b"label_names") if name == "cifar10" else (b"fine_labels", b"fine_label_names")

    def batch(x, y):
        labels = {key: y.tolist(), b"batch_label": b"one \xe9 of them"}
        return dump({b"data": x.reshape(len(x), -1), **labels, b"filenames": [b"a.png"] * len(x)})

    if name == "cifar10":
        x, y = data["train"]
        files = {f"data_batch_{i + 1}": batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(5)}
        return files | {"test_batch": batch(*data["test"]), "batches.meta": dump({meta: names})}
    return {"train": batch(*data["train"]), "test": batch(*data["test"]), "meta": dump({meta: names})}


def binary_files(name):
    data, names = numbers(name), "\n".join(names_of(name)).encode() + b"\n\n"

    def batch(x, y):
        labels = y[:, None] if name == "cifar10" else np.stack([y // 5, y], axis=1)
        return np.concatenate([labels.astype(np.uint8), x.reshape(len(x), -1)], axis=1).tobytes()

    if name == "cifar10":
        x, y = data["train"]
        files = {f"data_batch_{i + 1}.bin": batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(5)}
        return files | {"test_batch.bin": batch(*data["test"]), "batches.meta.txt": names}
    return {"train.bin": batch(*data["train"]), "test.bin": batch(*data["test"]), "fine_label_names.txt": names}


def files_of(name, version):
    if version == "binary":
        return FOLDERS[name][1], binary_files(name)
    return FOLDERS[name][0], python_files(name, {"python2": python2_pickle, "python3": python3_pickle}[version])


def write_folder(root, folder, files):
    (root / folder).mkdir(parents=True)
    for file, content in files.items():
        (root / folder / file).write_bytes(content)


def write_archive(root, folder, files, key, monkeypatch, *, damage=lambda content: content):
    """An archive that the table of checksums calls official."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for file, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        stray = tarfile.TarInfo("../outside")
        stray.size = 3
        tar.addfile(stray, io.BytesIO(b"bad"))
    raw = damage(content.getvalue())
    row = DOWNLOADS[key]
    monkeypatch.setitem(DOWNLOADS, key, Download(row.url, row.file, len(raw), hashlib.md5(raw).hexdigest()))
    (root / row.file).write_bytes(raw)


def check(problem, name):
    data = numbers(name)
    assert problem.name == name and problem.class_names == tuple(names_of(name)) and problem.augment == "crop_flip"
    for split, part in ((problem.train, "train"), (problem.validation, "train"), (problem.test, "test")):
        x, y = data[part]
        rows = split.indices.numpy()
        assert np.array_equal(split.inputs.tensor.permute(0, 3, 1, 2).numpy(), x[rows])
        assert np.array_equal(split.labels.numpy(), y[rows])
    assert len(problem.train) + len(problem.validation) == len(data["train"][0])
    assert problem.notes[0] == f"{2 * CLASSES[name]} training images, not the official 50,000"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("version", ["python2", "python3", "binary"])
def test_folders_and_archives(tmp_path, monkeypatch, name, version):
    folder, files = files_of(name, version)
    write_folder(tmp_path / "a", folder, files)
    problem = cifar_problem(name, tmp_path / "a")
    check(problem, name)
    key = f"{name}-binary" if version == "binary" else name
    (tmp_path / "b").mkdir()
    write_archive(tmp_path / "b", folder, files, key, monkeypatch)
    assert cifar_problem(name, tmp_path / "b").fingerprint == problem.fingerprint
    assert [p.name for p in (tmp_path / "b").iterdir()] == [DOWNLOADS[key].file] and not (tmp_path / "outside").exists()


def test_python_2_strings_are_what_real_python_2_pickles_hold():
    # The hand-made writer is only a witness if the ordinary unpickler agrees with it.
    value = {b"labels": [1, 2], b"x": (True, None, b"\xff\x00")}
    assert pickle.loads(python2_pickle(value), encoding="bytes") == value


def test_columns_first_arrays_are_read_by_column():
    x = np.asfortranarray(np.random.default_rng(0).integers(0, 256, size=(4, 3072), dtype=np.uint8))
    images, labels = read_python_batch(pickle.dumps({"data": x, "labels": [3, 1, 2, 0]}, protocol=2), "labels")
    assert np.array_equal(images.transpose(0, 3, 1, 2).reshape(4, -1), x) and labels.tolist() == [3, 1, 2, 0]


def test_npz_copy_comes_first(tmp_path):
    x, y = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y, y_train_confidence=np.ones(20))
    write_folder(tmp_path, *files_of("cifar10", "binary"))
    problem = cifar_problem("cifar10", tmp_path, confidence=0.5)
    assert not problem.test.inputs.tensor.any() and problem.notes[0].startswith(
        "read from a copy, cifar10.npz, not from"
    )
    (tmp_path / "cifar10.npz").unlink()
    with pytest.raises(ConfigError, match="option 'confidence' of cifar10: needs a copy with such a column"):
        cifar_problem("cifar10", tmp_path, confidence=0.5)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=f"none of them in .*; run `goodteacher fetch cifar100 --root {tmp_path}`"):
        cifar_problem("cifar100", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'cifar10'"):
        cifar_problem("cifar1", tmp_path)


class Evil:
    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "how", [(os.system, ("touch {}",)), (eval, ("open({!r}, 'w')",)), (np.load, ("{}",)), (getattr, (np, "load"))]
)
def test_malicious_pickles_are_refused(tmp_path, protocol, how):
    folder, files = files_of("cifar100", "python2")
    witness = tmp_path / "pwned"
    call = (how[0], tuple(a.format(str(witness)) if isinstance(a, str) else "numpy" for a in how[1]))
    files["train"] = pickle.dumps({"data": Evil(call)}, protocol=protocol)
    write_folder(tmp_path, folder, files)
    with pytest.raises(
        DataError, match=r"train': is damaged or not the official file, got UnpicklingError: it asks for"
    ):
        cifar_problem("cifar100", tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos.path\njoin\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",  # a dotted name reaches into an allowed class
        python2_pickle({b"data": Global("numpy.core.multiarray.scalar")}),
        python2_pickle([1, 2]),
        python2_pickle({b"labels": [1]}),
        python2_pickle({b"data": b"text", b"fine_labels": [1]}),
        python2_pickle({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1]}),
        python2_pickle({b"data": np.zeros((1, 3071), np.uint8), b"fine_labels": [1]}),
        python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [b"1"]}),
        pickle.dumps({"data": np.zeros((1, 3072)), "fine_labels": [1]}, protocol=2),
        pickle.dumps({"data": np.array([[Evil((os.getcwd, ()))] * 3072]), "fine_labels": [1]}, protocol=2),
        b"",
        b"not a pickle",
    ],
)
def test_files_that_are_not_the_format(tmp_path, content):
    folder, files = files_of("cifar100", "python2")
    write_folder(tmp_path, folder, files | {"train": content})
    with pytest.raises(
        DataError, match=r"train': is damaged or not the official file, got \w+: .*goodteacher fetch cifar100"
    ):
        cifar_problem("cifar100", tmp_path)


@pytest.mark.parametrize("version", ["python2", "binary"])
@pytest.mark.parametrize("keep", [0.2, 0.7, 0.999])
def test_truncated_files(tmp_path, version, keep):
    folder, files = files_of("cifar10", version)
    file = next(iter(files))
    write_folder(tmp_path, folder, files | {file: files[file][: int(len(files[file]) * keep)]})
    with pytest.raises(DataError, match=f"{file}': is damaged"):
        cifar_problem("cifar10", tmp_path)


def test_missing_file_in_a_folder(tmp_path):
    folder, files = files_of("cifar10", "binary")
    del files["data_batch_3.bin"]
    write_folder(tmp_path, folder, files)
    with pytest.raises(DataError, match=r"must hold the official files, got no data_batch_3\.bin"):
        cifar_problem("cifar10", tmp_path)


def test_label_out_of_range(tmp_path):
    folder, files = files_of("cifar10", "binary")
    files["test_batch.bin"] = b"\x0b" + files["test_batch.bin"][1:]
    write_folder(tmp_path, folder, files)
    with pytest.raises(DataError, match=r"labels in the test split .* must lie in \[0, 9\], got values from 1 to 11"):
        cifar_problem("cifar10", tmp_path)


def test_archive_with_another_checksum(tmp_path, monkeypatch):
    write_archive(tmp_path, *files_of("cifar10", "python2"), "cifar10", monkeypatch)
    path = tmp_path / DOWNLOADS["cifar10"].file
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    for content in (bytes(raw), bytes(raw[:-50])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"must have .* MD5 \w+, got another checksum .*; delete it and run"):
            cifar_problem("cifar10", tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"no archive", lambda c: c[:50] + bytes(500) + c[550:]]
)
def test_damaged_archive_behind_a_right_checksum(tmp_path, monkeypatch, damage):
    write_archive(tmp_path, *files_of("cifar10", "python2"), "cifar10", monkeypatch, damage=damage)
    with pytest.raises(DataError, match=r"python\.tar\.gz': is damaged or not the official file"):
        cifar_problem("cifar10", tmp_path)


def test_links_in_an_archive_are_not_followed(tmp_path, monkeypatch):
    folder, files = files_of("cifar100", "python2")
    del files["train"]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for file, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{folder}/train")
        link.type, link.linkname = tarfile.SYMTYPE, "test"
        tar.addfile(link)
    raw, row = content.getvalue(), DOWNLOADS["cifar100"]
    (tmp_path / row.file).write_bytes(raw)
    monkeypatch.setitem(DOWNLOADS, "cifar100", Download(row.url, row.file, len(raw), hashlib.md5(raw).hexdigest()))
    with pytest.raises(DataError, match="must hold the official files, got no train"):
        cifar_problem("cifar100", tmp_path)


def test_the_archive_serves_when_a_damaged_folder_is_deleted(tmp_path, monkeypatch):
    folder, files = files_of("cifar10", "python2")
    write_archive(tmp_path, folder, files, "cifar10", monkeypatch)
    write_folder(tmp_path, folder, files | {"data_batch_1": b""})
    with pytest.raises(DataError, match=r"data_batch_1': is damaged .*; delete it and run"):
        cifar_problem("cifar10", tmp_path)
    shutil.rmtree(tmp_path / folder)
    check(cifar_problem("cifar10", tmp_path), "cifar10")
