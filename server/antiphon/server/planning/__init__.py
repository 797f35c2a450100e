"""Planning: who takes part in a round, with what, and what is known of the clients."""
