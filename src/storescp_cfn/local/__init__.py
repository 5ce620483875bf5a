"""The stack on this machine: embedded AWS, HealthImaging emulator, receiver and importer, all of them real processes.

Nothing here talks to anything but loopback, and nothing here ships to a subscriber.
"""


class LocalError(Exception):
    """Something expected went wrong; its text is one sentence for the person at the terminal."""
