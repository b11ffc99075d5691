from __future__ import annotations

import errno
import os

import pytest

from goodteacher.base.errors import StoreError
from goodteacher.train import records
from goodteacher.train.records import Records, read_json, read_records, write_atomically, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})

    def half(file):
        file.write(b"half")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="middle"):
        write_atomically(path, half)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, number):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(records.os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"could not be written, got (disk full; free some space|Permission denied)"):
        write_json(tmp_path / "x.json", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_left_out_and_a_repeated_epoch_counts_once(tmp_path):
    path = tmp_path / "r.jsonl"
    for event in ({"epoch": 1, "x": 1}, {"epoch": 2, "x": 2}, {"epoch": 2, "x": 3}):
        Records(path).append(event)
    with path.open("a") as file:
        file.write('{"epoch": 3, "x"')
    assert read_records(path) == [{"epoch": 1, "x": 1}, {"epoch": 2, "x": 3}]
    assert read_records(tmp_path / "none.jsonl") == []


def test_unreadable_json_names_the_file(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(StoreError, match=r"x\.json.*must be JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(StoreError, match="must exist"):
        read_json(tmp_path / "y.json")
