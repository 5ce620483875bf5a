"""A client for Amazon S3 that does what the receiver needs, and proves what it says (ADR 13)."""
