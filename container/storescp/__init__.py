"""A DICOM Store SCP that acknowledges an image only once it is durable in Amazon S3."""

__version__ = "0.1.0"  # that of container/pyproject.toml
