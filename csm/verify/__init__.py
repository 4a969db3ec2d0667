"""`python -m csm.verify`: compares an installation with known values of the model."""
