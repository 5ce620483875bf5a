"""Render, run and publish a DICOM Store SCP that delivers images into AWS HealthImaging."""

__version__ = "0.1.0"
