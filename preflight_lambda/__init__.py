"""The preflight check of StoreSCP for AWS HealthImaging: what would make the stack fail is said before it begins.

CloudFormation calls it as a custom resource, first of all: when a stack is created, and when a new version or other
parameters come with an update. It looks at the network, the certificate, the secrets, the key and the data store that
the parameters name, and changes nothing. Each finding is a sentence that names the resource, what is wrong with it and
how to mend it; CloudFormation shows it as the reason of the failure.

What it is not allowed to look at, it leaves unchecked and says so in its log. A deletion and a rollback it never stops.

The package is standard library and boto3 only: the template carries it inline, its modules joined into one file.
"""
