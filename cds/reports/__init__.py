"""One result in several faithful forms."""
