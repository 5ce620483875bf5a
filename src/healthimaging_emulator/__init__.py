"""AWS HealthImaging on this machine: an HTTP service that answers as botocore's model of `medical-imaging` says.

It stands in where the service cannot be had: import jobs run asynchronously, read every object below their prefix
with pydicom, write the documented output, emit the documented events, and are throttled and limited as documented.
What the documentation leaves open is a setting (`settings.py`). Everything below `/_emulator/` is not AWS: it is
there for tests and demonstrations. `README.md` beside this file says what is emulated and what is not.
"""
