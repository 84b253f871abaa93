"""A synthetic hospital in a box: demo and tests only, never imported by the other rooms."""
