"""What talks to an AWS account, real or local, for the people who run a stack: ready? working? where?

A command asks through one `Connection`, turns the answers into one `Screen` and exits with that screen's status. A
stack on this machine is an account with another endpoint.
"""
