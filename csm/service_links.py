"""Environment variables that Kubernetes and Docker set for services, which may have the prefix of our settings."""

import re
from collections.abc import Mapping

# For a Service named X, Kubernetes and Docker's links set these variables: X_SERVICE_HOST, X_SERVICE_PORT,
# X_SERVICE_PORT_<NAME>, X_PORT=tcp://10.0.0.1:5000, X_PORT_5000_TCP, X_PORT_5000_TCP_ADDR, ...
_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
_NAME = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")


def service_links(environment: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    """Return the variables that begin with a prefix only because the name of a Kubernetes Service begins with it."""
    addresses = {name for name, value in environment.items() if name.endswith("_PORT") and _ADDRESS.match(value)}
    services = {name.removesuffix("_PORT") for name in addresses}
    services |= {name.removesuffix("_SERVICE_HOST") for name in environment if name.endswith("_SERVICE_HOST")}
    found = addresses | {
        name for name in environment for service in services if _NAME.fullmatch(name.removeprefix(f"{service}_"))
    }
    return tuple(sorted(name for name in found if name.startswith(prefix)))
