"""The CloudFormation template that a subscriber launches, rendered from data.

`render()` is the whole interface: a pure function from a `Release` to a troposphere `Template`.
"""

from storescp_cfn.template.release import Release
from storescp_cfn.template.rendering import render

__all__ = ["Release", "render"]
