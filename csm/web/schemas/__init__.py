"""The bodies of requests, one class each: it validates the body, and describes it in the OpenAPI document."""
