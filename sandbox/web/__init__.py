"""The sandbox's servers: FHIR R4 store, SMART authorization server, DICOMweb and the EHR screen."""
