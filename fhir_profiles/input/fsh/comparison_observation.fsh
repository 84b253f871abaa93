Profile: ComparisonObservation
Parent: Observation
Id: comparison-observation
Title: "What was compared"
Description: "What was compared with how many past patients, or why nothing was. A similarity is a part of its own and never a probability."
* insert AiLabelled
* insert StatedBySoftware
* obeys precedent-value-or-reason
* code = $local#similar-case-comparison
* value[x] only string
* dataAbsentReason from NotComparedReasons (required)
* dataAbsentReason.text 1..1
* component 1..*
* component.code from ComparisonParts (required)
* component contains n 1..1 and nEligible 1..1 and nLibrary 1..1 and imageWeight 1..1 and recordWeight 1..1 and bestSimilarity 0..1 and similarityLimit 0..1
* insert Count(n, n)
* insert Count(nEligible, n-eligible)
* insert Count(nLibrary, n-library)
* insert Amount(imageWeight, image-weight)
* insert Amount(recordWeight, record-weight)
* insert Amount(bestSimilarity, best-similarity)
* insert Amount(similarityLimit, similarity-limit)
