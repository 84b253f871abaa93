CodeSystem: Local
Id: local
Title: "Precedent's own codes"
Description: "What no public code system says: a comparison with past cases by software, and its parts."
* ^caseSensitive = true
* #similar-case-comparison-report "Similar-case comparison by software (investigational): not a radiology report" "The report of one comparison. It is not a report of the film."
* #software-comparison "Comparison with past cases by software" "The category of everything that a comparison states."
* #similar-case-comparison "Similar-case comparison" "What was compared with how many past patients, or why nothing was."
* #finding-among-similar-cases "How often a finding occurs among similar past cases" "A count over past patients; it claims nothing about this patient."
* #n "Similar past patients" "Distinct past patients that were matched."
* #n-eligible "Eligible past patients" "Distinct past patients with a film of this kind, whom a match could have found."
* #n-library "Past patients in the library" "Distinct past patients in the library."
* #image-weight "Weight of the picture" "Share of the picture in the similarity, 0 to 1."
* #record-weight "Weight of labs, vitals, age and sex" "Share of the record in the similarity, 0 to 1."
* #best-similarity "Best similarity (not a probability)" "Similarity of the most similar eligible case, at most 1."
* #similarity-limit "Similarity below which nothing is said (not a probability)" "A case less similar than this is not comparable."
* #finding "Finding" "The finding that is counted among the past patients."
* #n-with "Similar past patients with the finding" "How many of the similar past patients had the finding recorded."
* #interval "95 % interval of the share (descriptive)" "Wilson interval of n-with over n, in percent."
* #base-rate "Share among the eligible past patients" "Share of all eligible past patients with the finding, in percent."
* #direction "Compared with the eligible past patients" "Whether the interval lies above, around or below the base rate."
* #more-often "more often" "The interval lies above the base rate."
* #as-often "as often" "The base rate lies inside the interval."
* #less-often "less often" "The interval lies below the base rate."
* #software "software" "Version of Precedent."
* #encoder "encoder" "Name and SHA-256 of the model that turns a picture into a vector."
* #index-generation "index generation" "Which build of the library's index was searched."
* #wording "wording" "Version of the sentences."

ValueSet: ComparisonParts
Id: comparison-parts
Title: "Parts of a comparison"
Description: "Component codes of the Observation about one comparison."
* $local#n
* $local#n-eligible
* $local#n-library
* $local#image-weight
* $local#record-weight
* $local#best-similarity
* $local#similarity-limit

ValueSet: FindingParts
Id: finding-parts
Title: "Parts of a finding statement"
Description: "Component codes of the Observation about one finding."
* $local#finding
* $local#n-with
* $local#n
* $local#interval
* $local#n-eligible
* $local#base-rate
* $local#direction

ValueSet: Directions
Id: directions
Title: "Directions"
Description: "A finding among the similar past patients, compared with all eligible ones."
* $local#more-often
* $local#as-often
* $local#less-often

ValueSet: VersionedParts
Id: versioned-parts
Title: "Versioned parts"
Description: "What has a version of its own in the software that made an answer."
* $local#software
* $local#encoder
* $local#index-generation
* $local#wording

ValueSet: NotComparedReasons
Id: not-compared-reasons
Title: "Reasons why nothing was compared"
Description: "not-performed: not assessed. not-applicable: assessed, and nothing in the library is comparable."
* $absent#not-performed
* $absent#not-applicable

Instance: Versions
InstanceOf: NamingSystem
Usage: #definition
Title: "Identifiers of a set of versions"
Description: "SHA-256 over the versions that a Device ran with: equal for all answers of the same versions, so that they can be found again."
* id = "versions"
* name = "Versions"
* status = #draft
* kind = #identifier
* date = "2026-01-05"
* uniqueId[0].type = #uri
* uniqueId[0].value = "https://precedent.example.invalid/NamingSystem/versions"
