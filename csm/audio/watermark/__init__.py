"""Perth's watermark: marks speech as synthetic while it is generated, and finds the mark in recordings."""
