"""Whether a model is still the one that it was: profiles, and sequential tests against them."""
