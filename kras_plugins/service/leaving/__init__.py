"""How results leave the service: as PDF, DICOM and FHIR, to a webhook, and for good."""
