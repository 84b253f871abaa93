// Everything that one answer about a synthetic patient is made of, as the code emits it:
// tests/conformance/test_fhir_profiles.py compares the two.

Instance: ExampleReport
InstanceOf: SimilarCaseReport
Usage: #example
Title: "A comparison with 31 past patients"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* text.status = #generated
* text.div = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p><b>Similar-case comparison by software (investigational): not a radiology report</b></p><p>About: Chest film, DX, 5 Jan 2026 04:41 (UTC). Stage of use: sandbox.</p><p>Investigational software. Compares this picture with past cases of Sandbox library; it does not read the picture. Lines, tubes and devices are not assessed. Not reviewed by a radiologist.</p><p>Of the 31 past patients most like this one, 12 had heart failure recorded (39 %, interval 24-56 %). Among all 204 eligible past patients with a portable film it was 22 %. This is not this patient&#x27;s probability.</p><p>Of the 31 past patients most like this one, fewer than 5 had pneumothorax recorded. Among all 204 eligible past patients with a portable film it was recorded in fewer than 5. This is not this patient&#x27;s probability.</p><p>Not used: lactate (none within 6 h of the film).</p><p>No priority suggested. This does not mean the film is normal.</p></div>"
* identifier[0].system = "urn:ietf:rfc:3986"
* identifier[0].value = "urn:uuid:0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa"
* status = #preliminary
* category[0] = $local#software-comparison "Comparison with past cases by software"
* category[0].text = "Comparison with past cases by software"
* code = $local#similar-case-comparison-report "Similar-case comparison by software (investigational): not a radiology report"
* code.text = "Similar-case comparison by software (investigational): not a radiology report"
* issued = 2026-01-05T06:00:00.000Z
* result[0].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-comparison"
* result[1].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-1"
* result[2].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-2"
* conclusion = "Investigational software. Compares this picture with past cases of Sandbox library; it does not read the picture. Lines, tubes and devices are not assessed. Not reviewed by a radiologist. Of the 31 past patients most like this one, 12 had heart failure recorded (39 %, interval 24-56 %). Among all 204 eligible past patients with a portable film it was 22 %. This is not this patient's probability. Of the 31 past patients most like this one, fewer than 5 had pneumothorax recorded. Among all 204 eligible past patients with a portable film it was recorded in fewer than 5. This is not this patient's probability. Not used: lactate (none within 6 h of the film). No priority suggested. This does not mean the film is normal."
* subject.reference = "https://ehr.example.invalid/fhir/Patient/p100"
* imagingStudy[0].reference = "https://ehr.example.invalid/fhir/ImagingStudy/is1"
* effectiveDateTime = 2026-01-05T04:41:00.000Z

Instance: ExampleComparison
InstanceOf: ComparisonObservation
Usage: #example
Title: "What was compared"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-comparison"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* status = #preliminary
* category[0] = $local#software-comparison "Comparison with past cases by software"
* category[0].text = "Comparison with past cases by software"
* code = $local#similar-case-comparison "Similar-case comparison"
* code.text = "Similar-case comparison"
* issued = 2026-01-05T06:00:00.000Z
* device.reference = "Device/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-device"
* subject.reference = "https://ehr.example.invalid/fhir/Patient/p100"
* derivedFrom[0].reference = "https://ehr.example.invalid/fhir/ImagingStudy/is1"
* effectiveDateTime = 2026-01-05T04:41:00.000Z
* component[n].code = $local#n "Similar past patients"
* component[n].code.text = "Similar past patients"
* component[n].valueInteger = 31
* component[nEligible].code = $local#n-eligible "Eligible past patients"
* component[nEligible].code.text = "Eligible past patients"
* component[nEligible].valueInteger = 204
* component[nLibrary].code = $local#n-library "Past patients in the library"
* component[nLibrary].code.text = "Past patients in the library"
* component[nLibrary].valueInteger = 620
* component[imageWeight].code = $local#image-weight "Weight of the picture"
* component[imageWeight].code.text = "Weight of the picture"
* component[imageWeight].valueQuantity = 0.6 '1' "1"
* component[recordWeight].code = $local#record-weight "Weight of labs, vitals, age and sex"
* component[recordWeight].code.text = "Weight of labs, vitals, age and sex"
* component[recordWeight].valueQuantity = 0.4 '1' "1"
* component[bestSimilarity].code = $local#best-similarity "Best similarity (not a probability)"
* component[bestSimilarity].code.text = "Best similarity (not a probability)"
* component[bestSimilarity].valueQuantity = 0.91 '1' "1"
* component[similarityLimit].code = $local#similarity-limit "Similarity below which nothing is said (not a probability)"
* component[similarityLimit].code.text = "Similarity below which nothing is said (not a probability)"
* component[similarityLimit].valueQuantity = 0.58 '1' "1"
* valueString = "Compared with 31 past patients of Sandbox library."

Instance: ExampleFinding
InstanceOf: FindingObservation
Usage: #example
Title: "A finding with all its counts"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-1"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* status = #preliminary
* category[0] = $local#software-comparison "Comparison with past cases by software"
* category[0].text = "Comparison with past cases by software"
* code = $local#finding-among-similar-cases "How often a finding occurs among similar past cases"
* code.text = "How often a finding occurs among similar past cases"
* issued = 2026-01-05T06:00:00.000Z
* device.reference = "Device/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-device"
* subject.reference = "https://ehr.example.invalid/fhir/Patient/p100"
* derivedFrom[0].reference = "https://ehr.example.invalid/fhir/ImagingStudy/is1"
* effectiveDateTime = 2026-01-05T04:41:00.000Z
* valueString = "Of the 31 past patients most like this one, 12 had heart failure recorded (39 %, interval 24-56 %). Among all 204 eligible past patients with a portable film it was 22 %. This is not this patient's probability."
* component[finding].code = $local#finding "Finding"
* component[finding].code.text = "Finding"
* component[finding].valueCodeableConcept = $sct#84114007 "Heart failure"
* component[finding].valueCodeableConcept.text = "Heart failure"
* component[nWith].code = $local#n-with "Similar past patients with the finding"
* component[nWith].code.text = "Similar past patients with the finding"
* component[nWith].valueInteger = 12
* component[n].code = $local#n "Similar past patients"
* component[n].code.text = "Similar past patients"
* component[n].valueInteger = 31
* component[interval].code = $local#interval "95 % interval of the share (descriptive)"
* component[interval].code.text = "95 % interval of the share (descriptive)"
* component[interval].valueRange.low = 23.7 '%' "%"
* component[interval].valueRange.high = 56.2 '%' "%"
* component[nEligible].code = $local#n-eligible "Eligible past patients"
* component[nEligible].code.text = "Eligible past patients"
* component[nEligible].valueInteger = 204
* component[baseRate].code = $local#base-rate "Share among the eligible past patients"
* component[baseRate].code.text = "Share among the eligible past patients"
* component[baseRate].valueQuantity = 22.1 '%' "%"
* component[direction].code = $local#direction "Compared with the eligible past patients"
* component[direction].code.text = "Compared with the eligible past patients"
* component[direction].valueCodeableConcept = $local#more-often "more often"
* component[direction].valueCodeableConcept.text = "more often"

Instance: ExampleMaskedFinding
InstanceOf: FindingObservation
Usage: #example
Title: "A finding recorded in too few patients to count"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-2"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* status = #preliminary
* category[0] = $local#software-comparison "Comparison with past cases by software"
* category[0].text = "Comparison with past cases by software"
* code = $local#finding-among-similar-cases "How often a finding occurs among similar past cases"
* code.text = "How often a finding occurs among similar past cases"
* issued = 2026-01-05T06:00:00.000Z
* device.reference = "Device/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-device"
* subject.reference = "https://ehr.example.invalid/fhir/Patient/p100"
* derivedFrom[0].reference = "https://ehr.example.invalid/fhir/ImagingStudy/is1"
* effectiveDateTime = 2026-01-05T04:41:00.000Z
* valueString = "Of the 31 past patients most like this one, fewer than 5 had pneumothorax recorded. Among all 204 eligible past patients with a portable film it was recorded in fewer than 5. This is not this patient's probability."
* component[finding].code = $local#finding "Finding"
* component[finding].code.text = "Finding"
* component[finding].valueCodeableConcept = $sct#36118008 "Pneumothorax"
* component[finding].valueCodeableConcept.text = "Pneumothorax"
* component[nWith].code = $local#n-with "Similar past patients with the finding"
* component[nWith].code.text = "Similar past patients with the finding"
* component[nWith].dataAbsentReason = $absent#masked
* component[nWith].dataAbsentReason.text = "fewer than 5"
* component[n].code = $local#n "Similar past patients"
* component[n].code.text = "Similar past patients"
* component[n].valueInteger = 31
* component[interval].code = $local#interval "95 % interval of the share (descriptive)"
* component[interval].code.text = "95 % interval of the share (descriptive)"
* component[interval].dataAbsentReason = $absent#masked
* component[interval].dataAbsentReason.text = "fewer than 5"
* component[nEligible].code = $local#n-eligible "Eligible past patients"
* component[nEligible].code.text = "Eligible past patients"
* component[nEligible].valueInteger = 204
* component[baseRate].code = $local#base-rate "Share among the eligible past patients"
* component[baseRate].code.text = "Share among the eligible past patients"
* component[baseRate].dataAbsentReason = $absent#masked
* component[baseRate].dataAbsentReason.text = "fewer than 5"

Instance: ExampleDevice
InstanceOf: AiDevice
Usage: #example
Title: "The software that made it"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-device"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* identifier[0].system = "https://precedent.example.invalid/NamingSystem/versions"
* identifier[0].value = "9d1c2af659be177f20886247adca4a3da0d10894e4705bfe11c7bc74141a5290"
* status = #active
* manufacturer = "Precedent"
* deviceName[0].name = "Precedent"
* deviceName[0].type = #manufacturer-name
* type = $ai-device-type#Artificial-Intelligence
* type.text = "Similar-case comparison"
* version[software].type = $local#software "software"
* version[software].type.text = "software"
* version[software].value = "precedent 0.1.0"
* version[encoder].type = $local#encoder "encoder"
* version[encoder].type.text = "encoder"
* version[encoder].value = "enc abababababababababababababababababababababababababababababababab"
* version[indexGeneration].type = $local#index-generation "index generation"
* version[indexGeneration].type.text = "index generation"
* version[indexGeneration].value = "g1"
* version[wording].type = $local#wording "wording"
* version[wording].type.text = "wording"
* version[wording].value = "1"
* note[0].text = "Investigational software: research use only, not cleared."

Instance: ExampleProvenance
InstanceOf: AiProvenance
Usage: #example
Title: "Who made it, and from what"
* id = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-provenance"
* meta.versionId = "1"
* meta.lastUpdated = 2026-01-05T06:00:00.000Z
* meta.security[ai] = $observation-value#AIAST "Artificial Intelligence asserted"
* target[0].reference = "DiagnosticReport/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa"
* target[1].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-comparison"
* target[2].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-1"
* target[3].reference = "Observation/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-2"
* occurredDateTime = 2026-01-05T06:00:00.000Z
* recorded = 2026-01-05T06:00:00.000Z
* reason[0] = $observation-value#AIAST "Artificial Intelligence asserted"
* agent[0].type = $participant-type#author
* agent[0].who.reference = "Device/0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-device"
* entity[0].role = #source
* entity[0].what.reference = "https://ehr.example.invalid/fhir/ImagingStudy/is1"
