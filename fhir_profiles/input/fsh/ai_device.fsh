Profile: AiDevice
Parent: Device
Id: ai-device
Title: "The software that made an answer"
Description: "Precedent with the versions that it ran with. Its identifier is the same for all answers of the same versions: a recall finds them by it."
* insert AiLabelled
* identifier 1..1
* identifier.system 1..1
* identifier.system = "https://precedent.example.invalid/NamingSystem/versions"
* identifier.value 1..1
* status 1..1
* status = #active
* manufacturer 1..1
* manufacturer = "Precedent"
* deviceName 1..1
* deviceName.name = "Precedent"
* deviceName.type = #manufacturer-name
* type 1..1
* type = $ai-device-type#Artificial-Intelligence
* type.text 1..1
* version 1..*
* version ^slicing.discriminator.type = #pattern
* version ^slicing.discriminator.path = "type"
* version ^slicing.rules = #closed
* version.type 1..1
* version.type from VersionedParts (required)
* version contains software 1..1 and encoder 0..1 and indexGeneration 0..1 and wording 1..1
* version[software].type = $local#software
* version[encoder].type = $local#encoder
* version[indexGeneration].type = $local#index-generation
* version[wording].type = $local#wording
* patient 0..0
* note 1..1
* note.text = "Investigational software: research use only, not cleared."
