"""Whether a router can be fooled: by categories, dress, triggers, gadgets and other requests."""
