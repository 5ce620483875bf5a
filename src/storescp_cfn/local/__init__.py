"""The stack on this machine: an embedded AWS, a HealthImaging emulator, the receiver and the importer, all real processes.

Nothing here talks to anything but loopback, and nothing here ships to a subscriber.
"""
