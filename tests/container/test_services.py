"""Every SOP class of the standard is of a service that is served or refused in negotiation; covers services.py."""

import pytest
from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class

from storescp.services import Service, service_of

# Two retired classes that PS3.6 keeps without a name; their neighbours are all of the storage service.
NAMELESS = {"1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40"}
SOP_CLASSES = {uid: entry[0] for uid, entry in UID_dictionary.items() if "SOP Class" in entry[1]}
STORAGE = set(sop_class._STORAGE_CLASSES.values())


@pytest.mark.parametrize("uid", SOP_CLASSES)
def test_every_sop_class_is_of_its_service(uid: str) -> None:
    name = SOP_CLASSES[uid]
    if name == "Verification SOP Class":
        expected = Service.VERIFICATION
    elif name == "Storage Commitment Push Model SOP Class":
        expected = Service.STORAGE_COMMITMENT
    elif uid in STORAGE or uid in NAMELESS or ("Storage" in name and "Commitment" not in name):
        expected = Service.STORAGE
    else:
        expected = Service.NOT_SERVED
    assert service_of(uid) is expected


@pytest.mark.parametrize("uid", ["1.3.46.670589.11.0.0.12.1", "1.2.840.10008.5.1.4.1.1.99999", "a-class"])
def test_what_is_not_known_is_taken_for_storage(uid: str) -> None:
    assert service_of(uid) is Service.STORAGE


def test_nothing_is_not_served() -> None:
    assert service_of("") is Service.NOT_SERVED
