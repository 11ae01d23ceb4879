"""Downloads from a server on this machine that behaves badly; never from the internet."""

import builtins
import hashlib
import http.server
import io
import json
import os
import sys
import tarfile
import time
import types
import zipfile

import pytest
import requests
from made_up_server import BEHAVIOURS, CONTENT, CUT, Server

from seg_lib.data import download, transfer
from seg_lib.data.download import CHECKSUMS, fetch
from seg_lib.errors import DataWarning, InputError

SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
REVISION = "a" * 40
CONNECT_S = transfer.TIMEOUT_S[0]  # before the tests make it impatient


@pytest.fixture
def server():
    with Server() as running:
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.01)
    monkeypatch.setattr(transfer, "TIMEOUT_S", (1, 0.5))
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def waits(monkeypatch):
    """Seconds slept before each try, and the timeouts of each request; nothing sleeps."""
    slept, timeouts, get = [], [], requests.Session.get

    def noted(session, url, **how):
        timeouts.append(how["timeout"])
        return get(session, url, **how)

    monkeypatch.setattr(requests.Session, "get", noted)
    clock = types.SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr(transfer, "time", clock)
    return slept, timeouts


def manifest(url="", known=SHA256, spdx="CC-BY-4.0", name="a.bin", **changes):
    file = {"name": name, "url": url, "hash": known, "source": "made up"} | changes
    return {
        "id": "made_up",
        "status": "open",
        "landing_page": "https://example.org/made_up",
        "licence": [{"part": "all", "spdx": spdx, "source": "made up"}],
        "access": {"backend": "pooch", "files": [file]},
    }


def get(server, how, folder, **more):
    fetch(manifest(f"{server.url}/{how}/a.bin", **more), folder)
    return (folder / "a.bin").read_bytes()


def left(folder):
    """The files that a download left behind, hidden ones too, but for the lock."""
    files = (path.name for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name != ".lock")


def part(folder, suffix=""):
    """Where what has come so far is kept."""
    (folder / ".part").mkdir(exist_ok=True)
    return folder / ".part" / f"a.bin.part{suffix}"


def test_a_good_file_arrives_once(server, tmp_path):
    assert get(server, "good", tmp_path) == CONTENT
    assert get(server, "good", tmp_path) == CONTENT
    assert len(server.asked) == 1  # the second time it was there already


def test_a_cut_line_goes_on_where_it_stopped(server, tmp_path):
    assert get(server, "cut", tmp_path) == CONTENT
    assert [asked for _, asked in server.asked] == [None, f"bytes={CUT}-"]
    assert server.statuses == [200, 206]


def test_a_killed_download_goes_on_at_the_next_call(server, tmp_path):
    part(tmp_path).write_bytes(CONTENT[:CUT])
    part(tmp_path, ".version").write_text('"v1"')
    (tmp_path / ".part" / "tmpabc").touch()  # of pooch
    assert get(server, "good", tmp_path) == CONTENT
    assert server.asked == [("/good/a.bin", f"bytes={CUT}-")]
    assert left(tmp_path) == ["a.bin"]


def test_a_server_that_ignores_ranges_is_not_appended_to(server, tmp_path):
    assert get(server, "ignores", tmp_path) == CONTENT


def test_two_versions_of_a_file_are_never_joined(server, tmp_path):
    reverse = "sha256:" + hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert get(server, "changed", tmp_path, known=reverse) == CONTENT[::-1]
    assert server.asked[1][1] == f"bytes={CUT}-"  # it did ask, but with If-Range
    assert server.statuses == [200, 200]


def test_another_part_than_asked_for_starts_over(server, tmp_path):
    assert get(server, "other", tmp_path) == CONTENT
    assert [asked for _, asked in server.asked] == [None, f"bytes={CUT}-", None]


def test_more_here_than_there_starts_over(server, tmp_path):
    part(tmp_path).write_bytes(CONTENT * 2)
    part(tmp_path, ".version").write_text('"v1"')
    assert get(server, "good", tmp_path) == CONTENT


def test_a_part_without_version_starts_over(server, tmp_path):
    part(tmp_path).write_bytes(b"old" * 1000)
    assert get(server, "good", tmp_path) == CONTENT
    assert server.asked == [("/good/a.bin", None)]


def test_a_busy_server_is_asked_again(server, tmp_path):
    assert get(server, "busy", tmp_path) == CONTENT
    assert len(server.asked) == 3


def test_redirects_are_followed(server, tmp_path):
    assert get(server, "moved", tmp_path) == CONTENT


@pytest.mark.parametrize(
    ("how", "said", "most_requests"),
    [
        ("404", "answers 404", 1),
        ("403", "answers 403", 1),
        ("page", "a web page came", 1),
        ("down", "answers 500, 5 times", 5),
        ("short", "ProtocolError.*5 times", 5),
        ("loop", "10 redirects", 11),
        ("to-file", "No connection adapters|file:", 1),
    ],
)
def test_what_is_no_file_is_refused_with_its_address(server, tmp_path, how, said, most_requests):
    with pytest.raises(InputError, match=said) as refusal:
        get(server, how, tmp_path)
    assert f"{server.url}/{how}/a.bin" in str(refusal.value)
    assert len(server.asked) == most_requests
    assert not (tmp_path / "a.bin").exists()


def test_an_endless_answer_ends(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_UNDECLARED_BYTES", 50_000)
    with pytest.raises(InputError, match="more than 5e\\+04 bytes"):
        get(server, "endless", tmp_path)
    assert left(tmp_path) == []


def test_a_stall_ends(server, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(transfer, "TRIES", 3)
    with pytest.raises(InputError, match="ReadTimeoutError.*3 times"):
        get(server, "stalls", tmp_path)
    slept, timeouts = waits
    assert slept == [0, 0.01, 0.02] and timeouts == [(1, 0.5)] * 3 and len(server.asked) == 3


def test_a_trickle_ends(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    monkeypatch.setattr(transfer, "PATIENCE_S", 0.5)
    monkeypatch.setattr(transfer, "SLOWEST_BYTES_PER_S", 1e6)
    with pytest.raises(InputError, match="only trickles"):
        get(server, "trickles", tmp_path)


def test_a_file_larger_than_the_disk_is_not_begun(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="do not fit on the disk"):
        get(server, "good", tmp_path)


def test_a_wrong_checksum_says_both_and_leaves_nothing(server, tmp_path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(InputError, match=f"expected {wrong} but got {SHA256[7:]}"):
        get(server, "good", tmp_path, known=wrong)
    assert left(tmp_path) == []


def test_a_wrong_download_does_not_replace_what_was_there(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="does not match"):
        get(server, "good", tmp_path, known="sha256:" + "0" * 64)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"


def test_md5_is_taken_with_a_note(server, tmp_path):
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
    with pytest.warns(DataWarning, match="not forgery"):
        assert get(server, "good", tmp_path, known=md5) == CONTENT


def test_no_checksum_is_refused_or_trusted_once(server, tmp_path):
    unknown = manifest(f"{server.url}/good/a.bin", known=None)
    with pytest.raises(InputError, match="--trust-first"):
        fetch(unknown, tmp_path)
    assert server.asked == []
    fetch(unknown, tmp_path, trust_first=True)
    assert json.loads((tmp_path / CHECKSUMS).read_text()) == {"a.bin": SHA256}
    # From now on another file under this address is refused, trusted or not.
    (tmp_path / "a.bin").unlink()
    other = manifest(f"{server.url}/changed/a.bin", known=None)
    server.times["changed"] = 1  # the version of the second time
    with pytest.raises(InputError, match="does not match"):
        fetch(other, tmp_path, trust_first=True)


def test_checksums_that_are_no_json(server, tmp_path):
    (tmp_path / CHECKSUMS).write_text("{")
    with pytest.raises(InputError, match="no JSON; delete it"):
        fetch(manifest(f"{server.url}/good/a.bin", known=None), tmp_path, trust_first=True)


def test_no_network_is_said_within_ten_seconds(tmp_path, waits):
    """The first refusal is the last: what may be waited for is one connection."""
    with Server() as gone:
        url = gone.url
    with pytest.raises(InputError, match="no connection"):
        fetch(manifest(f"{url}/good/a.bin"), tmp_path)
    slept, timeouts = waits
    assert slept == [0] and timeouts == [(1, 0.5)] and CONNECT_S <= 10


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(manifest(f"{server.url}/good/a.bin"), tmp_path / "file")


@pytest.mark.parametrize("spdx", [None, "CC-BY-NC-4.0"])
def test_a_licence_that_restricts_or_is_unknown_has_to_be_accepted(server, tmp_path, spdx):
    restricted = manifest(f"{server.url}/good/a.bin", spdx=spdx)
    with pytest.raises(InputError, match="--accept-licence") as refusal:
        fetch(restricted, tmp_path)
    assert "https://example.org/made_up" in str(refusal.value)
    assert server.asked == []
    fetch(restricted, tmp_path, accept_licence=True)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_what_lies_behind_a_form_is_explained_not_fetched(tmp_path):
    form = manifest()
    form["access"] = {"backend": "manual", "steps": ["Fill in the form.", "Sign it."]}
    with pytest.raises(InputError, match=r"\(1\) Fill in the form. \(2\) Sign it.*data verify"):
        fetch(form, tmp_path, accept_licence=True)


def test_only_some_files(server, tmp_path):
    two = manifest(f"{server.url}/good/a.bin")
    two["access"]["files"].append(two["access"]["files"][0] | {"name": "b.bin"})
    fetch(two, tmp_path, only=["b.bin"])
    assert left(tmp_path) == ["b.bin"]
    with pytest.raises(InputError, match="no file c.bin; there are a.bin, b.bin"):
        fetch(two, tmp_path, only=["c.bin"])


def archive(kind):
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as packed:
            packed.writestr("imagesTr/a.nii.gz", b"image")
    else:
        with tarfile.open(fileobj=content, mode="w") as packed:
            member = tarfile.TarInfo("imagesTr/a.nii.gz")
            member.size = 5
            packed.addfile(member, io.BytesIO(b"image"))
    return content.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_unpacked_beside(server, tmp_path, monkeypatch, kind):
    packed = archive(kind)
    monkeypatch.setitem(BEHAVIOURS, "good", lambda handler: handler.answer(200, packed))
    known = "sha256:" + hashlib.sha256(packed).hexdigest()
    name = f"set.{kind}"
    fetch(manifest(f"{server.url}/good/x", known=known, name=name, unpack=True), tmp_path)
    assert (tmp_path / "set" / "imagesTr" / "a.nii.gz").read_bytes() == b"image"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as its own client asks for."""

    protocol_version = "HTTP/1.1"
    files = {"config.json": b"{}", "model.safetensors": CONTENT}

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(self.path)
        headers, name = {}, self.path.split("?")[0].rsplit("/", 1)[1]
        if "gated" in self.path:
            status, body, headers = 403, b"{}", {"X-Error-Code": "GatedRepo"}
        elif "/revision/main" in self.path:  # which the newest is
            siblings = [{"rfilename": name} for name in self.files]
            newest = {"id": "made/up", "sha": REVISION, "siblings": siblings}
            status, body = 200, json.dumps(newest).encode()
        elif f"/tree/{REVISION}" in self.path or "/tree/main" in self.path:
            listed = [
                {"type": "file", "path": n, "size": len(b), "oid": "0" * 40}
                for n, b in self.files.items()
            ]
            status, body = 200, json.dumps(listed).encode()
        elif f"/resolve/{REVISION}/" in self.path and name in self.files:
            status, body = 200, self.files[name]
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": REVISION}
        else:
            status, body = 404, b"{}"
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    with Server(Hub) as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
        running.shutdown()


def weights(repo="made/up", revision=REVISION, known=SHA256):
    about = manifest(known=known, name="model.safetensors")
    patterns = ["*.json", "*.safetensors"]
    about["access"] |= {"backend": "hf", "repo": repo, "revision": revision, "patterns": patterns}
    return about


def test_weights_come_from_the_pinned_revision(hub, tmp_path):
    fetch(weights(), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT
    assert all(REVISION in path for path in hub.asked if "resolve" in path)
    fetch(weights(), tmp_path)  # a second time nothing is wrong with it


def test_weights_with_another_checksum_are_taken_away(hub, tmp_path):
    with pytest.raises(InputError, match=f"sha256 {SHA256[7:]} instead of {'0' * 64}"):
        fetch(weights(known="sha256:" + "0" * 64), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_files_that_the_hub_does_not_have(hub, tmp_path):
    with pytest.raises(InputError, match="vocab.txt did not come"):
        fetch(weights(), tmp_path, only=["vocab.txt"])


def test_weights_without_revision_ask_for_trust(hub, tmp_path):
    with pytest.raises(InputError, match="no revision is pinned.*--trust-first"):
        fetch(weights(revision=None), tmp_path)
    assert hub.asked == []


def test_weights_that_are_trusted_first_have_to_stay_the_same(hub, tmp_path, monkeypatch):
    newest = weights(revision=None, known=None)
    fetch(newest, tmp_path, trust_first=True)
    noted = json.loads((tmp_path / CHECKSUMS).read_text())
    assert noted["model.safetensors"] == SHA256 and set(noted) == set(Hub.files)
    fetch(newest, tmp_path, trust_first=True)
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr(Hub, "files", Hub.files | {"model.safetensors": b"other"})
    with pytest.raises(InputError, match=f"instead of {SHA256[7:]}; download it again"):
        fetch(newest, tmp_path, trust_first=True)
    assert json.loads((tmp_path / CHECKSUMS).read_text()) == noted


def test_gated_weights_are_refused_in_a_sentence(hub, tmp_path):
    with pytest.raises(InputError, match="your rights at https://example.org/made_up"):
        fetch(weights(repo="made/gated"), tmp_path)


def test_no_hub_is_said_within_ten_seconds(hub, tmp_path, monkeypatch):
    """Its client would try for minutes, so one connection is tried before it is asked."""
    from huggingface_hub import constants

    waits_s = []

    def nobody(address, timeout):
        waits_s.append(timeout)
        raise OSError(f"{address[0]} does not answer")

    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(download.socket, "create_connection", nobody)
    with pytest.raises(InputError, match="no connection to huggingface.co"):
        fetch(weights(), tmp_path)
    assert len(waits_s) == 1 and waits_s[0] <= 10 and hub.asked == []


def collection():
    about = manifest()
    access = {"backend": "idc", "collection": "made_up", "analysis_results": "exclude"}
    return about | {"access": access}


def without(monkeypatch, package):
    """As if a package were not installed."""
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named '{package}'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, "__import__", guarded)


@pytest.mark.parametrize(
    ("about", "package", "command"),
    [
        (collection(), "idc_index", r"\[tcia\]"),
        (weights(), "huggingface_hub", "pip install"),
    ],
)
def test_a_client_that_is_not_installed(tmp_path, monkeypatch, about, package, command):
    without(monkeypatch, package)
    with pytest.raises(InputError, match=f"No module named '{package}'; install it: .*{command}"):
        fetch(about, tmp_path)


class RememberingClient:
    """Stands for idc_index.IDCClient; its real signature is checked below where it is installed."""

    asked = None

    @classmethod
    def client(cls):
        return cls()

    def download_from_selection(self, **words):
        type(self).asked = words
        if words["patientId"] == ["nobody"]:
            raise ValueError("No data found for the PatientID with the values ['nobody'].")


@pytest.fixture
def idc(monkeypatch):
    module = types.SimpleNamespace(IDCClient=RememberingClient)
    monkeypatch.setitem(sys.modules, "idc_index", module)
    monkeypatch.setattr(download, "_reach", lambda host: None)


def test_a_collection_comes_from_the_idc(idc, tmp_path):
    fetch(collection(), tmp_path, only=["P1", "P2"])
    asked = RememberingClient.asked
    assert asked["collection_id"] == "made_up"
    assert asked["patientId"] == ["P1", "P2"]
    assert asked["downloadDir"] == str(tmp_path)
    with pytest.raises(InputError, match="No data found for the PatientID"):
        fetch(collection(), tmp_path, only=["nobody"])


def test_the_idc_client_has_the_words_that_we_use(idc, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "idc_index")
    real = pytest.importorskip("idc_index", reason="the extra [tcia] is not installed")
    import inspect

    fetch_words = set(inspect.signature(real.IDCClient.download_from_selection).parameters)
    monkeypatch.setitem(
        sys.modules, "idc_index", types.SimpleNamespace(IDCClient=RememberingClient)
    )
    fetch(collection(), tmp_path)
    assert set(RememberingClient.asked) <= fetch_words


def test_no_idc_is_said_within_ten_seconds(idc, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "idc_index", types.SimpleNamespace(IDCClient=None))
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(proxy, raising=False)

    def nowhere(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(download.socket, "create_connection", nowhere)
    with pytest.raises(InputError, match="no connection to idc-open-data"):
        fetch(collection(), tmp_path)


def test_a_second_download_into_the_same_folder_waits_its_turn(server, tmp_path):
    import fcntl

    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing here"):
            get(server, "good", tmp_path)
    assert os.listdir(tmp_path) == [".lock"]


def test_behind_a_proxy_the_client_finds_out_whether_there_is_a_network(monkeypatch):
    def no_call(*args, **words):
        raise OSError("no route")

    monkeypatch.setattr("socket.create_connection", no_call)
    with pytest.raises(InputError, match="example.invalid"):
        download._reach("example.invalid")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert download._reach("example.invalid") is None
