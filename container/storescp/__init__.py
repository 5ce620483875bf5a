"""A DICOM Store SCP that acknowledges an image only once it is durable in Amazon S3."""
