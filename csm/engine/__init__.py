"""Running the model for many callers."""

import sys

# OpenVINO and NNCF report their use to their makers unless this module is missing; a server must not phone home.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
