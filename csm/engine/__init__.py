"""Running the model for many callers."""
