"""Flask for machines: CDS Hooks, FHIR R4 API, health; deny by default."""
