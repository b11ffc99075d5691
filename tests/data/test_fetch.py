import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data import fetch as module
from goodteacher.data.fetch import DOWNLOADS, Download, fetch

CONTENT = bytes(i * 7 % 251 for i in range(300_000))


class Server:
    """A file server of one file that can be told to misbehave, and remembers what it was asked."""

    def __init__(self, content, *, ranges=True, stop_after=None, status=200):
        self.content, self.ranges, self.stop_after, self.status = content, ranges, stop_after, status
        self.asked = []

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                server.asked.append((self.path, wanted))
                if server.status != 200:
                    self.send_error(server.status)
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
                body = server.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.stop_after])

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    row = Download("http://127.0.0.1:9", "small.tar.gz", len(CONTENT), hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setitem(DOWNLOADS, "small", row)


def test_download_is_whole_reported_and_not_repeated(tmp_path):
    seen = []
    with Server(CONTENT) as server:
        path = fetch("small", tmp_path / "new", base_url=server.url + "/", progress=lambda *at: seen.append(at))
        assert path == tmp_path / "new" / "small.tar.gz" and path.read_bytes() == CONTENT
        assert fetch("small", tmp_path / "new", base_url=server.url) == path
    assert server.asked == [("/small.tar.gz", None)]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in path.parent.iterdir()] == ["small.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_resumes_or_starts_again(tmp_path, ranges):
    with (
        Server(CONTENT, stop_after=100_000) as server,
        pytest.raises(
            DataError, match=r"broke off.*100,000 of 300,000 bytes are kept and `goodteacher fetch small --root"
        ),
    ):
        fetch("small", tmp_path, base_url=server.url)
    assert (tmp_path / "small.tar.gz.part").read_bytes() == CONTENT[:100_000]
    assert not (tmp_path / "small.tar.gz").exists()
    with Server(CONTENT, ranges=ranges) as server:
        assert fetch("small", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.asked == [("/small.tar.gz", "bytes=100000-")]
    assert [p.name for p in tmp_path.iterdir()] == ["small.tar.gz"]


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / "small.tar.gz.part").write_bytes(CONTENT)
    assert fetch("small", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_wrong_checksum_leaves_nothing(tmp_path, part):
    (tmp_path / "small.tar.gz").write_bytes(b"an older file")
    (tmp_path / "small.tar.gz.part").write_bytes(part)
    with (
        Server(CONTENT[:-1] + b"!") as server,
        pytest.raises(DataError, match=r"must have 300,000 bytes and MD5 \w{32}, got .*nothing was kept"),
    ):
        fetch("small", tmp_path, base_url=server.url)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("small.tar.gz", b"an older file")]


def test_a_wrong_file_in_place_is_replaced(tmp_path):
    (tmp_path / "small.tar.gz").write_bytes(CONTENT[:-1] + b"!")
    with Server(CONTENT) as server:
        assert fetch("small", tmp_path, base_url=server.url).read_bytes() == CONTENT


def test_another_file_at_the_address_is_not_stored(tmp_path):
    with (
        Server(b"<html>moved</html>") as server,
        pytest.raises(DataError, match="has 300,000 bytes, got 18 bytes from"),
    ):
        fetch("small", tmp_path, base_url=server.url)
    assert list(tmp_path.iterdir()) == []


def test_no_server_and_no_file(tmp_path):
    with pytest.raises(DataError, match=r"broke off, got URLError.*0 of 300,000 bytes are kept"):
        fetch("small", tmp_path, base_url="http://127.0.0.1:9")
    with Server(CONTENT, status=404) as server, pytest.raises(DataError, match="HTTPError: HTTP Error 404"):
        fetch("small", tmp_path, base_url=server.url)


def test_full_disk_is_seen_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 5, 5))
    with Server(CONTENT) as server, pytest.raises(DataError, match="needs 300,000 bytes, got 5 free; make room"):
        fetch("small", tmp_path, base_url=server.url)
    assert server.asked == []


def test_names_and_addresses():
    with pytest.raises(
        ConfigError, match="data set to fetch: must be a known name, got 'cifar11'; did you mean 'cifar10'"
    ):
        fetch("cifar11", "data")
    with pytest.raises(ConfigError, match="base_url: must be a URL"):
        fetch("small", "data", base_url="mirror/folder")


def test_table_is_well_formed():
    official = {name: row for name, row in DOWNLOADS.items() if name != "small"}
    assert len(official) == 4
    for row in official.values():
        assert row.url.startswith("https://") and len(bytes.fromhex(row.md5)) == 16 and row.size > 1.6e8
