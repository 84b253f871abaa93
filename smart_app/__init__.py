"""The clinicians' door: SMART launch, sessions and the pages, on top of `cds.web`."""
