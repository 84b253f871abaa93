Profile: SimilarCaseReport
Parent: DiagnosticReport
Id: similar-case-report
Title: "Similar-case comparison"
Description: "A comparison with past cases by software. It is not a radiology report: it stays preliminary, codes no conclusion, and nobody performed or interpreted it. It holds aggregates over past patients only."
* insert AiLabelled
* text 1..1
* text.status = #generated
* identifier 1..1
* identifier.system 1..1
* identifier.system = "urn:ietf:rfc:3986"
* identifier.value 1..1
* status = #preliminary
* category 1..1
* category = $local#software-comparison
* code = $local#similar-case-comparison-report
* code.text 1..1
* subject 1..1
* subject only Reference(Patient)
* effective[x] only dateTime
* issued 1..1
* performer 0..0
* resultsInterpreter 0..0
* specimen 0..0
* result 1..*
* result only Reference(ComparisonObservation or FindingObservation)
* imagingStudy 0..1
* media 0..0
* conclusion 1..1
* conclusionCode 0..0
* presentedForm 0..0
