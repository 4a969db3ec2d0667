"""`python sesame_server.py` and `sesame_server:app`, as people run them."""

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from csm import memory_tuning, server, settings
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port

SCRIPT = ROOT / "sesame_server.py"


def environment(**given):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CSM_") and name != "PORT"}
    return {**clean, "CSM_MODEL": "demo", "PYTHONPATH": str(ROOT), **given}


def run(folder, **given):
    """Run the script to its end, in a folder without `.env`."""
    return subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=folder, env=environment(**given), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        ({"CSM_PROT": "1"}, 2, "did you mean CSM_PORT"),
        ({"CSM_PORT": "http"}, 2, "CSM_PORT"),
        ({"CSM_HOST": "0.0.0.0"}, 2, "CSM_API_KEYS"),
        ({"CSM_RATE_LIMIT": "lots"}, 2, "CSM_RATE_LIMIT"),
        ({"CSM_API_KEYS_FILE": "/none"}, 2, "CSM_API_KEYS_FILE"),
        ({"CSM_LEXICON": "/none"}, 2, "CSM_LEXICON"),
        ({"CSM_MODEL": "/none"}, 1, "CSM_MODEL"),
        ({"CSM_TRANSCRIBER": "/none"}, 1, "CSM_TRANSCRIBER"),
        ({"CSM_HOST": "192.0.2.1", "CSM_API_KEYS": "k"}, 1, "no such address"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path, given, status, reason):
    done = run(tmp_path, **given)
    assert done.returncode == status
    assert reason in done.stderr
    assert done.stderr.startswith("sesame_server: ") and done.stderr.count("\n") == 1


def test_without_the_weights_of_the_watermark_it_does_not_start_unless_that_is_off(tmp_path):
    # Found before the installed package, and empty.
    (tmp_path / "resemble_perth-1.0.1.dist-info").mkdir()
    (tmp_path / "resemble_perth-1.0.1.dist-info" / "METADATA").write_text("Name: resemble-perth\nVersion: 1.0.1\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = run(tmp_path, PYTHONPATH=path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "pip install resemble-perth" in done.stderr and "CSM_WATERMARK=off" in done.stderr
    # The next check fails instead.
    done = run(tmp_path, PYTHONPATH=path, CSM_WATERMARK="off", CSM_HOST="192.0.2.1", CSM_API_KEYS="k")
    assert done.returncode == 1 and "no such address" in done.stderr


@pytest.mark.parametrize("variable", ["CSM_PORT", "CSM_METRICS_PORT"])
def test_a_port_in_use_is_explained(tmp_path, variable):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run(tmp_path, **{"CSM_PORT": str(free_port()), variable: port})
    assert done.returncode == 1
    assert port in done.stderr and f"in use; stop the other program or set {variable}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", ["CSM_PORT", "CSM_METRICS_PORT"])
def test_a_port_that_needs_privileges_is_explained(variable):
    assert f"set {variable}" in server._remedy(OSError(errno.EACCES, ""), variable)


def options(**given):
    return server.gunicorn_options(settings.load(env_file=None, **given))


def test_a_thread_for_each_request_within_capacity_and_some_more():
    assert options(slots=2, queue=5)["threads"] == 2 + 5 + server.SPARE_THREADS
    assert options(queue=5)["threads"] == server.MAX_SLOTS + 5 + server.SPARE_THREADS


def test_gunicorn_knows_all_options():
    from gunicorn.config import Config

    config = Config()
    for name, value in options().items():
        config.set(name, value)
    assert config.control_socket_disable and not config.preload_app and config.workers == 1
    assert config.worker_class.__module__ == "gunicorn.workers.gthread"
    assert config.graceful_timeout <= 180


def test_the_address_of_gunicorn():
    assert options(host="::1", port=81)["bind"] == "[::1]:81"
    assert options(host="127.0.0.1", port=81)["bind"] == "127.0.0.1:81"


def test_importing_the_entry_point_starts_nothing():
    code = (
        "import sys, threading, sesame_server; assert 'app' not in vars(sesame_server);"
        "assert threading.active_count() == 1; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=60)


def test_the_entry_point_has_one_application_and_nothing_else(monkeypatch):
    code = (
        "import sesame_server; assert sesame_server.app is sesame_server.app;"
        "assert not hasattr(sesame_server, 'application_'); print(sesame_server.app.test_client().get('/health').json)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert "'status': 'loading'" in done.stdout, done.stderr


def command(name, port):
    bind = f"127.0.0.1:{port}"
    gunicorn = ["-m", "gunicorn", "--no-control-socket", "-b", bind, "sesame_server:app", "--threads=8", "-k"]
    without = "import sys; sys.modules['gunicorn.app.base'] = None; from csm.server import main; sys.exit(main())"
    ways = {
        "python": [str(SCRIPT)],
        "gunicorn": [*gunicorn, "gthread"],
        "waitress": ["-m", "waitress", f"--listen={bind}", "sesame_server:app"],
        "flask": ["-m", "flask", "--app", "sesame_server", "run", "-p", str(port)],
        "no gunicorn": ["-c", without],
    }
    return [sys.executable, *ways[name]]


KUBERNETES = {
    "CSM_SERVICE_HOST": "10.0.0.1",
    "CSM_SERVICE_PORT": "5000",
    "CSM_PORT": "tcp://10.0.0.1:5000",
    "CSM_PORT_5000_TCP_ADDR": "10.0.0.1",
}


def health(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as answer:
        return json.load(answer)
    except OSError:
        return {}


@pytest.mark.parametrize("name", ["python", "gunicorn", "waitress", "flask", "no gunicorn"])
def test_every_way_to_start_serves_while_loading_and_stops(tmp_path, name):
    run_and_stop(tmp_path, name, CSM_PORT="{port}")


def test_serves_in_the_environment_that_kubernetes_makes_for_a_service_named_csm(tmp_path):
    log = run_and_stop(tmp_path, "python", **KUBERNETES, PORT="{port}")
    [warning] = [line for line in log.splitlines() if "Kubernetes" in line]
    assert " WARNING csm.settings ignored " in warning
    assert all(name in warning for name in KUBERNETES)


def run_and_stop(folder, name, **given):
    port = free_port()
    log = folder / "log"
    surroundings = environment(**{variable: value.replace("{port}", str(port)) for variable, value in given.items()})
    with log.open("wb") as sink:
        process = subprocess.Popen(command(name, port), cwd=folder, env=surroundings, stderr=sink, stdout=sink)
    try:
        first = wait_until(lambda: health(port), 60)
        assert first["status"] in ("loading", "healthy"), log.read_text()
        assert first["model"] == "demo"
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(90)
    assert status == (0 if name in ("python", "gunicorn") else status)
    assert status in (0, -signal.SIGTERM), log.read_text()
    return log.read_text()


HEAPS = """
import ctypes, sys, threading
from csm import memory_tuning
if sys.argv[1] == "shared":
    memory_tuning.configure_malloc()
barrier = threading.Barrier(12)
def work():
    barrier.wait()
    kept = [bytearray(2000) for _ in range(3000)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="counts the heaps of glibc")
def test_threads_share_few_malloc_arenas(tmp_path):
    counts = {}
    for name in ("shared", "plain"):
        command = [sys.executable, "-c", HEAPS, name, str(tmp_path / name)]
        subprocess.run(command, env=environment(), cwd=ROOT, check=True, timeout=120)
        counts[name] = (tmp_path / name).read_text().count("<heap nr=")
    assert counts["shared"] <= memory_tuning.ARENAS < counts["plain"]
