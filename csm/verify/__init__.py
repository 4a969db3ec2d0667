"""Is this installation right? `python -m csm.verify` holds it against values that are known of the model."""
