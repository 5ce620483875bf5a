"""`python -m storescp_cfn`."""

from storescp_cfn.cli import main

main()
