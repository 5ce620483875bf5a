"""Which service an abstract syntax stands for: verification, storage commitment, storage, or one that is not served.

A service that is not served is refused in negotiation (PS3.8 table 9-18), so that no device learns only from its first
request that nobody listens. Any other abstract syntax is taken for a storage SOP class: new and private ones are.
"""

from enum import Enum
from typing import Final

from storescp.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
    VERIFICATION_SOP_CLASS,
)


class Service(Enum):
    """A service that a presentation context asks for."""

    VERIFICATION = "verification"
    STORAGE = "storage"
    STORAGE_COMMITMENT = "storage commitment"
    NOT_SERVED = "not served"


# The transfer syntaxes in which storage commitment's own data sets are read and written.
COMMITMENT_TRANSFER_SYNTAXES: Final = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)

_DICOM_ROOT: Final = "1.2.840.10008."
# SOP classes of PS3.6 table A-1 that are not of the storage service, without DICOM's root.
SOP_CLASSES_NOT_SERVED: Final = {
    "1.9": "Basic Study Content Notification",
    "1.20.2": "Storage Commitment Pull Model",
    "1.40": "Procedural Event Logging",
    "1.42": "Substance Administration Logging",
    "3.1.2.1.1": "Detached Patient Management",
    "3.1.2.1.4": "Detached Patient Management",
    "3.1.2.2.1": "Detached Visit Management",
    "3.1.2.3.1": "Detached Study Management",
    "3.1.2.3.2": "Study Component Management",
    "3.1.2.3.3": "Modality Performed Procedure Step",
    "3.1.2.3.4": "Modality Performed Procedure Step Retrieve",
    "3.1.2.3.5": "Modality Performed Procedure Step Notification",
    "3.1.2.5.1": "Detached Results Management",
    "3.1.2.5.4": "Detached Results Management",
    "3.1.2.5.5": "Detached Study Management",
    "3.1.2.6.1": "Detached Interpretation Management",
    "5.1.1.1": "Basic Film Session",
    "5.1.1.2": "Basic Film Box",
    "5.1.1.4": "Basic Grayscale Image Box",
    "5.1.1.4.1": "Basic Color Image Box",
    "5.1.1.4.2": "Referenced Image Box",
    "5.1.1.9": "Basic Grayscale Print Management",
    "5.1.1.9.1": "Referenced Grayscale Print Management",
    "5.1.1.14": "Print Job",
    "5.1.1.15": "Basic Annotation Box",
    "5.1.1.16": "Printer",
    "5.1.1.16.376": "Printer Configuration Retrieval",
    "5.1.1.18": "Basic Color Print Management",
    "5.1.1.18.1": "Referenced Color Print Management",
    "5.1.1.22": "VOI LUT Box",
    "5.1.1.23": "Presentation LUT",
    "5.1.1.24": "Image Overlay Box",
    "5.1.1.24.1": "Basic Print Image Overlay Box",
    "5.1.1.26": "Print Queue Management",
    "5.1.1.31": "Pull Print Request",
    "5.1.1.32": "Pull Stored Print Management",
    "5.1.1.33": "Media Creation Management",
    "5.1.1.40": "Display System",
    "5.1.4.1.1.200.4": "Protocol Approval FIND",
    "5.1.4.1.1.200.5": "Protocol Approval MOVE",
    "5.1.4.1.1.200.6": "Protocol Approval GET",
    "5.1.4.1.1.201.2": "Inventory - FIND",
    "5.1.4.1.1.201.3": "Inventory - MOVE",
    "5.1.4.1.1.201.4": "Inventory - GET",
    "5.1.4.1.1.201.5": "Inventory Creation",
    "5.1.4.1.1.201.6": "Repository Query",
    "5.1.4.1.2.1.1": "Patient Root Query/Retrieve FIND",
    "5.1.4.1.2.1.2": "Patient Root Query/Retrieve MOVE",
    "5.1.4.1.2.1.3": "Patient Root Query/Retrieve GET",
    "5.1.4.1.2.2.1": "Study Root Query/Retrieve FIND",
    "5.1.4.1.2.2.2": "Study Root Query/Retrieve MOVE",
    "5.1.4.1.2.2.3": "Study Root Query/Retrieve GET",
    "5.1.4.1.2.3.1": "Patient/Study Only Query/Retrieve FIND",
    "5.1.4.1.2.3.2": "Patient/Study Only Query/Retrieve MOVE",
    "5.1.4.1.2.3.3": "Patient/Study Only Query/Retrieve GET",
    "5.1.4.1.2.4.2": "Composite Instance Root Retrieve - MOVE",
    "5.1.4.1.2.4.3": "Composite Instance Root Retrieve - GET",
    "5.1.4.1.2.5.3": "Composite Instance Retrieve Without Bulk Data - GET",
    "5.1.4.20.1": "Defined Procedure Protocol FIND",
    "5.1.4.20.2": "Defined Procedure Protocol MOVE",
    "5.1.4.20.3": "Defined Procedure Protocol GET",
    "5.1.4.31": "Modality Worklist FIND",
    "5.1.4.32": "General Purpose Worklist Management",
    "5.1.4.32.1": "General Purpose Worklist FIND",
    "5.1.4.32.2": "General Purpose Scheduled Procedure Step",
    "5.1.4.32.3": "General Purpose Performed Procedure Step",
    "5.1.4.33": "Instance Availability Notification",
    "5.1.4.34.2": "RT Conventional Machine Verification - Trial",
    "5.1.4.34.3": "RT Ion Machine Verification - Trial",
    "5.1.4.34.4.1": "Unified Procedure Step - Push - Trial",
    "5.1.4.34.4.2": "Unified Procedure Step - Watch - Trial",
    "5.1.4.34.4.3": "Unified Procedure Step - Pull - Trial",
    "5.1.4.34.4.4": "Unified Procedure Step - Event - Trial",
    "5.1.4.34.6.1": "Unified Procedure Step - Push",
    "5.1.4.34.6.2": "Unified Procedure Step - Watch",
    "5.1.4.34.6.3": "Unified Procedure Step - Pull",
    "5.1.4.34.6.4": "Unified Procedure Step - Event",
    "5.1.4.34.6.5": "Unified Procedure Step - Query",
    "5.1.4.34.8": "RT Conventional Machine Verification",
    "5.1.4.34.9": "RT Ion Machine Verification",
    "5.1.4.37.1": "General Relevant Patient Information Query",
    "5.1.4.37.2": "Breast Imaging Relevant Patient Information Query",
    "5.1.4.37.3": "Cardiac Relevant Patient Information Query",
    "5.1.4.38.2": "Hanging Protocol FIND",
    "5.1.4.38.3": "Hanging Protocol MOVE",
    "5.1.4.38.4": "Hanging Protocol GET",
    "5.1.4.39.2": "Color Palette Query/Retrieve FIND",
    "5.1.4.39.3": "Color Palette Query/Retrieve MOVE",
    "5.1.4.39.4": "Color Palette Query/Retrieve GET",
    "5.1.4.41": "Product Characteristics Query",
    "5.1.4.42": "Substance Approval Query",
    "5.1.4.43.2": "Generic Implant Template FIND",
    "5.1.4.43.3": "Generic Implant Template MOVE",
    "5.1.4.43.4": "Generic Implant Template GET",
    "5.1.4.44.2": "Implant Assembly Template FIND",
    "5.1.4.44.3": "Implant Assembly Template MOVE",
    "5.1.4.44.4": "Implant Assembly Template GET",
    "5.1.4.45.2": "Implant Template Group FIND",
    "5.1.4.45.3": "Implant Template Group MOVE",
    "5.1.4.45.4": "Implant Template Group GET",
    "10.1": "Video Endoscopic Image Real-Time Communication",
    "10.2": "Video Photographic Image Real-Time Communication",
    "10.3": "Audio Waveform Real-Time Communication",
    "10.4": "Rendition Selection Document Real-Time Communication",
}


def service_of(abstract_syntax: str) -> Service:
    """The service of a SOP class, or of what takes its place in a presentation context."""
    if abstract_syntax == VERIFICATION_SOP_CLASS:
        return Service.VERIFICATION
    if abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS:
        return Service.STORAGE_COMMITMENT
    if not abstract_syntax or abstract_syntax.removeprefix(_DICOM_ROOT) in SOP_CLASSES_NOT_SERVED:
        return Service.NOT_SERVED
    return Service.STORAGE
