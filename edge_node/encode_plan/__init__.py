"""Board limits, wishes, viewers turned into what the encoder does."""
