"""A result as a DICOM structured report: Enhanced SR, template TID 1500, one measurement group (PS3.16)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.learning.samples import verdict_of
from kras_plugins.service.leaving import codes as own
from kras_plugins.service.leaving.dicom_source import carrier, sources, stripped
from kras_plugins.service.leaving.pdf import RESEARCH

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, CodedConcept, Measurement, QualitativeEvaluation
    from pydicom.dataset import Dataset

    from kras_plugins.service.leaving.finished import Finished

MAKER = "kras contributors"
"""Manufacturer in every DICOM document."""


def structured_report(done: Finished, *, identified: bool = False) -> bytes:
    """The report as a DICOM file; the same bytes for the same result.

    Probability, thresholds and presupposed prevalence are measurements; target, call and quality control are coded
    (`codes`); reasons and cautions are comments. It refers to the slides that are DICOM images on this machine's disks.

    `identified`: patient, study and accession number are those of the slide, so that an archive files the report with
    it. Else the patient is named as in the folder, the report has a study of its own, and only UIDs lead to the slide.
    """
    from highdicom.sr import EnhancedSR

    images = sources(done)
    named = identified and bool(images)
    shown = images if named else {name: stripped(image, done.patient) for name, image in images.items()}
    evidence = [*shown.values()] if named else [carrier(done), *shown.values()]
    made = EnhancedSR(
        evidence=evidence,
        content=_content(done, shown),
        series_instance_uid=done.uid("sr series"),
        series_number=1,
        sop_instance_uid=done.uid("sr"),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        specific_character_set="ISO_IR 192",
    )
    if not named:
        del made.CurrentRequestedProcedureEvidenceSequence  # the carrier, which is not an image
    made.SeriesDescription = "Research use only: prediction from H&E"
    made.ManufacturerModelName = "kras"
    made.SoftwareVersions = done.versions.get("kras", "unknown")
    made.CodingSchemeIdentificationSequence = [scheme()]
    return written(made, done)


def _content(done: Finished, images: Mapping[str, Dataset]) -> Any:
    """The tree of TID 1500, with comments for what does not fit into its groups."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        ObserverContext,
        SourceImageForMeasurementGroup,
        TextContentItem,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=done.uid("device"), name="kras", manufacturer_name=MAKER, model_name=f"bundle {done.bundle[:16]}"
        ),
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=done.uid("prediction"), identifier="prediction of the ensemble"),
        finding_type=coded(own.PREDICTION),
        algorithm_id=_algorithm(done),
        measurements=[*_measurements(done)] or None,
        qualitative_evaluations=[*_evaluations(done)],
        source_images=[
            SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID) for image in images.values()
        ]
        or None,
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.DCM.WholeSlideImaging,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    for text in _remarks(done):
        report[0].ContentSequence.append(TextContentItem(codes.DCM.Comment, text, "CONTAINS"))
    return report[0]


def _algorithm(done: Finished) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification
    from pydicom.sr.codedict import codes

    return AlgorithmIdentification(
        name="kras",
        version=done.versions.get("kras", "unknown"),
        parameters=[f"bundle sha256 {done.bundle}"],
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MAKER,
    )


def _measurements(done: Finished) -> Iterator[Measurement]:
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    case = done.case
    points = {name: point.threshold for name, point in case.thresholds.items()}
    values = (
        (own.PROBABILITY, case.prediction.ensemble),
        (own.RULE_IN_AT, points.get("rule_in")),
        (own.RULE_OUT_AT, points.get("rule_out")),
        (own.PREVALENCE, case.prevalence if case.assessable else None),
    )
    for concept, value in values:
        if value is not None:
            yield Measurement(name=coded(concept), value=round(value, 6), unit=codes.UCUM.NoUnits)


def _evaluations(done: Finished) -> Iterator[QualitativeEvaluation]:
    from highdicom.sr import QualitativeEvaluation

    case = done.case
    target = own.TARGETS.get(case.target, own.OTHER_TARGET)
    yield QualitativeEvaluation(coded(own.TARGET), coded(target))
    yield QualitativeEvaluation(coded(own.CALL), coded(own.CALLS[case.prediction.call]))
    yield QualitativeEvaluation(coded(own.QUALITY), coded(own.QUALITIES[verdict_of(case.prediction.qc)]))


def _remarks(done: Finished) -> Iterator[str]:
    """What a reader must know, in words, the most important first."""
    case = done.case
    yield RESEARCH
    yield from (f"Demonstration: {reason}" for reason in case.demonstration)
    if case.target not in own.TARGETS:
        yield f"Target: {target_label(case.target)}"
    if case.prediction.reason:
        yield f"Reason: {case.prediction.reason}"
    yield from (f"Caution: {text}" for text in case.prediction.cautions if text not in case.demonstration)
    for slide in case.slides:
        if slide.qc is not None and slide.qc.reasons:
            yield f"Slide {slide.slide_id}, quality control {slide.qc.verdict}: {'; '.join(slide.qc.reasons)}"


def coded(concept: own.Concept) -> CodedConcept:
    """One of our concepts as DICOM codes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=concept.value, scheme_designator=own.SCHEME, meaning=concept.meaning[:64])


def scheme() -> Dataset:
    """A document's description of our coding scheme."""
    from pydicom.dataset import Dataset

    told = Dataset()
    told.CodingSchemeDesignator = own.SCHEME
    told.CodingSchemeUID, told.CodingSchemeName = own.SCHEME_UID, own.SCHEME_NAME
    told.CodingSchemeResponsibleOrganization = MAKER
    return told


def written(made: Dataset, done: Finished) -> bytes:
    """A document as a file, with the time of the result in place of the time of writing."""
    date, time = f"{done.at:%Y%m%d}", f"{done.at:%H%M%S}"
    for element in made.iterall():
        if element.keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
            element.value = date
        elif element.keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
            element.value = time
        elif element.keyword in ("ObservationDateTime", "ContributionDateTime"):
            element.value = date + time
    made.TimezoneOffsetFromUTC = "+0000"
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
