// Ours: the same canonical URL as the code (cds/domain/coding.py).
Alias: $local = https://precedent.example.invalid/CodeSystem/local

// HL7's. The AI Transparency one is ballot material: it may still change.
Alias: $observation-value = http://terminology.hl7.org/CodeSystem/v3-ObservationValue
Alias: $ai-device-type = http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS
Alias: $participant-type = http://terminology.hl7.org/CodeSystem/provenance-participant-type
Alias: $absent = http://terminology.hl7.org/CodeSystem/data-absent-reason

Alias: $sct = http://snomed.info/sct
