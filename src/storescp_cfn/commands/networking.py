"""`network`: the template of a network, for who has none."""

from __future__ import annotations

import click


@click.command()
@click.option("--output", default="-", show_default=True, metavar="FILE", help="Where to write it.")
def network(output: str) -> None:
    """Print the CloudFormation template of a network that a StoreSCP stack can be launched into.

    A VPC, two public and two private subnets, NAT, an endpoint for Amazon S3, a security group with outgoing HTTPS. Its
    outputs are the parameters of the StoreSCP template: launch it first, then name its stack.

    \b
    Examples:
      storescp-cfn network --output network.yaml
      aws cloudformation deploy --stack-name storescp-network \\
        --template-file network.yaml
      storescp-cfn deploy StoreSCP --network storescp-network
    """
    from storescp_cfn.template import files, network_stack

    text = str(network_stack.render().to_yaml())
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        files.write_text(output, text)
    except files.TemplateFileError as error:
        raise click.ClickException(str(error)) from error
