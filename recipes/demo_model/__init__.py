"""Make the embedded demo checkpoint: a small model of exactly CSM's architecture, trained from scratch."""
