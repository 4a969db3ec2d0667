"""What the environment may hold, and what stops the start."""

import logging

import pytest

from csm.service_links import service_links
from csm.settings import PREFIX, SettingsError, load

CSM = {
    "CSM_SERVICE_HOST": "10.0.0.1",
    "CSM_SERVICE_PORT": "5000",
    "CSM_SERVICE_PORT_HTTP": "5000",
    "CSM_PORT": "tcp://10.0.0.1:5000",
    "CSM_PORT_5000_TCP": "tcp://10.0.0.1:5000",
    "CSM_PORT_5000_TCP_PROTO": "tcp",
    "CSM_PORT_5000_TCP_PORT": "5000",
    "CSM_PORT_5000_TCP_ADDR": "10.0.0.1",
}
"""What Kubernetes sets for a Service named `csm` with one named port."""


def of_service(name: str) -> dict[str, str]:
    return {variable.replace("CSM", name, 1): value for variable, value in CSM.items()}


@pytest.fixture
def environment(monkeypatch):
    def put(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize("service", ["CSM", "CSM_SERVER", "CSM_MODEL", "CSM_PORT"])
def test_the_variables_of_a_service_are_ignored_with_a_warning(environment, caplog, service):
    environment(of_service(service))
    with caplog.at_level(logging.WARNING):
        settings = load(None)
    assert (settings.port, settings.model) == (5000, "sesame/csm-1b")
    [record] = caplog.records
    for name in of_service(service):
        assert name in record.message
    assert "enableServiceLinks" in record.message


def test_the_port_can_be_set_beside_them(environment):
    environment(CSM | {"PORT": "8080"})
    assert load(None).port == 8080
    environment({"CSM_PORT": "8081"})
    assert load(None).port == 8081


def test_variables_of_other_services_are_ignored_silently(environment, caplog):
    environment(of_service("REDIS") | of_service("MY_CSM"))
    load(None)
    assert not caplog.records


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({"CSM_PROT": "5000"}, "CSM_PROT: did you mean CSM_PORT?"),
        ({"CSM_SERVICE_PORT": "5000"}, "CSM_SERVICE_PORT: did you mean"),
        ({"CSM_PORT_5000_TCP": "tcp://10.0.0.1:5000"}, "CSM_PORT_5000_TCP: did you mean"),
        (CSM | {"CSM_API_KEY": "x"}, "CSM_API_KEY: did you mean CSM_API_KEYS?"),
        (CSM | {"CSM_SERVICE_NAME": "x"}, "CSM_SERVICE_NAME"),
        ({"CSM_PORT": "http://10.0.0.1:5000"}, "CSM_PORT:"),
    ],
)
def test_a_misspelt_variable_stops_the_start(environment, variables, hint):
    environment(variables)
    with pytest.raises(SettingsError, match=hint.replace("?", r"\?")):
        load(None)


def test_variables_of_a_service_in_a_file_are_refused(tmp_path):
    file = tmp_path / ".env"
    file.write_text("CSM_SERVICE_HOST=10.0.0.1\n")
    with pytest.raises(SettingsError, match="CSM_SERVICE_HOST"):
        load(file)


def test_variables_of_a_service_are_listed_in_order():
    assert service_links(CSM | {"PATH": "/bin", "CSM_HOST": "::1"}, PREFIX) == tuple(sorted(CSM))


@pytest.mark.parametrize(("value", "limit"), [("none", ""), ("", "20000 per minute"), ("50 per hour", "50 per hour")])
def test_none_switches_off_the_quota_of_characters(environment, value, limit):
    environment({"CSM_CHARACTER_LIMIT": value})
    assert load(None).character_limit == limit


@pytest.mark.parametrize(
    "variables", [{"CSM_HOST": "0.0.0.0"}, {"CSM_TRUSTED_PROXIES": "1"}, {"CSM_CORS_ORIGINS": "https://a.example,*"}]
)
def test_a_server_that_others_reach_needs_keys_unless_it_serves_anyone(environment, variables):
    environment(variables)
    with pytest.raises(SettingsError, match=f"{next(iter(variables))}.* no keys are set: set CSM_API_KEYS"):
        load(None)
    assert load(None, api_keys="secret").has_keys
    assert load(None, allow_anonymous=True).allow_anonymous
