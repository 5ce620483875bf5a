"""The importer of StoreSCP for AWS HealthImaging: one Lambda function, one routine, `reconcile()`.

A wake-up (a closed batch, a job event, the minute's schedule, a person) only says *when* to look. The routine looks at
the facts - the objects in the buckets, the ledger, HealthImaging's jobs - and moves each batch one step on. Killed at
any instruction, run twice at once or woken by nothing but the schedule, it ends the same:

    CLOSED -> STARTING -> IMPORTING -> SETTLING -> SETTLED
      ^                      |  |                  (INCOMPLETE: objects are missing that the receiver counted)
      +---- another job -----+  +--> SPLITTING -> SPLIT, and its parts are batches of their own

What makes that true: an object leaves the bucket's `incoming/` only after HealthImaging's own `success.ndjson` names
it, or after its copy, its reason and its ledger item are in quarantine; counts are recomputed from those facts and
never incremented; every write to the ledger is conditional. The lease only saves work.

The package is standard library and boto3 only: the template carries it inline, its modules joined into one file.
"""
