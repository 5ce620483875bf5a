"""What every command for an account has: profile, Region, endpoint, JSON; errors as one sentence; exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.screen import Screen

F = TypeVar("F", bound=Callable[..., Any])
COULD_NOT_FIND_OUT = 2

stack_argument = click.argument("stack", required=False, metavar="[STACK]")
_OPTIONS = (
    click.option("--profile", metavar="NAME", help="Profile of the AWS CLI."),
    click.option("--region", metavar="REGION", help="AWS Region, for example us-east-1."),
    click.option("--endpoint-url", metavar="URL", help="Another endpoint than AWS's own: a stack on this machine."),
    click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON."),
)


def account_command(function: Callable[..., Screen | None]) -> Callable[..., None]:
    """Give a function the options of an account; show the Screen that it returns; exit with the screen's status.

    The function gets a `connection` in the place of profile, region and endpoint_url.
    """

    @wraps(function)
    def command(profile: str | None, region: str | None, endpoint_url: str | None, as_json: bool, **rest: Any) -> None:
        from storescp_cfn.account import screen
        from storescp_cfn.account.connection import Connection

        with one_sentence(as_json):
            answer = function(connection=Connection(profile, region, endpoint_url), **rest)
            if answer is not None:
                raise SystemExit(screen.show(answer, as_json))

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def one_sentence(as_json: bool = False) -> Iterator[None]:
    """An account's error as one sentence on standard error, and exit status 2: it could not be found out."""
    from storescp_cfn.account.errors import AccountError

    try:
        yield
    except AccountError as error:
        if as_json:
            import json

            click.echo(json.dumps({"exit_status": COULD_NOT_FIND_OUT, "error": str(error)}, indent=2))
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(COULD_NOT_FIND_OUT) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def tell(text: str) -> None:
    """A sign of life for somebody who waits, on standard error and only on a terminal."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def deployment(connection: Connection, stack: str | None) -> Any:
    """The stack of that name, or the only one."""
    from storescp_cfn.account import deployment as deployments

    tell(f"Asking AWS about {stack or 'the stack'} ...")
    return deployments.find(connection, stack)
