"""The engine: runs the model for many clients at once."""

import sys

# OpenVINO and NNCF send usage reports unless this module is missing; a server must not phone home.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
