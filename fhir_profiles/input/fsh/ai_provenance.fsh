Profile: AiProvenance
Parent: Provenance
Id: ai-provenance
Title: "Who made an answer, and from what"
Description: "The software is the author; the film's study is its source."
* insert AiLabelled
* target only Reference(SimilarCaseReport or ComparisonObservation or FindingObservation)
* occurred[x] 1..1
* occurred[x] only dateTime
* reason 1..1
* reason = $observation-value#AIAST
* agent 1..1
* agent.type 1..1
* agent.type = $participant-type#author
* agent.who only Reference(AiDevice)
* entity 0..1
* entity.role = #source
* entity.what only Reference(ImagingStudy)
