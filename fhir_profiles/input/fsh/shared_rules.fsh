// Every resource of an answer: one version, asserted by software.
RuleSet: AiLabelled
* meta 1..1
* meta.versionId 1..1
* meta.versionId = "1"
* meta.lastUpdated 1..1
* meta.security 1..*
* meta.security ^slicing.discriminator.type = #value
* meta.security ^slicing.discriminator.path = "$this"
* meta.security ^slicing.rules = #open
* meta.security contains ai 1..1
* meta.security[ai] = $observation-value#AIAST

// Both Observations. R4 has no Device among the performers: the software stands in `device`.
RuleSet: StatedBySoftware
* status = #preliminary
* category 1..1
* category = $local#software-comparison
* subject 1..1
* subject only Reference(Patient)
* effective[x] only dateTime
* issued 1..1
* performer 0..0
* interpretation 0..0
* device 1..1
* device only Reference(Device)
* derivedFrom 0..1
* derivedFrom only Reference(ImagingStudy)
* component ^slicing.discriminator.type = #pattern
* component ^slicing.discriminator.path = "code"
* component ^slicing.rules = #closed
* component.interpretation 0..0
* component.referenceRange 0..0

RuleSet: Count(slice, code)
* component[{slice}] obeys precedent-masked and precedent-few
* component[{slice}].code = $local#{code}
* component[{slice}].value[x] only integer
* component[{slice}].dataAbsentReason = $absent#masked

RuleSet: Amount(slice, code)
* component[{slice}].code = $local#{code}
* component[{slice}].value[x] 1..1
* component[{slice}].value[x] only Quantity
* component[{slice}].valueQuantity = '1'
* component[{slice}].valueQuantity.value 1..1
* component[{slice}].dataAbsentReason 0..0

Invariant: precedent-masked
Description: "A part has a value, or says that it is masked."
Severity: #error
Expression: "value.exists() xor dataAbsentReason.exists()"

Invariant: precedent-few
Description: "A count of 1 to 4 patients never leaves as a number."
Severity: #error
Expression: "value.empty() or value = 0 or value >= 5"

Invariant: precedent-value-or-reason
Description: "A comparison says what was compared, or why nothing was."
Severity: #error
Expression: "value.exists() xor dataAbsentReason.exists()"

Invariant: precedent-interval
Description: "A masked count takes its interval with it, which would give it away."
Severity: #error
Expression: "component.where(code.coding.code = 'n-with').dataAbsentReason.exists() = component.where(code.coding.code = 'interval').dataAbsentReason.exists()"

Invariant: precedent-direction
Description: "A direction is stated only where neither its count nor its base rate is masked; a base rate over no patients is absent, too."
Severity: #error
Expression: "component.where(code.coding.code = 'direction').empty() or (component.where(code.coding.code = 'n-with').value.exists() and (component.where(code.coding.code = 'base-rate').value.exists() or component.where(code.coding.code = 'n-eligible').value = 0))"
