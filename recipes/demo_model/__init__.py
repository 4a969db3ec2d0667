"""How the embedded demo checkpoint is made: a small model of exactly CSM's shape, trained from scratch."""
