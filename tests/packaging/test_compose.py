"""deploy/compose.yaml fits the server and deploy/nginx.conf; an engine that runs it is not needed."""

from pathlib import Path

import pytest
import yaml

from csm import server, settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_each_file_builds_the_target_for_its_device(services):
    on_gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]["csm"]
    assert services["csm"]["build"] == {"context": "..", "target": "cpu"} and "deploy" not in services["csm"]
    assert on_gpu["build"] == {"target": "cuda"}
    assert on_gpu["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_the_server_is_reached_through_nginx_only(services):
    assert "ports" not in services["csm"] and services["nginx"]["ports"] == ["443:443"]
    assert services["csm"]["environment"]["CSM_TRUSTED_PROXIES"] == "1"
    assert "${CSM_API_KEYS:?" in services["csm"]["environment"]["CSM_API_KEYS"]


def test_nginx_has_our_configuration_with_the_name_of_the_service(services):
    command = services["nginx"]["command"][-1]
    assert "./nginx.conf:/csm.conf:ro" in services["nginx"]["volumes"]
    port = services["csm"]["environment"]["CSM_PORT"]
    assert f"s/127.0.0.1:5000/csm:{port}/" in command
    assert (DEPLOY / "nginx.conf").read_text().count("server 127.0.0.1:5000;") == 1


def test_all_its_settings_exist(services):
    ours = {name for name in services["csm"]["environment"] if name.startswith("CSM_")}
    assert ours <= set(settings.variables())


def test_both_get_the_time_to_finish_answers(services):
    timeout = server.gunicorn_options(settings.load(None))["graceful_timeout"]
    for service in services.values():
        assert int(service["stop_grace_period"].removesuffix("s")) > timeout
