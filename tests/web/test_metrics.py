"""GET /metrics: who may read it, and what it says about the requests before."""

import json
import urllib.request
from collections.abc import Callable, Iterable

import pytest
from flask.testing import FlaskClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from csm.engine.stats import DeviceMemory, EngineStats
from csm.settings import SettingsError
from csm.web import check
from tests import raw_http
from tests.polling import wait_until
from tests.ports import free_port
from tests.web.app_settings import app_settings
from tests.web.fake_server import FakeServer
from tests.web.fake_synthesizer import FakeSynthesizer
from tests.web.requests import KEY, clone_form

MakeClient = Callable[..., FlaskClient]
Samples = dict[str, float]

METRICS_KEY = {"Authorization": "Bearer for-prometheus"}


def samples(text: str) -> Samples:
    """Return all values by their names with labels, such as `csm_requests_total{status="200"}`."""
    families: Iterable[Metric] = text_string_to_metric_families(text)
    return {
        sample.name + (json.dumps(sample.labels, sort_keys=True) if sample.labels else ""): sample.value
        for family in families
        for sample in family.samples
    }


def read(client: FlaskClient) -> Samples:
    answer = client.get("/metrics", headers=METRICS_KEY)
    assert answer.status_code == 200
    return samples(answer.text)


def labelled(name: str, **labels: str) -> str:
    return name + json.dumps(labels, sort_keys=True)


def clone(client: FlaskClient, text: str, **fields: str) -> TestResponse:
    return client.post("/clone-voice", data=clone_form(text) | fields, headers=KEY, buffered=True)


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client(metrics_key="for-prometheus")


@pytest.mark.parametrize("headers", [{}, KEY, {"X-API-Key": "for-prometheu"}, {"Authorization": "Bearer "}])
def test_only_the_key_of_the_metrics_opens_them(client, headers):
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert "csm_" not in answer.text


def test_they_have_prometheus_format_and_are_not_cached(client):
    answer = client.get("/metrics", headers=METRICS_KEY)
    assert answer.content_type.startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"
    assert samples(answer.text)["csm_ready"] == 1


def test_their_key_opens_nothing_else(client):
    assert client.post("/clone-voice", data=clone_form(), headers=METRICS_KEY).status_code == 401
    assert client.get("/nothing", headers=METRICS_KEY).status_code == 401


def test_a_server_without_api_keys_still_requires_their_key(make_client):
    client = make_client(api_keys="", metrics_key="for-prometheus")
    assert client.get("/metrics", base_url="http://localhost").status_code == 401
    assert client.get("/metrics", base_url="http://localhost", headers=METRICS_KEY).status_code == 200


@pytest.mark.parametrize("given", [{}, {"metrics_port": 9}])
@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_without_their_key_there_are_none_on_the_port_of_the_server(make_client, given, path):
    assert make_client(**given).get(path, headers=KEY).status_code == 404
    assert make_client(api_keys="", **given).get(path, base_url="http://localhost").status_code == 404


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"metrics_key": "a", "metrics_port": 9}, "CSM_METRICS_KEY and CSM_METRICS_PORT are both set"),
        ({"metrics_port": 5000}, "CSM_METRICS_PORT is CSM_PORT"),
        ({"metrics_port": 0}, "CSM_METRICS_PORT: Input should be greater than or equal to 1"),
        ({"metrics_key": "secret"}, "CSM_METRICS_KEY is one of the API keys"),
    ],
)
def test_settings_in_conflict_are_refused_at_the_start(given, reason):
    with pytest.raises(SettingsError, match=reason):
        check(app_settings(**given))


def test_answers_are_counted_by_how_they_ended(client):
    for finish in ("stop", "length", "length", "repeat"):
        assert clone(client, f"chunks=5 finish={finish}").status_code == 200
    clone(client, "chunks=5 finish=silence", stream="false")
    with pytest.raises(ConnectionResetError):
        clone(client, "chunks=5 fail=GenerationFailed after=2")
    values = read(client)
    assert {
        reason: values[labelled("csm_requests_success_total", finished_reason=reason)]
        for reason in ("stop", "length", "silence", "repeat", "abort")
    } == {"stop": 1, "length": 2, "silence": 1, "repeat": 1, "abort": 1}
    # Five answers of 0.2 s, and 0.08 s of one that was cut off.
    assert values["csm_audio_duration_s_sum"] == pytest.approx(1.08)
    assert values["csm_audio_duration_s_count"] == values["csm_e2e_request_latency_s_count"] == 6
    assert values["csm_audio_ttfp_s_count"] == values["csm_audio_underrun_s_count"] == 5


def test_requests_are_counted_by_route_status_and_outcome(client):
    clone(client, "chunks=1")
    clone(client, "fail=GenerationFailed")
    clone(client, "chunks=1", temperature="hot")
    client.post("/clone-voice", data=clone_form(), buffered=True)
    client.get("/CANARY", headers=KEY, buffered=True)
    client.get("/health", buffered=True)
    values = {name: value for name, value in read(client).items() if name.startswith("csm_requests_total")}
    assert values == {
        labelled("csm_requests_total", route="/clone-voice", status=status, outcome=outcome): 1
        for status, outcome in (("200", "ok"), ("500", "failed"), ("422", "refused"), ("401", "refused"))
    } | {labelled("csm_requests_total", route="-", status="404", outcome="refused"): 1}


def test_languages_and_gaps_are_counted(client):
    clone(client, "chunks=2")
    clone(client, "Guten Tag chunks=2")
    clone(client, "chunks=9")
    clone(client, "chunks=9 pace=0.2")
    values = read(client)
    assert values[labelled("csm_text_language_total", language="en")] == 3
    assert values[labelled("csm_text_language_total", language="de")] == 1
    assert values["csm_audio_underrun_s_count"] == 4
    # 40 ms of audio each 200 ms: whoever listens hears gaps.
    assert values["csm_audio_continuity_ok_total"] == 3
    assert values["csm_audio_underrun_s_sum"] > 0.1


def test_segments_that_were_generated_again_are_counted(client, fake):
    clone(client, "chunks=1 retries=2")
    clone(client, "chunks=1 retries=1")
    assert read(client)["csm_segment_retries_total"] == 3


def test_the_state_of_the_synthesizer_is_read_with_each_look(client: FlaskClient, fake: FakeSynthesizer):
    with fake.reserve():
        values = read(client)
    assert (values["csm_num_requests_running"], values["csm_num_requests_waiting"]) == (0, 1)
    fake.state = "unhealthy"
    assert read(client)["csm_ready"] == 0


def test_statistics_of_the_engine_are_shown_once_there_is_one(client: FlaskClient, fake: FakeSynthesizer):
    assert "csm_audio_rtf_count" not in read(client)
    stats = fake.engine_stats = EngineStats(voice_queries=5, voice_hits=3, kv_usage=0.25)
    for rows in (1, 2, 4, 3):
        stats.batch_size.observe(rows)
    for seconds in (0.08, 0.081, 99.0):
        stats.step_seconds.observe(seconds)
    values = read(client)
    assert values["csm_audio_frames_total"] == 10
    assert values["csm_step_batch_size_count"] == 4
    assert values[labelled("csm_step_batch_size_bucket", le="2.0")] == 2
    assert values[labelled("csm_step_s_bucket", le="0.08")] == 1
    assert values[labelled("csm_step_s_bucket", le="1.6")] == 2
    assert values[labelled("csm_step_s_bucket", le="+Inf")] == values["csm_step_s_count"] == 3
    assert values["csm_step_s_sum"] == pytest.approx(99.161)
    assert (values["csm_prefix_cache_queries_total"], values["csm_prefix_cache_hits_total"]) == (5, 3)
    assert values["csm_kv_cache_usage_perc"] == 0.25
    assert "csm_gpu_memory_total_bytes" not in values
    fake.engine_stats.device_memory = DeviceMemory(1, 2, 3)
    values = read(client)
    assert [values[f"csm_gpu_memory_{kind}_bytes"] for kind in ("allocated", "used", "total")] == [1, 2, 3]


def test_each_application_counts_its_own_requests(make_client):
    one, other = make_client(metrics_key="for-prometheus"), make_client(metrics_key="for-prometheus")
    clone(one, "chunks=1")
    assert read(one)["csm_audio_ttfp_s_count"] == 1
    assert read(other)["csm_audio_ttfp_s_count"] == 0


def test_a_port_of_their_own_needs_no_key_and_is_on_loopback(serve: Callable[..., FakeServer]):
    port = free_port()
    server = serve(metrics_port=port)
    assert server.ask(raw_http.clone_request("chunks=3")).status == 200

    def answered() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            values = samples(answer.read().decode())
        return values["csm_audio_ttfp_s_count"] == 1 and values["process_resident_memory_bytes"] > 0

    wait_until(answered)
    assert server.ask(b"GET /metrics HTTP/1.1\r\nHost: t\r\nX-API-Key: secret\r\n\r\n").status == 404
