"""Two peers on pynetdicom: `python -m benchmarks.pynetdicom_receiver empty|early PORT`.

`empty` answers success and does nothing else: what the library itself costs.

`early` is a re-creation, for this benchmark, of the pattern of AWS's guidance "DICOM store SCP to S3"
(aws-solutions-library-samples): the data set is handed to a thread pool of ten workers that upload with boto3, and
success is answered without waiting for them. It is not AWS's program and shares no line with it.
"""

import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import boto3
from pynetdicom import AE, AllStoragePresentationContexts, evt

_UPLOAD_THREADS = 10
_SUCCESS = 0x0000


def empty() -> Callable[[evt.Event], int]:
    """A handler that keeps nothing."""
    return lambda event: _SUCCESS


def early() -> Callable[[evt.Event], int]:
    """A handler that answers before the upload has begun."""
    client = boto3.client("s3")
    bucket = os.environ["DICOM_BUCKET"]
    uploads = ThreadPoolExecutor(_UPLOAD_THREADS)

    def handle(event: evt.Event) -> int:
        key = f"DICOM/{event.request.AffectedSOPInstanceUID}.dcm"
        uploads.submit(client.put_object, Bucket=bucket, Key=key, Body=event.encoded_dataset())
        return _SUCCESS

    return handle


def main(handler: str, port: str) -> None:
    """Serve on 127.0.0.1 until killed."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE(ae_title="STORESCP")
    ae.maximum_associations = 100
    ae.supported_contexts = AllStoragePresentationContexts
    handle = {"empty": empty, "early": early}[handler]()
    ae.start_server(("127.0.0.1", int(port)), evt_handlers=[(evt.EVT_C_STORE, handle)])


if __name__ == "__main__":
    main(*sys.argv[1:])
