Profile: FindingObservation
Parent: Observation
Id: finding-observation
Title: "How often a finding occurs among similar past cases"
Description: "One finding, counted among past patients. The finding is a part and never the code: nothing here claims that this patient has it."
* insert AiLabelled
* insert StatedBySoftware
* obeys precedent-interval and precedent-direction
* code = $local#finding-among-similar-cases
* value[x] 1..1
* value[x] only string
* dataAbsentReason 0..0
* component 1..*
* component.code from FindingParts (required)
* component contains finding 1..1 and nWith 1..1 and n 1..1 and interval 1..1 and nEligible 1..1 and baseRate 1..1 and direction 0..1
* component[finding].code = $local#finding
* component[finding].value[x] 1..1
* component[finding].value[x] only CodeableConcept
* component[finding].valueCodeableConcept.text 1..1
* component[finding].dataAbsentReason 0..0
* insert Count(nWith, n-with)
* insert Count(n, n)
* component[interval] obeys precedent-masked
* component[interval].code = $local#interval
* component[interval].value[x] only Range
* component[interval].valueRange.low 1..1
* component[interval].valueRange.low = '%'
* component[interval].valueRange.high 1..1
* component[interval].valueRange.high = '%'
* component[interval].dataAbsentReason = $absent#masked
* insert Count(nEligible, n-eligible)
* component[baseRate] obeys precedent-masked
* component[baseRate].code = $local#base-rate
* component[baseRate].value[x] only Quantity
* component[baseRate].valueQuantity = '%'
* component[baseRate].dataAbsentReason = $absent#masked
* component[direction].code = $local#direction
* component[direction].value[x] 1..1
* component[direction].value[x] only CodeableConcept
* component[direction].valueCodeableConcept from Directions (required)
* component[direction].dataAbsentReason 0..0
