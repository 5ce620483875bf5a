"""`completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

PROGRAM = "storescp-cfn"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands and options.

    \b
    Examples:
      eval "$(storescp-cfn completion bash)"
      storescp-cfn completion fish > ~/.config/fish/completions/storescp-cfn.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root().command
    click.echo(kind(root, {}, PROGRAM, "_STORESCP_CFN_COMPLETE").source())
