"""`python -m csm.verify`: compare an installation with known values of the model."""
