"""Steps that test the connections to an EHR and its PACS, for `precedent ehr check`."""
