"""Voices and sentences for evaluation, never used for training."""

VOICES = ("af_kore", "am_eric", "bf_lily", "bm_lewis")

TEXTS = (
    "The old lighthouse still shows its lamp to passing ships.",
    "Could you bring the small ladder from the garage?",
    "We walked along the river until the rain began.",
    "She paints birds and flowers on wooden plates.",
    "My brother repairs clocks in a shop near the station.",
    "The soup needs a little more salt and pepper.",
    "Nobody expected the train to arrive so early.",
    "He forgot his umbrella at the library again.",
    "Fresh bread smells best on a cold morning.",
    "Where did the children hide the silver key?",
    "A gentle wind moved the curtains of the kitchen.",
    "They planted apple trees behind the school.",
)
"""Sentences of common words, without numbers or names, so that transcripts can be compared word by word."""
